//! One catalogue takes the place of another: the only transaction that touches what clients read.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use atelier_base::error::{Error, Result};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;

use super::catalogue;
use super::dependents::{Dependent, Replaced, dependents};
use super::rights::{self, Own};
use super::views::{self, InUse};
use super::{DISCARDED, NEXT, PREVIOUS, PUBLISHED, STAGING, transaction};
use crate::database::session::Session;
use atelier_base::tables::TABLES;

/// How long publishing waits for the locks of others before it gives up.
const PUBLISH_LOCK_TIMEOUT: &str = "10s";

/// How long publishing holds up new readers while it waits for running ones, at a time and in all.
const READERS_TURN: &str = "100ms";
const READERS_PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_TURNS: Duration = Duration::from_millis(50);

/// Without a search path, PostgreSQL writes every name in full but those of its own, and takes them for the same again: no
/// function of somebody else's gets into a view or a policy.
const FULL_NAMES: &str = "SET LOCAL search_path = ''";

/// How often an interrupted publishing is asked to stop.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);

/// What to do when the connection was lost while publishing.
const UNANSWERED: &str = "look into PostgreSQL's log, see that it runs, and ask atelier-etl status what is published: \
                          the catalogue as it was, or all of the other one";

/// What publishing has come to.
#[derive(Debug)]
pub struct Published {
    /// Some reader may have seen both catalogues.
    pub warning: Option<String>,
    /// What still hangs on the catalogue that was replaced, and on the one that was kept before it.
    pub left: Vec<Dependent>,
    /// What becomes of that now.
    pub replaced: Replaced,
    /// The statements that make the views of others again.
    views: Vec<String>,
}

/// A catalogue takes the place of the published one.
#[derive(Clone, Copy)]
struct Swap<'a> {
    session: &'a Session,
    /// The schema it is in.
    by: &'a str,
    /// The schema that the published one becomes.
    replaced: &'a str,
    /// What becomes of the rights that it has already.
    own: Own,
    /// For errors.
    what: &'a str,
}

/// Why it has not.
enum Failure {
    Database(tokio_postgres::Error),
    /// Somebody's rows, or a schema of somebody's, would be lost.
    Refused(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Database(error)
    }
}

/// Publishes what is staged: one transaction renames. The catalogue that is replaced becomes the previous one if it is
/// kept. If not, it takes the place of what was staged, so that the next load drops it if this one dies before.
pub async fn publish(session: &Session, keep_previous: bool) -> Result<Published> {
    let replaced = if keep_previous { PREVIOUS } else { STAGING };
    Swap { session, by: STAGING, replaced, own: Own::Kept, what: "cannot publish the load" }.run().await
}

/// Publishes the catalogue that is kept, and keeps the one that was published.
pub async fn roll_back(session: &Session) -> Result<Published> {
    Swap { session, by: PREVIOUS, replaced: PREVIOUS, own: Own::Revoked, what: "cannot roll back" }
        .run()
        .await
}

