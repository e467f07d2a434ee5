//! `rollback`: swaps the published catalogue and the previous one, so that a second rollback returns to it.

use std::fmt::Write as _;

use atelier_base::error::{Error, Result};
use atelier_base::terminal::{SUCCESS, styled};
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::commands::signals::cancel_on_signal;
use crate::database::lock::{lock, lockable, unlock};
use crate::database::metadata::{self, LoadRecord};
use crate::database::names::{CONTROL_SESSION, PREVIOUS};
use crate::database::preflight::preflight;
use crate::database::publish::{interruptible, roll_back};
use crate::database::session::Session;
use crate::options::Database;
use crate::output::stdout::{print, warning_line};

pub async fn run(args: &cli::Rollback) -> Result<()> {
    print(&rollback(&Database::resolve(&args.database)?, &cancel_on_signal()).await?)
}

/// Rolls back and returns what to print. Ends with [`Error::interrupted`] if `cancel` is cancelled.
pub async fn rollback(database: &Database, cancel: &CancellationToken) -> Result<String> {
    let prepare = async {
        let target = lockable(&database.target);
        let session = Session::connect_within(&target, CONTROL_SESSION, database.wait).await?;
        let session = session.with_retry_hint("roll back again");
        preflight(&session).await?;
        lock(&session).await?;
        let previous = metadata::require_previous(&session, &database.target).await?;
        let replaced = metadata::published(&session).await?;
        Ok((session, previous, replaced))
    };
    let (session, previous, replaced) = tokio::select! {
        prepared = prepare => prepared?,
        () = cancel.cancelled() => return Err(Error::interrupted()),
    };
    let published = interruptible(&session, roll_back(&session), cancel).await?;
    unlock(&session).await;

    let again = styled(SUCCESS, format_args!("load {} is published again", previous.load_id));
    let mut text = format!("{again}\n  finished {}\n", previous.finished);
    if let Some(LoadRecord { load_id, finished, .. }) = replaced {
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "load {load_id} is kept as {PREVIOUS}\n  finished {finished}; roll back again to return to it"
        );
    }
    let dependents = published.dependents.iter().map(|dependent| dependent.warning(published.replaced));
    let warnings = published.warning.into_iter().chain(dependents);
    Ok(text + &warnings.map(|warning| warning_line(&warning)).collect::<String>())
}
