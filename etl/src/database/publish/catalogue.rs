//! What a catalogue of the loader's is, and what else is found in its schemas. Only what is one is ever dropped.

use atelier_base::error::{Error, Result};
use tokio_postgres::types::ToSql;

use super::{NEXT, OWN, PREVIOUS, PUBLISHED};
use crate::database::schema;
use crate::database::session::Session;

/// At most so many foreign objects are named.
const MAX_NAMED: usize = 5;

/// A schema with one of the loader's names.
struct Schema {
    name: String,
    owner: String,
    /// SQL that makes room for the loader's, identifiers quoted.
    rename: String,
    is_catalogue: bool,
}

/// Something in a catalogue's schema that the loader has not made.
struct Foreign {
    schema: String,
    /// As `table atelier.extra of "postgres"`.
    what: String,
    /// SQL that takes it out of the schema, or hands it over.
    remedy: String,
}

/// The condition that `c`, of `pg_class`, is the table `load` of a catalogue: one with other columns is somebody else's.
pub const IS_LOAD: &str = "
    c.relname = 'load' AND c.relkind = 'r' AND 5 = (
        SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND (a.attname, a.atttypid) IN (
            ('load_id', 'uuid'::regtype), ('started_at', 'timestamptz'::regtype),
            ('finished_at', 'timestamptz'::regtype), ('version', 'text'::regtype), ('tables', 'jsonb'::regtype)))";

/// `$1`: the schemas; `{}`: [`IS_LOAD`].
const SCHEMAS: &str = "
    SELECT n.nspname::text, pg_get_userbyid(n.nspowner)::text,
           format('ALTER SCHEMA %I RENAME TO %I', n.nspname, n.nspname || '_of_' || pg_get_userbyid(n.nspowner)),
           EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND {})
    FROM pg_namespace n WHERE n.nspname = ANY($1) ORDER BY array_position($1, n.nspname::text)";

/// `$1`: the schemas; `$2`, `$3`, `$4`: the declared columns, their tables, names and types; `$5`: the schemas that
/// hold whole catalogues, whose tables are to be locked. What hangs on one of our tables alone, statistics for
/// one, is not foreign but a dependent. PostgreSQL records no owner where that is its first superuser (oid 10).
const FOREIGN: &str = "
    WITH ours AS (SELECT * FROM unnest($2::text[], $3::text[], $4::text[]) o (tab, col, typ)),
    tables AS (
        SELECT c.oid, c.relname, c.relowner, n.nspname, n.nspowner
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY($1) AND c.relkind = 'r' AND c.relname IN (SELECT tab FROM ours)
    )
    SELECT n.nspname::text,
           format('%s %s of \"%s\"', i.type, i.identity, pg_get_userbyid(coalesce(s.refobjid, 10))),
           format('ALTER %s %s SET SCHEMA public',
                  CASE i.type WHEN 'composite type' THEN 'TYPE' WHEN 'statistics object' THEN 'STATISTICS'
                  ELSE upper(i.type) END, i.identity)
    FROM pg_namespace n
    JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid AND d.deptype = 'n'
    CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
    LEFT JOIN pg_shdepend s ON s.classid = d.classid AND s.objid = d.objid AND s.objsubid = 0 AND s.deptype = 'o'
        AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    WHERE n.nspname = ANY($1) AND i.identity IS NOT NULL
      AND NOT (d.classid = 'pg_class'::regclass AND d.objid IN (SELECT oid FROM tables))
      AND NOT EXISTS (SELECT FROM pg_depend a JOIN tables t ON t.oid = a.refobjid
                      WHERE a.classid = d.classid AND a.objid = d.objid AND a.deptype IN ('a', 'i')
                        AND a.refclassid = 'pg_class'::regclass)
    UNION ALL
    SELECT t.nspname::text, format('column %I of table %I.%I', a.attname, t.nspname, t.relname),
           format('ALTER TABLE %I.%I DROP COLUMN %I', t.nspname, t.relname, a.attname)
    FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE NOT EXISTS (SELECT FROM ours WHERE tab = t.relname AND col = a.attname AND to_regtype(typ) = a.atttypid)
    UNION ALL
    SELECT t.nspname::text, format('table %I.%I of \"%s\"', t.nspname, t.relname, pg_get_userbyid(t.relowner)),
           format('ALTER TABLE %I.%I OWNER TO %I', t.nspname, t.relname, pg_get_userbyid(t.nspowner))
    FROM tables t
    WHERE NOT pg_has_role(t.relowner, 'USAGE')
      AND (t.nspname = ANY($5) OR NOT pg_has_role(t.relowner, t.nspowner, 'MEMBER'))";