impl Swap<'_> {
    /// In one transaction: the catalogue gets the published one's place, owner, rights, comments, policies and views. A
    /// previous one that is neither is discarded in it, and so is there as long as this fails.
    ///
    /// Renaming a schema waits for nobody, and PostgreSQL looks tables up one by one: a statement that begins at the
    /// wrong moment could find one table of the old catalogue and the next of the new. So the old tables are locked
    /// first, which waits for the statements that read them. It waits in short turns, shorter than `deadlock_timeout`,
    /// so that no reader is ever held up for long or cancelled; and not for ever, so that one endless transaction, a
    /// dump say, cannot keep a load from being published.
    async fn run(self) -> Result<Published> {
        let tables = self.published_tables().await.map_err(|error| self.failed(error.into()))?;
        let Some(tables) = tables else {
            let done = self.transaction(PUBLISH_LOCK_TIMEOUT, None).await;
            return done.map_err(|failure| self.failed(failure));
        };
        let deadline = Instant::now() + READERS_PATIENCE;
        loop {
            match self.transaction(READERS_TURN, Some(&tables)).await {
                Ok(published) => return Ok(published),
                Err(Failure::Database(error)) if is_locked(&error) => {}
                Err(failure) => return Err(self.failed(failure)),
            }
            if Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(BETWEEN_TURNS).await;
        }
        let published = self.transaction(PUBLISH_LOCK_TIMEOUT, None).await;
        let published = published.map_err(|failure| self.failed(failure))?;
        let (left, replaced) = self.wait_for_views(&published).await;
        let warning = format!(
            "a transaction read the previous catalogue for over {} s and was not waited for: \
             it may see tables of both catalogues",
            READERS_PATIENCE.as_secs()
        );
        Ok(Published { warning: Some(warning), left, replaced, views: Vec::new() })
    }

    /// Makes views again that were in use when the catalogue was published, and gives what is left then.
    async fn wait_for_views(&self, published: &Published) -> (Vec<Dependent>, Replaced) {
        let (mut patience, mut replaced) = (PUBLISH_LOCK_TIMEOUT, published.replaced);
        for view in &published.views {
            let make = format!("BEGIN; SET LOCAL lock_timeout = '{patience}'; {FULL_NAMES}; {view}; COMMIT");
            // Whoever reads this one keeps it: the others are not waited for as long as well.
            if transaction(self.session, &make).await.is_err_and(|error| is_locked(&error)) {
                patience = READERS_TURN;
                if replaced == Replaced::Dropped {
                    replaced = Replaced::InUse;
                }
            }
        }
        // What cannot be asked is named as it was.
        let Ok(on_replaced) = dependents(self.session, self.replaced).await else {
            return (published.left.clone(), replaced);
        };
        let stays = |was: &&Dependent| !was.is_of(PUBLISHED) || on_replaced.iter().any(|is| is.is(was));
        (published.left.iter().filter(stays).cloned().collect(), replaced)
    }

    /// The published tables in the order in which they are to be locked, parents first, as queries name them. None if
    /// nothing is published.
    async fn published_tables(&self) -> Result<Option<String>, tokio_postgres::Error> {
        let query = format!(
            "SELECT string_agg(format('{PUBLISHED}.%I', relname), ', '
                               ORDER BY relname <> 'load', array_position($1, relname::text))
             FROM pg_class WHERE relnamespace = to_regnamespace('{PUBLISHED}') AND relkind = 'r'"
        );
        let order: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        Ok(self.session.client.query_one(&query, &[&order]).await?.get(0))
    }

    /// The transaction, with the published tables locked if `tables` names them.
    async fn transaction(&self, patience: &str, tables: Option<&str>) -> Result<Published, Failure> {
        let lock = tables.map(|tables| format!("LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE;"));
        let begin = format!(
            "BEGIN; SET LOCAL lock_timeout = '{patience}'; {} {FULL_NAMES}",
            lock.unwrap_or_default()
        );
        let swapped = async {
            self.session.client.batch_execute(&begin).await?;
            // Without a lock on the tables, this is the last try.
            let in_use = if tables.is_some() { InUse::Fails } else { InUse::IsLeft };
            let published = self.exchange(in_use).await?;
            self.session.client.batch_execute("COMMIT").await?;
            Ok(published)
        };
        let swapped = swapped.await;
        if swapped.is_err() {
            // On a lost connection this fails too, and nothing is left to undo.
            let _ = self.session.client.batch_execute("ROLLBACK").await;
        }
        swapped
    }

    async fn exchange(&self, in_use: InUse) -> Result<Published, Failure> {
        let Swap { session, by, replaced, own, .. } = *self;
        let query = format!(
            "SELECT to_regnamespace('{PUBLISHED}') IS NOT NULL, to_regnamespace('{PREVIOUS}') IS NOT NULL"
        );
        let row = session.client.query_one(&query, &[]).await?;
        let (is_published, is_kept): (bool, bool) = (row.get(0), row.get(1));
        // What was not there before the first row may have come since.
        catalogue::check_schemas(session).await.map_err(Failure::Refused)?;
        catalogue::check_contents(session).await.map_err(Failure::Refused)?;
        // Dropped later: a dump may be reading it.
        let discards = is_kept && by != PREVIOUS;
        let given = rights::statements(session, PUBLISHED, by, own).await?;
        let views = views::on(session, PUBLISHED).await?;
        let on_published = dependents(session, PUBLISHED).await?;
        let on_previous = if discards { dependents(session, PREVIOUS).await? } else { Vec::new() };

        let mut statements = Vec::new();
        if discards {
            statements.push(format!("ALTER SCHEMA {PREVIOUS} RENAME TO {DISCARDED}"));
        }
        // The name that `by` has may be the one that the published one gets.
        statements.push(format!("ALTER SCHEMA {by} RENAME TO {NEXT}"));
        if is_published {
            statements.push(format!("ALTER SCHEMA {PUBLISHED} RENAME TO {replaced}"));
        }
        statements.push(format!("ALTER SCHEMA {NEXT} RENAME TO {PUBLISHED}"));
        statements.extend(given);
        session.client.batch_execute(&statements.join("; ")).await?;
        if in_use == InUse::IsLeft {
            session.client.batch_execute(&format!("SET LOCAL lock_timeout = '{READERS_TURN}'")).await?;
        }
        views::make_again(session, &views, in_use).await?;

        let on_replaced = if is_published { dependents(session, replaced).await? } else { Vec::new() };
        let (left, new): (Vec<Dependent>, Vec<Dependent>) = (
            on_published.iter().filter(|was| on_replaced.iter().any(|is| is.is(was))).cloned().collect(),
            // A view that could not be made again, and what hangs on it.
            on_replaced.into_iter().filter(|is| !on_published.iter().any(|was| was.is(is))).collect(),
        );
        let left = [left, new.into_iter().map(Dependent::of_published).collect(), on_previous].concat();
        // What hangs on one that is kept stays with it.
        let goes = |dependent: &&Dependent| replaced != PREVIOUS || dependent.is_of(PREVIOUS);
        match left.iter().filter(goes).find(|dependent| dependent.holds_rows()) {
            Some(dependent) => Err(Failure::Refused(dependent.refused())),
            None => {
                let replaced = Replaced::by(replaced == PREVIOUS);
                Ok(Published { warning: None, left, replaced, views })
            }
        }
    }

    fn failed(&self, failure: Failure) -> Error {
        match failure {
            Failure::Refused(error) => error,
            Failure::Database(error) => {
                let failed = self.session.failed(self.what, &error);
                // A refusal says that nothing has happened. Without an answer, the database alone knows.
                if error.code().is_some() { failed } else { failed.hint(UNANSWERED) }
            }
        }
    }
}

pub(super) fn is_locked(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// Runs what publishes. It waits for the locks of others, and so can be interrupted; whether it has happened then is for
/// the database to say.
pub async fn interruptible<T>(
    session: &Session,
    publishing: impl Future<Output = Result<T>>,
    interrupt: impl Future<Output = ()>,
) -> Result<T> {
    let mut publishing = pin!(publishing);
    tokio::select! {
        published = &mut publishing => published,
        () = interrupt => loop {
            // Again and again: a request that comes between two statements cancels nothing.
            session.canceller().cancel().await;
            if let Ok(published) = timeout(CANCEL_INTERVAL, &mut publishing).await {
                // On a lost connection it is for the database to say what has happened: its error says so.
                let lost = session.client.is_closed();
                break published.map_err(|error| if lost { error } else { Error::interrupted() });
            }
        },
    }
}
