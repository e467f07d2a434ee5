//! What others have hung on a catalogue: PostgreSQL drops it with the tables, so it is named before. What holds rows of
//! others is never dropped: it is refused.

use atelier_base::error::{Error, Result};
use tokio_postgres::types::ToSql;

use super::views::FOLLOWS;
use super::{DISCARDED, PREVIOUS, PUBLISHED, STAGING};
use crate::database::schema;
use crate::database::session::Session;

/// Something that depends on the tables of a catalogue, or is set on one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependent {
    /// As `view reports.cheap`; for people.
    what: String,
    schema: String,
    /// Its row of PostgreSQL's catalogues: class, object, column. A setting has none of its own.
    address: (u32, u32, i32),
    /// A table or a column of one: dropping it would lose rows.
    holds_rows: bool,
}

/// What becomes of the catalogue that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// As soon as the new one is published.
    Dropped,
    /// As the previous one.
    Kept,
    /// A view that somebody reads could not be made again: dropping the tables would drop it.
    InUse,
}

impl Replaced {
    /// By what the user wants.
    pub fn by(keep_previous: bool) -> Replaced {
        if keep_previous { Replaced::Kept } else { Replaced::Dropped }
    }
}

/// Everything that `DROP … CASCADE` would take along with the schema `$1`, besides its tables, their keys (`$2`), and
/// what is part of something else that is dropped, as an index is of its materialized view. What somebody drops at that moment
/// has no identity any more. Then the settings of the
/// tables that are not those of `schema.sql`; rights, comments and policies are not among them, as they are given to
/// the new tables. Nor, if `$3`, are views that are made again on these ([`FOLLOWS`], for `{follows}`), and what hangs on them.
const DEPENDENTS: &str = "
    WITH RECURSIVE tables AS (
        SELECT c.* FROM pg_class c WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r'
    ),
    seeds (classid, objid, objsubid) AS (
        SELECT 'pg_class'::regclass::oid, oid, 0 FROM tables
        UNION ALL SELECT 'pg_namespace'::regclass::oid, oid, 0 FROM pg_namespace WHERE nspname = $1
    ),
    following AS (
        SELECT v.oid AS view, r.oid AS rule FROM pg_class v JOIN pg_rewrite r ON r.ev_class = v.oid WHERE $3 AND {follows}
    ),
    gone AS (
        SELECT * FROM seeds
        UNION
        SELECT next.* FROM gone g CROSS JOIN LATERAL (
            SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
            WHERE d.refclassid = g.classid AND d.refobjid = g.objid AND g.objsubid IN (0, d.refobjsubid)
            UNION ALL
            SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_depend d
            WHERE d.classid = g.classid AND d.objid = g.objid AND d.objsubid = g.objsubid AND d.deptype = 'i'
        ) next
        WHERE NOT EXISTS (SELECT FROM following f
                          WHERE (next.classid, next.objid) IN (('pg_class'::regclass, f.view), ('pg_rewrite'::regclass, f.rule)))
    ),
    named AS (
        SELECT g.* FROM gone g
        WHERE NOT EXISTS (SELECT FROM seeds s WHERE (s.classid, s.objid) = (g.classid, g.objid))
          AND NOT EXISTS (SELECT FROM gone h WHERE g.objsubid <> 0 AND h.objsubid = 0
                          AND (h.classid, h.objid) = (g.classid, g.objid))
          AND NOT EXISTS (
              SELECT FROM pg_depend d JOIN gone h
                  ON h.classid = d.refclassid AND h.objid = d.refobjid AND h.objsubid IN (0, d.refobjsubid)
              WHERE d.classid = g.classid AND d.objid = g.objid AND d.objsubid = g.objsubid
                AND d.deptype IN ('a', 'i')
                AND NOT EXISTS (SELECT FROM seeds s WHERE (s.classid, s.objid) = (h.classid, h.objid)))
          AND NOT (g.classid = 'pg_type'::regclass AND g.objid IN (SELECT reltype FROM tables))
          AND NOT (g.classid = 'pg_class'::regclass AND g.objid IN (SELECT reltoastrelid FROM tables))
          AND NOT (g.classid = 'pg_policy'::regclass AND EXISTS (
              SELECT FROM pg_policy p JOIN tables t ON t.oid = p.polrelid WHERE p.oid = g.objid))
          AND NOT (g.classid = 'pg_constraint'::regclass AND EXISTS (
              SELECT FROM pg_constraint c JOIN tables t ON t.oid = c.conrelid
              WHERE c.oid = g.objid AND (c.conname = ANY($2) OR c.contype = 'n')))
    ),
    settings AS (
        SELECT oid, format('replica identity of %I.%I', $1, relname) AS what FROM tables WHERE relreplident <> 'd'
        UNION ALL
        SELECT oid, format('tablespace of %I.%I', $1, relname) FROM tables WHERE reltablespace <> 0
        UNION ALL
        SELECT oid, format('storage parameters of %I.%I', $1, relname) FROM tables
        WHERE coalesce(reloptions, '{}')
            <> CASE relname WHEN 'load' THEN '{}'::text[] ELSE '{autovacuum_enabled=false}' END
        UNION ALL
        SELECT t.oid, format('settings of column %I of %I.%I', a.attname, $1, t.relname)
        FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type y ON y.oid = a.atttypid
        WHERE a.attoptions IS NOT NULL OR coalesce(a.attstattarget, -1) >= 0 OR a.attcompression <> ''
           OR a.attstorage <> y.typstorage
        UNION ALL
        SELECT t.oid, format('security label of %s on %I.%I', l.provider, $1, t.relname)
        FROM tables t JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = t.oid
    )
    SELECT format('%s %s', CASE i.type
               WHEN 'publication relation' THEN 'table' WHEN 'publication namespace' THEN 'schema'
               WHEN 'default acl' THEN 'default privileges'
               WHEN 'table constraint' THEN CASE f.contype WHEN 'f' THEN 'foreign key' ELSE 'constraint' END
               ELSE i.type END, i.identity), n.classid, n.objid, n.objsubid,
           i.type IN ('table', 'foreign table', 'sequence') OR i.type LIKE '%column'
    FROM named n CROSS JOIN LATERAL pg_identify_object(n.classid, n.objid, n.objsubid) i
    LEFT JOIN pg_constraint f ON n.classid = 'pg_constraint'::regclass AND f.oid = n.objid
    WHERE i.identity IS NOT NULL
    UNION ALL
    SELECT what, 0, oid, 0, false FROM settings
    ORDER BY 1";

