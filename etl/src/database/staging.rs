//! Creates the staging schema and drops catalogues.

use std::iter;

use atelier_base::connect::describe;
use atelier_base::error::Result;
use tokio_postgres::error::SqlState;

use crate::database::lock::LANE_LOCK;
use crate::database::names::{DISCARDED, PUBLISHED, STAGING};
use crate::database::schema;
use crate::database::session::Session;
use atelier_base::tables::TABLES;

/// How long to wait for readers of what an earlier load left behind.
const STAGE_LOCK_TIMEOUT: &str = "10s";

/// How long to wait for the last readers of the replaced catalogue.
const DROP_LOCK_TIMEOUT: &str = "10s";

/// Attempts to drop a catalogue if readers cause deadlocks.
const MAX_DROP_ATTEMPTS: u32 = 4;

/// How long an attempt to clean up waits for readers of the staged tables.
const UNSTAGE_LOCK_TIMEOUT: &str = "2s";

/// Ends the sessions and drops the schemas that an earlier load left behind. Call it with the lock held.
pub(crate) async fn clear(session: &Session) -> Result<()> {
    // A lane of a killed loader may still build an index. While we hold the lock, no other load has lanes.
    let orphans = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE locktype = 'advisory' AND usename = current_user
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND (classid::bigint << 32 | objid::bigint) = {LANE_LOCK}"
    );
    session.run(&orphans, "end the sessions of an earlier load").await?;
    for schema in [STAGING, DISCARDED] {
        let dropped = drop_schema(session, schema, STAGE_LOCK_TIMEOUT).await;
        dropped.map_err(|error| session.failed(format!("cannot drop the schema {schema}"), &error))?;
    }
    Ok(())
}

/// Creates an empty staging schema. Its owner is that of the published one, so that each member of that role can drop it.
/// Call it with the lock held, after [`clear`].
pub(crate) async fn stage(session: &Session) -> Result<()> {
    let query = format!(
        "SELECT quote_ident(coalesce(
             (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = '{PUBLISHED}'), current_user))"
    );
    let owner: String = session.one(&query, "query the owner of the catalogue").await?.get(0);
    let load = schema::load_table();
    // One transaction: a staging schema always has the table by which the loader recognizes it.
    let create = format!(
        "BEGIN; CREATE SCHEMA {STAGING} AUTHORIZATION {owner}; SET LOCAL search_path TO {STAGING}; {}; {}; COMMIT",
        load.create,
        load.after.join(";")
    );
    let created = session.transaction(&create).await;
    created.map_err(|error| session.failed("cannot create the schema atelier_staging", &error))
}

/// Drops what is staged.
pub(crate) async fn unstage(session: &Session) -> Result<()> {
    let dropped = drop_schema(session, STAGING, UNSTAGE_LOCK_TIMEOUT).await;
    dropped.map_err(|error| session.failed("cannot drop the schema atelier_staging", &error))
}

/// The warning if [`drop_replaced`] has to be left out.
pub(crate) const NOT_DROPPED: &str = "the new catalogue is published, but a view still reads the old one: \
                               the schema atelier_staging takes disk space until the next load drops it";

/// Drops what was replaced and is not kept. Returns a warning if it is still being read.
pub(crate) async fn drop_replaced(session: &Session) -> Option<String> {
    for schema in [STAGING, DISCARDED] {
        if let Err(error) = drop_schema(session, schema, DROP_LOCK_TIMEOUT).await {
            return Some(format!(
                "the new catalogue is published, but an old one could not be dropped ({}): \
                 the schema {schema} takes disk space until the next load drops it",
                describe(&error)
            ));
        }
    }
    None
}

/// Drops a catalogue: its tables with what depends on them, which was announced before, and its schema. That fails if the
/// schema contains anything else.
async fn drop_schema(
    session: &Session,
    schema: &str,
    lock_timeout: &str,
) -> Result<(), tokio_postgres::Error> {
    // In the order in which queries name them, so that a reader that holds the first table can lock the others.
    let names = iter::once("load").chain(TABLES.iter().map(|table| table.name));
    let tables: Vec<String> = names.map(|name| format!("{schema}.{name}")).collect();
    let drop = format!(
        "BEGIN; SET LOCAL lock_timeout = '{lock_timeout}'; SET LOCAL client_min_messages = warning;
         DROP TABLE IF EXISTS {} CASCADE; DROP SCHEMA IF EXISTS {schema}; COMMIT",
        tables.join(", ")
    );
    for _ in 1..MAX_DROP_ATTEMPTS {
        match session.transaction(&drop).await {
            // A reader held some of the tables and waited for others, which we held. It has them now, and will end.
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {}
            result => return result,
        }
    }
    session.transaction(&drop).await
}
