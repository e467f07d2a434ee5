//! Views of others on the published tables. A view is bound to tables, not to their names, so it is replaced by one on the
//! new tables. It keeps its owner, its privileges and whatever depends on it.

use tokio_postgres::error::SqlState;

use crate::database::session::{Session, is_lock_timeout};

/// The condition that the view `v`, of `pg_class`, with the rule `r`, of `pg_rewrite`, can be replaced: it depends directly
/// on tables of the schema `$1`, and this user may act as its owner.
pub(crate) const IS_REPLACEABLE: &str = "
    v.relkind = 'v' AND r.rulename = '_RETURN' AND pg_has_role(v.relowner, 'USAGE') AND EXISTS (
        SELECT FROM pg_depend d JOIN pg_class t ON d.refclassid = 'pg_class'::regclass AND t.oid = d.refobjid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND t.relnamespace = to_regnamespace($1))";

/// Those views, oldest first. `{}`: [`IS_REPLACEABLE`].
const VIEWS: &str = "
    SELECT format('CREATE OR REPLACE VIEW %I.%I %s AS %s', n.nspname, v.relname,
                  'WITH (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid))
    FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace JOIN pg_rewrite r ON r.ev_class = v.oid
    WHERE {} ORDER BY v.oid";

/// The statements that replace the views on `schema`. Names are qualified if there is no search path.
pub(crate) async fn statements(
    session: &Session,
    schema: &str,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = session.client.query(&VIEWS.replace("{}", IS_REPLACEABLE), &[&schema]).await?;
    Ok(rows.iter().map(|row| row.get::<_, String>(0).trim_end_matches(';').to_owned()).collect())
}

/// What to do about a view that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InUse {
    Fail,
    Skip,
}

/// Replaces the views, within a transaction. One that cannot be replaced, for example because it returns whole rows of a
/// table, stays as it is, and so depends on the old tables.
pub(crate) async fn replace(
    session: &Session,
    views: &[String],
    in_use: InUse,
) -> Result<(), tokio_postgres::Error> {
    for view in views {
        let result =
            session.client.batch_execute(&format!("SAVEPOINT replaced; {view}; RELEASE replaced")).await;
        match result {
            Err(error) if in_use == InUse::Fail && is_lock_timeout(&error) => return Err(error),
            Err(error) if matches!(error.code(), None | Some(&SqlState::QUERY_CANCELED)) => {
                return Err(error);
            }
            Err(_) => session.client.batch_execute("ROLLBACK TO replaced; RELEASE replaced").await?,
            Ok(()) => {}
        }
    }
    Ok(())
}
