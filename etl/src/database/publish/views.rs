//! Views that others have made on the published tables. A view belongs to the tables it was made on, not to their names:
//! it is made again on the new ones, and keeps its owner, its rights and whatever depends on it.

use tokio_postgres::error::SqlState;

use super::swap::is_locked;
use crate::database::session::Session;

/// The condition that the view `v`, of `pg_class`, with the rule `r`, of `pg_rewrite`, is made again: it depends on tables of
/// the schema `$1` itself, and this user may act as its owner.
pub(super) const FOLLOWS: &str = "
    v.relkind = 'v' AND r.rulename = '_RETURN' AND pg_has_role(v.relowner, 'USAGE') AND EXISTS (
        SELECT FROM pg_depend d JOIN pg_class t ON d.refclassid = 'pg_class'::regclass AND t.oid = d.refobjid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND t.relnamespace = to_regnamespace($1))";

/// Those views, oldest first. `{}`: [`FOLLOWS`].
const VIEWS: &str = "
    SELECT format('CREATE OR REPLACE VIEW %I.%I %s AS %s', n.nspname, v.relname,
                  'WITH (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid))
    FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace JOIN pg_rewrite r ON r.ev_class = v.oid
    WHERE {} ORDER BY v.oid";

/// The statements that make the views on `schema` again. Names are in full if there is no search path.
pub(super) async fn on(session: &Session, schema: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = session.client.query(&VIEWS.replace("{}", FOLLOWS), &[&schema]).await?;
    Ok(rows.iter().map(|row| row.get::<_, String>(0).trim_end_matches(';').to_owned()).collect())
}

/// Whether a view that somebody reads is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InUse {
    Fails,
    IsLeft,
}

/// Makes them again, within a transaction. One that cannot be, since it gives out whole rows of a table say, is left as
/// it is, and so among what depends on the old tables.
pub(super) async fn make_again(
    session: &Session,
    views: &[String],
    in_use: InUse,
) -> Result<(), tokio_postgres::Error> {
    for view in views {
        let made = session.client.batch_execute(&format!("SAVEPOINT made; {view}; RELEASE made")).await;
        match made {
            Err(error) if in_use == InUse::Fails && is_locked(&error) => return Err(error),
            Err(error) if matches!(error.code(), None | Some(&SqlState::QUERY_CANCELED)) => {
                return Err(error);
            }
            Err(_) => session.client.batch_execute("ROLLBACK TO made; RELEASE made").await?,
            Ok(()) => {}
        }
    }
    Ok(())
}
