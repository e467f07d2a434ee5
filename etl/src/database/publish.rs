//! The loader's schemas, and how one becomes another. `atelier` is what clients read and is never written to;
//! everything is made in `atelier_staging`; publishing and rolling back rename. One load or rollback of a database does
//! this at a time: `lock` sees to that.

mod catalogue;
mod dependents;
mod lock;
mod needs;
mod preflight;
mod rights;
mod staging;
mod swap;
mod views;

pub use catalogue::{IS_LOAD, found};
pub use dependents::{Dependent, LEFT_BEHIND, REPLACED, Replaced, affected};
pub use lock::{lock, lock_lane, lockable, unlock};
pub use needs::{check_connections, check_disk};
pub use preflight::preflight;
pub use rights::grant_to_reader;
pub use staging::{NOT_DROPPED, clear, drop_replaced, sign, stage, unstage};
pub use swap::{Published, interruptible, publish, roll_back};

use std::time::Duration;

use atelier_base::error::Result;
use tokio_postgres::Row;

use crate::database::session::Session;

/// What clients read.
pub const PUBLISHED: &str = "atelier";
/// Where a load is made; and where the catalogue is that a load has replaced, until it is dropped.
pub const STAGING: &str = "atelier_staging";
/// Begins a transaction in which names are those of what is staged.
pub const BEGIN_STAGED: &str = "BEGIN; SET LOCAL search_path TO atelier_staging";
/// What was published before, if it is kept.
pub const PREVIOUS: &str = "atelier_previous";
/// What was kept before that, until it is dropped.
const DISCARDED: &str = "atelier_discarded";
/// What will be published, within the transaction that publishes and nowhere else.
const NEXT: &str = "atelier_next";
/// The loader's own. What is in them is the loader's too: `preflight` sees to that.
const OWN: [&str; 5] = [PUBLISHED, STAGING, PREVIOUS, DISCARDED, NEXT];

/// `application_name` of the session that holds the lock, of a load or a rollback.
pub const CONTROL_SESSION: &str = "atelier-etl";
/// `application_name` of the sessions that copy and index.
pub const LANE_SESSION: &str = "atelier-etl lane";

/// How long a clean-up may take that nobody waits for gladly.
pub const CLEAN_UP_PATIENCE: Duration = Duration::from_secs(20);

/// Runs statements that begin and end a transaction; if one fails, none has happened.
async fn transaction(session: &Session, statements: &str) -> Result<(), tokio_postgres::Error> {
    let result = session.client.batch_execute(statements).await;
    if result.is_err() {
        // On a lost connection this fails too, and nothing is left to undo.
        let _ = session.client.batch_execute("ROLLBACK").await;
    }
    result
}

async fn one(session: &Session, query: &str, what: &str) -> Result<Row> {
    session
        .client
        .query_one(query, &[])
        .await
        .map_err(|error| session.failed(format!("cannot {what}"), &error))
}

async fn run(session: &Session, statements: &str, what: &str) -> Result<()> {
    session
        .client
        .batch_execute(statements)
        .await
        .map_err(|error| session.failed(format!("cannot {what}"), &error))
}
