//! What would fail later is refused first: the database, the rights of this user, and schemas that are not ours.

use atelier_base::error::{Error, Result};
use atelier_base::sql::quoted;

use super::{OWN, catalogue, one};
use crate::database::session::Session;

/// Refuses a database that cannot take a catalogue, rights that are missing, schemas of the loader's names that are
/// somebody else's, and what else somebody has put there. Nothing has been written then.
pub async fn preflight(session: &Session) -> Result<()> {
    let user = check_database(session).await?;
    catalogue::check_schemas(session).await?;
    check_owners(session, &user).await?;
    catalogue::check_contents(session).await
}

/// Gives the user's name.
async fn check_database(session: &Session) -> Result<String> {
    let query = "SELECT current_database()::text, current_user::text, pg_encoding_to_char(encoding)::text,
                        pg_is_in_recovery(), has_database_privilege(oid, 'CREATE'),
                        current_setting('server_version_num')::int
                 FROM pg_database WHERE datname = current_database()";
    let row = one(session, query, "look at the database").await?;
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
        return Err(Error::database("this PostgreSQL is a standby and takes no writes")
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

/// Refuses schemas of a role that this user is not a member of, or cannot hand objects over to: the owner stays the
/// owner. From PostgreSQL 16 on that is a right of its own.
async fn check_owners(session: &Session, user: &str) -> Result<()> {
    let query = "SELECT nspname::text, rolname::text, pg_has_role(nspowner, 'USAGE'), rolsuper
                 FROM pg_namespace JOIN pg_roles r ON r.oid = nspowner
                 WHERE nspname = ANY($1) AND NOT (pg_has_role(nspowner, 'USAGE') AND pg_has_role(nspowner,
                     CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END))
                 ORDER BY array_position($1, nspname::text) LIMIT 1";
    let row = session.client.query_opt(query, &[&OWN.as_slice()]).await;
    let row = row.map_err(|error| session.failed("cannot look at the schemas", &error))?;
    let Some(row) = row else { return Ok(()) };
    let (schema, owner, is_member, is_superuser): (String, String, bool, bool) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    let (quoted_owner, quoted_user) = (quoted(&owner), quoted(user));
    let sql = match (is_member, is_superuser) {
        (true, _) => format!("GRANT {quoted_owner} TO {quoted_user} WITH SET TRUE"),
        (false, false) => format!("GRANT {quoted_owner} TO {quoted_user}"),
        // Nobody should become a superuser to load.
        (false, true) => format!("ALTER SCHEMA {schema} OWNER TO {quoted_user}"),
    };
    Err(Error::database(format!("the schema {schema} belongs to \"{owner}\", not to \"{user}\""))
        .hint(format!("load as \"{owner}\", or as an administrator: {sql}")))
}
