//! What would fail later is refused first: an unsuitable database, missing privileges, schemas and objects that atelier-etl did
//! not create. Only what it created is ever dropped.

use atelier_base::error::{Error, Result};
use atelier_base::sql::quoted;
use postgres_types::ToSql;

use crate::database::metadata::IS_LOAD;
use crate::database::names::{NEXT, OWN, PREVIOUS, PUBLISHED};
use crate::database::schema;
use crate::database::session::Session;

/// Foreign objects that a message names.
const MAX_NAMED: usize = 5;

/// A schema with one of the loader's names.
pub(crate) struct Schema {
    pub(crate) name: String,
    owner: String,
    /// SQL that frees the name, identifiers quoted.
    rename: String,
    /// Otherwise another program created it.
    pub(crate) is_catalogue: bool,
}

/// An object in a catalogue's schema that the loader did not create.
struct Foreign {
    schema: String,
    /// As `table atelier.extra of "postgres"`.
    what: String,
    /// SQL that moves it to another schema, or changes its owner.
    remedy: String,
}

/// `$1`: the schemas; `{}`: [`IS_LOAD`].
const SCHEMAS: &str = "
    SELECT n.nspname::text, pg_get_userbyid(n.nspowner)::text,
           format('ALTER SCHEMA %I RENAME TO %I', n.nspname, n.nspname || '_of_' || pg_get_userbyid(n.nspowner)),
           EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND {})
    FROM pg_namespace n WHERE n.nspname = ANY($1) ORDER BY array_position($1, n.nspname::text)";

/// `$1`: the schemas; `$2`, `$3`, `$4`: the declared columns, their tables, names and types; `$5`: the schemas that
/// hold whole catalogues, whose tables will be locked. What depends on one of our tables alone, such as statistics,
/// is not foreign but a dependent. PostgreSQL records no owner where that is its first superuser (oid 10).
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

/// Refuses what cannot be loaded into. Writes nothing.
pub(crate) async fn preflight(session: &Session) -> Result<()> {
    let user = check_database(session).await?;
    check_schemas(session).await?;
    check_owners(session, &user).await?;
    check_contents(session).await
}

/// Returns the user's name.
async fn check_database(session: &Session) -> Result<String> {
    let query = "SELECT current_database()::text, current_user::text, pg_encoding_to_char(encoding)::text,
                        pg_is_in_recovery(), has_database_privilege(oid, 'CREATE'),
                        current_setting('server_version_num')::int
                 FROM pg_database WHERE datname = current_database()";
    let row = session.one(query, "query the database").await?;
    let (database, user): (String, String) = (row.get(0), row.get(1));
    let (encoding, standby, may_create, version): (String, bool, bool, i32) =
        (row.get(2), row.get(3), row.get(4), row.get(5));
    if version < 140_000 {
        return Err(Error::database(format!("the database is PostgreSQL {}", version / 10_000))
            .hint("use PostgreSQL 14 or newer"));
    }
    if encoding != "UTF8" {
        return Err(Error::database(format!(
            "the encoding of database \"{database}\" is {encoding}, not UTF8"
        ))
        .hint("create a database with ENCODING 'UTF8' TEMPLATE template0 and name it in --database-url"));
    }
    if standby {
        return Err(Error::database("this PostgreSQL is a standby, which is read-only")
            .hint("name its primary in --database-url"));
    }
    if !may_create {
        return Err(Error::database(format!(
            "user \"{user}\" may not create schemas in database \"{database}\""
        ))
        .hint(format!(
            "as an administrator: GRANT CREATE ON DATABASE {} TO {}",
            quoted(&database),
            quoted(&user)
        )));
    }
    Ok(user)
}

/// Refuses schemas of a role that this user is not a member of, or cannot make the owner of new objects: a load keeps
/// the owner. From PostgreSQL 16 on the latter is an option of its own (SET).
async fn check_owners(session: &Session, user: &str) -> Result<()> {
    let query = "SELECT nspname::text, rolname::text, pg_has_role(nspowner, 'USAGE'), rolsuper
                 FROM pg_namespace JOIN pg_roles r ON r.oid = nspowner
                 WHERE nspname = ANY($1) AND NOT (pg_has_role(nspowner, 'USAGE') AND pg_has_role(nspowner,
                     CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END))
                 ORDER BY array_position($1, nspname::text) LIMIT 1";
    let row = session.client.query_opt(query, &[&OWN.as_slice()]).await;
    let row = row.map_err(|error| session.failed("cannot query the schemas", &error))?;
    let Some(row) = row else { return Ok(()) };
    let (schema, owner, is_member, is_superuser): (String, String, bool, bool) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    let (quoted_owner, quoted_user) = (quoted(&owner), quoted(user));
    let sql = match (is_member, is_superuser) {
        (true, _) => format!("GRANT {quoted_owner} TO {quoted_user} WITH SET TRUE"),
        (false, false) => format!("GRANT {quoted_owner} TO {quoted_user}"),
        // A load is no reason to make a user a superuser.
        (false, true) => format!("ALTER SCHEMA {schema} OWNER TO {quoted_user}"),
    };
    Err(Error::database(format!("the schema {schema} belongs to \"{owner}\", not to \"{user}\""))
        .hint(format!("load as \"{owner}\", or as an administrator: {sql}")))
}

/// Refuses a schema with one of the loader's names that is no catalogue: a load would replace it.
pub(crate) async fn check_schemas(session: &Session) -> Result<()> {
    let foreign = schemas(session).await?.into_iter().find(|schema| !schema.is_catalogue);
    let Some(Schema { name, owner, rename, .. }) = foreign else { return Ok(()) };
    Err(Error::database(format!(
        "the schema {name} is not a catalogue of atelier-etl: it belongs to \"{owner}\""
    ))
    .hint(format!("as \"{owner}\" or an administrator: {rename}; or use another database")))
}

/// Refuses a catalogue with objects that are not the loader's: a load would drop them.
pub(crate) async fn check_contents(session: &Session) -> Result<()> {
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
        "the schema {schema} contains objects that atelier-etl did not create: {}{more}",
        list(|foreign| &foreign.what, ", ")
    ))
    .hint(format!(
        "a load replaces the schema; as its owner or an administrator: {}",
        list(|foreign| &foreign.remedy, "; ")
    )))
}

/// The schemas with the loader's names.
pub(crate) async fn schemas(session: &Session) -> Result<Vec<Schema>> {
    let rows = session.client.query(&SCHEMAS.replace("{}", IS_LOAD), &[&OWN.as_slice()]).await;
    let rows = rows.map_err(|error| session.failed("cannot query the schemas", &error))?;
    let schema = |row: tokio_postgres::Row| {
        let name: String = row.get(0);
        // The loader's own exists only within a transaction.
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
    let rows = rows.map_err(|error| session.failed("cannot query the contents of the schemas", &error))?;
    let foreign =
        |row: tokio_postgres::Row| Foreign { schema: row.get(0), what: row.get(1), remedy: row.get(2) };
    Ok(rows.into_iter().map(foreign).collect())
}