/// What hangs on the catalogue in `schema`; nothing if there is none. Views that are to follow are not among it while it is
/// the published one.
pub(super) async fn dependents(
    session: &Session,
    schema: &str,
) -> Result<Vec<Dependent>, tokio_postgres::Error> {
    let keys = schema::keys();
    let parameters: [&(dyn ToSql + Sync); 3] = [&schema, &keys, &(schema == PUBLISHED)];
    let rows = session.client.query(&DEPENDENTS.replace("{follows}", FOLLOWS), &parameters).await?;
    let dependent = |row: tokio_postgres::Row| Dependent {
        what: row.get(0),
        schema: schema.to_owned(),
        address: (row.get(1), row.get(2), row.get(3)),
        holds_rows: row.get(4),
    };
    Ok(rows.into_iter().map(dependent).collect())
}

/// What a load that died may have left.
pub const LEFT_BEHIND: &[&str] = &[STAGING, DISCARDED];
/// What a load replaces.
pub const REPLACED: &[&str] = &[PREVIOUS, PUBLISHED];

/// What will be dropped with `schemas`, or stay with the one that is kept. Refuses what must not be dropped.
pub async fn affected(session: &Session, schemas: &[&str], keep_previous: bool) -> Result<Vec<Dependent>> {
    let mut affected = Vec::new();
    for &schema in schemas {
        let found = dependents(session, schema).await;
        let found =
            found.map_err(|error| session.failed("cannot find what depends on the catalogue", &error))?;
        if !(keep_previous && schema == PUBLISHED) {
            found
                .iter()
                .find(|dependent| dependent.holds_rows)
                .map_or(Ok(()), |found| Err(found.refused()))?;
        }
        affected.extend(found);
    }
    Ok(affected)
}

impl Dependent {
    /// Whether both are the same object, whatever the catalogue they hang on is called.
    pub(super) fn is(&self, other: &Dependent) -> bool {
        self.address == other.address
    }

    /// The same, of the catalogue that was published.
    pub(super) fn of_published(self) -> Dependent {
        Dependent { schema: PUBLISHED.to_owned(), ..self }
    }

    /// Whether it hangs on the catalogue in `schema`.
    pub(super) fn is_of(&self, schema: &str) -> bool {
        self.schema == schema
    }

    /// Whether dropping it would lose rows.
    pub(super) fn holds_rows(&self) -> bool {
        self.holds_rows
    }

    /// It must not be dropped.
    pub(super) fn refused(&self) -> Error {
        let Dependent { what, schema, .. } = self;
        Error::database(format!("{what} depends on the schema {schema} and would lose its rows with it")).hint(
            "a load replaces the schema: detach it (ALTER TABLE … NO INHERIT, or another type for the column) or drop it",
        )
    }

    /// For people, before and after: what becomes of it.
    pub fn warning(&self, replaced: Replaced) -> String {
        let Dependent { what, schema, .. } = self;
        match (schema.as_str(), replaced) {
            (PUBLISHED, Replaced::Kept) => {
                format!(
                    "{what}: left with the catalogue that is now kept as {PREVIOUS}, and dropped with it later"
                )
            }
            (PUBLISHED, Replaced::Dropped) => {
                format!(
                    "{what}: dropped with the catalogue that this load replaces; make it again afterwards"
                )
            }
            (PUBLISHED, Replaced::InUse) => {
                format!(
                    "{what}: still reads the catalogue that this load replaced, and is dropped with it by the next load; \
                     make it again before"
                )
            }
            (PREVIOUS, _) => format!("{what}: dropped with the catalogue that was kept as {PREVIOUS}"),
            _ => format!("{what}: dropped with the schema {schema}, which an earlier load left behind"),
        }
    }
}
