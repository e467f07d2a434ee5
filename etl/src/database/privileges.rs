//! Owner, privileges, row-level security policies and comments of the published catalogue: a load replaces the tables and keeps
//! these.

use atelier_base::error::Result;

use crate::database::names::STAGING;
use crate::database::session::Session;

/// The role that may read the published catalogue, and nothing else.
const READER: &str = "atelier_reader";

/// What becomes of privileges that the new catalogue has and the published one does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// After a load: they come from the database's default privileges, or are those of [`READER`].
    Kept,
    /// After a rollback: they may have been revoked since that catalogue was published.
    Revoked,
}

/// Grants the staged catalogue to [`READER`], which is created if this user may do so.
pub(crate) async fn grant_to_reader(session: &Session) -> Result<()> {
    let query = format!(
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{READER}'),
                (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user)"
    );
    let row = session.one(&query, "query the role atelier_reader").await?;
    let (exists, may_create): (bool, bool) = (row.get(0), row.get(1));
    if !exists {
        if !may_create {
            return Ok(());
        }
        // Roles belong to the whole server: a load of another database may create it at the same moment.
        let create = format!(
            "DO $$ BEGIN CREATE ROLE {READER} NOLOGIN;
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        );
        session.run(&create, "create the role atelier_reader").await?;
    }
    let grant = format!(
        "GRANT USAGE ON SCHEMA {STAGING} TO {READER}; GRANT SELECT ON ALL TABLES IN SCHEMA {STAGING} TO {READER}"
    );
    session.run(&grant, "grant the catalogue to atelier_reader").await
}