/// Refuses a schema with one of the loader's names that is no catalogue: a load would replace it.
pub(super) async fn check_schemas(session: &Session) -> Result<()> {
    let foreign = schemas(session).await?.into_iter().find(|schema| !schema.is_catalogue);
    let Some(Schema { name, owner, rename, .. }) = foreign else { return Ok(()) };
    Err(Error::database(format!(
        "there is a schema {name} that is not a catalogue of atelier-etl: it belongs to \"{owner}\""
    ))
    .hint(format!("as \"{owner}\" or an administrator: {rename}; or use another database")))
}

/// Refuses a catalogue that holds what is not the loader's: a load would drop it.
pub(super) async fn check_contents(session: &Session) -> Result<()> {
    let foreign = foreign(session).await?;
    let Some(Foreign { schema, .. }) = foreign.first() else { return Ok(()) };
    let of_schema: Vec<&Foreign> = foreign.iter().filter(|foreign| foreign.schema == *schema).collect();
    let list = |item: fn(&Foreign) -> &str, separator| {
        let named: Vec<&str> = of_schema.iter().take(MAX_NAMED).map(|foreign| item(foreign)).collect();
        named.join(separator)
    };
    let more = match of_schema.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Error::database(format!(
        "the schema {schema} holds what is not the loader's: {}{more}",
        list(|foreign| &foreign.what, ", ")
    ))
    .hint(format!(
        "a load replaces the schema; as its owner or an administrator: {}",
        list(|foreign| &foreign.remedy, "; ")
    )))
}

/// Which schemas with the loader's names are there, and whether each is a catalogue.
pub async fn found(session: &Session) -> Result<Vec<(String, bool)>> {
    let schemas = schemas(session).await?;
    Ok(schemas.into_iter().map(|schema| (schema.name, schema.is_catalogue)).collect())
}

async fn schemas(session: &Session) -> Result<Vec<Schema>> {
    let rows = session.client.query(&SCHEMAS.replace("{}", IS_LOAD), &[&OWN.as_slice()]).await;
    let rows = rows.map_err(|error| session.failed("cannot look at the schemas", &error))?;
    let schema = |row: tokio_postgres::Row| {
        let name: String = row.get(0);
        // Of the loader's it is there within a transaction alone.
        let is_catalogue = row.get(3) && name != NEXT;
        Schema { name, owner: row.get(1), rename: row.get(2), is_catalogue }
    };
    Ok(rows.into_iter().map(schema).collect())
}

async fn foreign(session: &Session) -> Result<Vec<Foreign>> {
    let columns = schema::columns();
    let tables: Vec<&str> = columns.iter().map(|(table, ..)| table.as_str()).collect();
    let names: Vec<&str> = columns.iter().map(|(_, column, _)| column.as_str()).collect();
    let kinds: Vec<&str> = columns.iter().map(|(.., kind)| kind.as_str()).collect();
    let (own, read) = (OWN.as_slice(), [PUBLISHED, PREVIOUS]);
    let parameters: [&(dyn ToSql + Sync); 5] = [&own, &tables, &names, &kinds, &read.as_slice()];
    let rows = session.client.query(FOREIGN, &parameters).await;
    let rows = rows.map_err(|error| session.failed("cannot look at what is in the schemas", &error))?;
    let foreign =
        |row: tokio_postgres::Row| Foreign { schema: row.get(0), what: row.get(1), remedy: row.get(2) };
    Ok(rows.into_iter().map(foreign).collect())
}
