//! Objects of others that depend on a catalogue. PostgreSQL drops them with the tables, so they are announced before. A load
//! that would drop rows of others is refused.

use atelier_base::error::{Error, Result};
use postgres_types::ToSql;

use crate::database::names::{DISCARDED, PREVIOUS, PUBLISHED, STAGING};
use crate::database::schema;
use crate::database::session::Session;
use crate::database::views::IS_REPLACEABLE;

/// An object that depends on the tables of a catalogue, or a setting of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependent {
    /// As `view reports.cheap`; for people.
    what: String,
    schema: String,
    /// As in `pg_depend`: classid, objid, objsubid. A setting has that of its table.
    address: (u32, u32, i32),
    /// A table or a column of one: dropping it would lose rows.
    holds_rows: bool,
}

/// What becomes of the replaced catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// It is dropped as soon as the new one is published.
    Dropped,
    /// It becomes the previous one.
    Kept,
    /// It stays for now: a view that is being read could not be replaced and would be dropped with the tables.
    InUse,
}

impl Replaced {
    pub(crate) fn when(keep_previous: bool) -> Replaced {
        if keep_previous { Replaced::Kept } else { Replaced::Dropped }
    }
}

/// Everything that `DROP … CASCADE` would take along with the schema `$1`, besides its tables, their keys (`$2`), and
/// what is part of something else that is dropped, as an index is of its materialized view. What is dropped at that very
/// moment has no identity any more. Then the settings of the tables that differ from `schema.sql`; not privileges, comments and
/// policies, as the new tables get them. Nor, if `$3`, are views that will be replaced ([`IS_REPLACEABLE`], for `{replaceable}`), and what depends on them.
const DEPENDENTS: &str = "
    WITH RECURSIVE tables AS (
        SELECT c.* FROM pg_class c WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r'
    ),
    seeds (classid, objid, objsubid) AS (
        SELECT 'pg_class'::regclass::oid, oid, 0 FROM tables
        UNION ALL SELECT 'pg_namespace'::regclass::oid, oid, 0 FROM pg_namespace WHERE nspname = $1
    ),
    following AS (
        SELECT v.oid AS view, r.oid AS rule FROM pg_class v JOIN pg_rewrite r ON r.ev_class = v.oid WHERE $3 AND {replaceable}
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
        -- Since its minor versions of November 2026, PostgreSQL keeps an option of its own in every column: pg_attver.
        WHERE EXISTS (SELECT FROM unnest(a.attoptions) AS option WHERE left(option, 3) <> 'pg_')
           OR coalesce(a.attstattarget, -1) >= 0 OR a.attcompression <> '' OR a.attstorage <> y.typstorage
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

/// What depends on the catalogue in `schema`; nothing if there is none. Of the published one, without the views that will
/// be replaced.
pub(crate) async fn dependents(
    session: &Session,
    schema: &str,
) -> Result<Vec<Dependent>, tokio_postgres::Error> {
    let keys = schema::keys();
    let parameters: [&(dyn ToSql + Sync); 3] = [&schema, &keys, &(schema == PUBLISHED)];
    let rows =
        session.client.query(&DEPENDENTS.replace("{replaceable}", IS_REPLACEABLE), &parameters).await?;
    let dependent = |row: tokio_postgres::Row| Dependent {
        what: row.get(0),
        schema: schema.to_owned(),
        address: (row.get(1), row.get(2), row.get(3)),
        holds_rows: row.get(4),
    };
    Ok(rows.into_iter().map(dependent).collect())
}

/// Schemas that an earlier load may have left behind.
pub(crate) const LEFT_BEHIND: &[&str] = &[STAGING, DISCARDED];
/// Schemas that a load replaces.
pub(crate) const REPLACED: &[&str] = &[PREVIOUS, PUBLISHED];

/// What will be dropped with `schemas`, or stay with the one that is kept. Refuses to drop rows of others.
pub(crate) async fn affected(
    session: &Session,
    schemas: &[&str],
    keep_previous: bool,
) -> Result<Vec<Dependent>> {
    let mut affected = Vec::new();
    for &schema in schemas {
        let found = dependents(session, schema).await;
        let found =
            found.map_err(|error| session.failed("cannot query what depends on the catalogue", &error))?;
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
    /// Whether both are the same object; the catalogue that they depend on may have been renamed.
    pub(crate) fn is(&self, other: &Dependent) -> bool {
        self.address == other.address
    }

    /// The same object, as a dependent of the catalogue that was published.
    pub(crate) fn of_published(self) -> Dependent {
        Dependent { schema: PUBLISHED.to_owned(), ..self }
    }

    /// Whether it depends on the catalogue in `schema`.
    pub(crate) fn is_of(&self, schema: &str) -> bool {
        self.schema == schema
    }

    /// Whether dropping it would lose rows.
    pub(crate) fn holds_rows(&self) -> bool {
        self.holds_rows
    }

    /// The error that it must not be dropped.
    pub(crate) fn refused(&self) -> Error {
        let Dependent { what, schema, .. } = self;
        Error::database(format!("{what} depends on the schema {schema} and would lose rows with it")).hint(
            "a load replaces the schema: remove the dependency (ALTER TABLE … NO INHERIT, or another type for the column) or drop it",
        )
    }

    /// What will become of it, or did: a warning.
    pub(crate) fn warning(&self, replaced: Replaced) -> String {
        let Dependent { what, schema, .. } = self;
        match (schema.as_str(), replaced) {
            (PUBLISHED, Replaced::Kept) => {
                format!(
                    "{what}: stays with the replaced catalogue, now {PREVIOUS}, and will be dropped with it"
                )
            }
            (PUBLISHED, Replaced::Dropped) => {
                format!("{what}: dropped with the replaced catalogue; create it again after the load")
            }
            (PUBLISHED, Replaced::InUse) => {
                format!(
                    "{what}: still reads the replaced catalogue, and will be dropped with it by the next load; \
                     create it again before that"
                )
            }
            (PREVIOUS, _) => format!("{what}: dropped with the previous catalogue, {PREVIOUS}"),
            _ => format!("{what}: dropped with the schema {schema}, which an earlier load left behind"),
        }
    }
}
