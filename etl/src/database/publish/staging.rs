//! Where a load is made and where what it replaces goes: made, signed, dropped.

use std::iter;

use atelier_base::connect::describe;
use atelier_base::error::Result;
use tokio_postgres::error::SqlState;

use super::lock::LANE_LOCK;
use super::{DISCARDED, PUBLISHED, STAGING, one, run, transaction};
use crate::database::schema;
use crate::database::session::Session;
use crate::output::report::Report;
use atelier_base::tables::TABLES;

/// How long what a dead load left behind is waited for, if somebody still reads it.
const STAGE_LOCK_TIMEOUT: &str = "10s";

/// How long the last readers of the catalogue that was replaced are waited for.
const DROP_LOCK_TIMEOUT: &str = "10s";

/// How often dropping is tried if PostgreSQL ends it for a deadlock with readers.
const DROP_TRIES: u32 = 4;

/// How long cleaning up waits for somebody who reads what is staged, at a time.
const UNSTAGE_LOCK_TIMEOUT: &str = "2s";

/// Ends and drops whatever a load that died left behind. Call it with the lock held.
pub async fn clear(session: &Session) -> Result<()> {
    // A lane of a killed loader may still build an index: nobody else has lanes while we hold the lock.
    let orphans = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE locktype = 'advisory' AND usename = current_user
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND (classid::bigint << 32 | objid::bigint) = {LANE_LOCK}"
    );
    run(session, &orphans, "end the sessions of a load that died").await?;
    for schema in [STAGING, DISCARDED] {
        let dropped = drop_schema(session, schema, STAGE_LOCK_TIMEOUT).await;
        dropped.map_err(|error| session.failed(format!("cannot drop the schema {schema}"), &error))?;
    }
    Ok(())
}

/// Makes an empty staging schema, of the role that the published one belongs to: another of its members can clear it.
/// Call it with the lock held and nothing left behind.
pub async fn stage(session: &Session) -> Result<()> {
    let query = format!(
        "SELECT quote_ident(coalesce(
             (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = '{PUBLISHED}'), current_user))"
    );
    let owner: String = one(session, &query, "find the owner of the catalogue").await?.get(0);
    let load = schema::load_table();
    // One transaction: a staging schema always has the table that tells it from somebody else's.
    let make = format!(
        "BEGIN; CREATE SCHEMA {STAGING} AUTHORIZATION {owner}; SET LOCAL search_path TO {STAGING}; {}; {}; COMMIT",
        load.create,
        load.after.join(";")
    );
    let made = transaction(session, &make).await;
    made.map_err(|error| session.failed("cannot make the schema atelier_staging", &error))
}

/// Drops what is staged.
pub async fn unstage(session: &Session) -> Result<()> {
    let dropped = drop_schema(session, STAGING, UNSTAGE_LOCK_TIMEOUT).await;
    dropped.map_err(|error| session.failed("cannot drop the schema atelier_staging", &error))
}

/// Says in the staged catalogue what it is.
pub async fn sign(session: &Session, report: &Report) -> Result<()> {
    let tables = serde_json::to_string(&report.tables).unwrap_or_default();
    let insert = format!(
        "INSERT INTO {STAGING}.load (load_id, started_at, finished_at, version, tables)
         VALUES ($1::text::uuid, clock_timestamp() - make_interval(secs => $2), clock_timestamp(), $3, $4::text::jsonb)"
    );
    let result =
        session.client.execute(&insert, &[&report.load_id, &report.seconds, &report.version, &tables]).await;
    result.map(drop).map_err(|error| session.failed("cannot write the table load", &error))
}

/// A warning instead of [`drop_replaced`].
pub const NOT_DROPPED: &str = "the new catalogue is published, but a view of the one before it is in use: \
                               the schema atelier_staging takes room until the next load drops it";

/// Drops what was replaced and is not kept. Gives a warning if its readers do not let go of it.
pub async fn drop_replaced(session: &Session) -> Option<String> {
    for schema in [STAGING, DISCARDED] {
        if let Err(error) = drop_schema(session, schema, DROP_LOCK_TIMEOUT).await {
            return Some(format!(
                "the new catalogue is published, but one before it could not be dropped ({}): \
                 the schema {schema} takes room until the next load drops it",
                describe(&error)
            ));
        }
    }
    None
}

/// Drops a catalogue: its tables with what hangs on them, which was named before, and its schema, which fails if
/// somebody has put something else into it.
async fn drop_schema(session: &Session, schema: &str, patience: &str) -> Result<(), tokio_postgres::Error> {
    // In the order in which queries name them: a reader that has the first is waited for with nothing in its way.
    let names = iter::once("load").chain(TABLES.iter().map(|table| table.name));
    let tables: Vec<String> = names.map(|name| format!("{schema}.{name}")).collect();
    let drop = format!(
        "BEGIN; SET LOCAL lock_timeout = '{patience}'; SET LOCAL client_min_messages = warning;
         DROP TABLE IF EXISTS {} CASCADE; DROP SCHEMA IF EXISTS {schema}; COMMIT",
        tables.join(", ")
    );
    for _ in 1..DROP_TRIES {
        match transaction(session, &drop).await {
            // A reader that has some of the tables and wants others, which we have: it has them now, and ends.
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {}
            result => return result,
        }
    }
    transaction(session, &drop).await
}