/// `$1`: the schema to copy from; `$2`: the one to copy to; `$3`: whether to revoke what `$2` has already. Statements in
/// the order to run them, after `$2` got the name of `$1`. The owner becomes the grantor of all privileges. Without a search
/// path, the conditions of policies have qualified names.
const STATEMENTS: &str = "
    WITH spaces AS (
        SELECT f.oid AS old, t.oid AS new, f.nspacl AS old_acl, t.nspacl AS new_acl, f.nspowner AS owner,
               t.nspowner AS new_owner, quote_ident($1::text) AS name
        FROM pg_namespace f, pg_namespace t WHERE f.nspname = $1::text AND t.nspname = $2::text
    ),
    tables AS (
        SELECT f.oid AS old, t.oid AS new, f.relacl AS old_acl, t.relacl AS new_acl, t.relowner AS new_owner,
               f.relrowsecurity AS secured, f.relforcerowsecurity AS forced, t.relrowsecurity AS new_secured,
               t.relforcerowsecurity AS new_forced, format('%I.%I', $1::text, t.relname) AS name
        FROM spaces s JOIN pg_class f ON f.relnamespace = s.old AND f.relkind = 'r'
        JOIN pg_class t ON t.relnamespace = s.new AND t.relkind = 'r' AND t.relname = f.relname
    ),
    columns AS (
        SELECT f.attacl AS old_acl, t.attacl AS new_acl, tables.name, quote_ident(f.attname) AS col,
               tables.old, f.attnum
        FROM tables JOIN pg_attribute f ON f.attrelid = tables.old AND f.attnum > 0
        JOIN pg_attribute t ON t.attrelid = tables.new AND t.attname = f.attname
    ),
    objects AS (
        SELECT format('SCHEMA %s', name) AS object, '' AS col, old_acl, new_acl FROM spaces
        UNION ALL SELECT format('TABLE %s', name), '', old_acl, new_acl FROM tables
        UNION ALL SELECT format('TABLE %s', name), format(' (%s)', col), old_acl, new_acl FROM columns
    ),
    granted AS (
        SELECT object, format('%s%s', a.privilege_type, col) AS privilege, a.grantee, a.is_grantable
        FROM objects, aclexplode(old_acl) a
    ),
    roles AS (
        SELECT oid, quote_ident(rolname) AS name FROM pg_roles
        UNION ALL SELECT 0, 'PUBLIC'
    ),
    grantees AS (SELECT * FROM roles WHERE oid NOT IN (SELECT owner FROM spaces)),
    comments AS (
        SELECT format('SCHEMA %s', name) AS object, obj_description(old, 'pg_namespace') AS words FROM spaces
        UNION ALL SELECT format('TABLE %s', name), obj_description(old, 'pg_class') FROM tables
        UNION ALL SELECT format('COLUMN %s.%s', name, col), col_description(old, attnum) FROM columns
        UNION ALL
        SELECT format('CONSTRAINT %I ON %s', f.conname, name), obj_description(f.oid, 'pg_constraint')
        FROM tables JOIN pg_constraint f ON f.conrelid = old
        JOIN pg_constraint t ON t.conrelid = new AND t.conname = f.conname
        UNION ALL
        SELECT format('INDEX %s.%I', spaces.name, f.relname), obj_description(f.oid, 'pg_class')
        FROM spaces JOIN pg_class f ON f.relnamespace = spaces.old AND f.relkind = 'i'
        JOIN pg_class t ON t.relnamespace = spaces.new AND t.relkind = 'i' AND t.relname = f.relname
        UNION ALL
        SELECT format('POLICY %I ON %s', p.polname, name), obj_description(p.oid, 'pg_policy')
        FROM tables JOIN pg_policy p ON p.polrelid = old
    )
    SELECT 1, format('ALTER SCHEMA %s OWNER TO %s', spaces.name, roles.name)
    FROM spaces JOIN roles ON roles.oid = owner WHERE new_owner <> owner
    UNION ALL
    SELECT 2, format('ALTER TABLE %s OWNER TO %s', tables.name, roles.name)
    FROM tables, spaces JOIN roles ON roles.oid = owner WHERE tables.new_owner <> owner
    UNION ALL
    SELECT 3, format('REVOKE ALL ON %s FROM %s CASCADE', object, grantees.name)
    FROM (SELECT DISTINCT object, a.grantee FROM objects, aclexplode(new_acl) a WHERE $3) had
    JOIN grantees ON grantees.oid = grantee
    UNION ALL
    SELECT 3, format('DROP POLICY %I ON %s', p.polname, name)
    FROM tables JOIN pg_policy p ON p.polrelid = tables.new WHERE $3
    UNION ALL
    SELECT 4, format('GRANT %s ON %s TO %s%s', string_agg(DISTINCT privilege, ', '), object, grantees.name,
                     CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
    FROM granted JOIN grantees ON grantees.oid = grantee
    GROUP BY object, grantees.name, is_grantable
    UNION ALL
    SELECT 5, format('ALTER TABLE %s %s ROW LEVEL SECURITY', name, CASE WHEN secured THEN 'ENABLE' ELSE 'DISABLE' END)
    FROM tables WHERE secured <> new_secured
    UNION ALL
    SELECT 5, format('ALTER TABLE %s %s ROW LEVEL SECURITY', name, CASE WHEN forced THEN 'FORCE' ELSE 'NO FORCE' END)
    FROM tables WHERE forced <> new_forced
    UNION ALL
    SELECT 6, format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname, tables.name,
                     CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                     CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                   WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                     (SELECT string_agg(roles.name, ', ') FROM roles WHERE roles.oid = ANY(p.polroles)),
                     ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
                     ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
    FROM tables JOIN pg_policy p ON p.polrelid = tables.old
    UNION ALL
    SELECT 7, format('COMMENT ON %s IS %L', object, words) FROM comments WHERE words IS NOT NULL
    ORDER BY 1, 2";

/// The statements that give the catalogue in `to` the owner, privileges, comments and policies of the one in `from`, after it
/// has taken that name. None if there is no such schema.
pub(crate) async fn statements(
    session: &Session,
    from: &str,
    to: &str,
    own: Own,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = session.client.query(STATEMENTS, &[&from, &to, &(own == Own::Revoked)]).await?;
    Ok(rows.iter().map(|row| row.get(1)).collect())
}
