//! Publishing and rolling back: one catalogue takes the place of another. The only transaction that touches what clients
//! read.

use std::pin::pin;
use std::time::{Duration, Instant};

use atelier_base::error::{Error, Result};
use atelier_base::tables::TABLES;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::database::dependents::{Dependent, Replaced, dependents};
use crate::database::names::{DISCARDED, NEXT, PREVIOUS, PUBLISHED, STAGING};
use crate::database::preflight::{check_contents, check_schemas};
use crate::database::privileges::{self, Own};
use crate::database::session::{Session, is_lock_timeout};
use crate::database::views::{self, InUse};

/// How long publishing waits for the locks of other sessions.
const PUBLISH_LOCK_TIMEOUT: &str = "10s";

/// Publishing waits for running statements. Meanwhile new ones wait for it: so long at a time, and in all.
const LOCK_ATTEMPT_TIMEOUT: &str = "100ms";
const READERS_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// Without a search path, PostgreSQL qualifies every name but its own in the definitions of views and policies, so they
/// mean the same objects when they are run.
const QUALIFIED_NAMES: &str = "SET LOCAL search_path = ''";

/// Between two requests to cancel an interrupted publishing.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);

/// What to do when the connection was lost before `COMMIT` was answered.
const UNANSWERED: &str = "check that PostgreSQL is running, see its log, and run atelier-etl status: \
                          either the old catalogue is published or the whole new one";

#[derive(Debug)]
pub(crate) struct Published {
    /// A reader may see tables of both catalogues.
    pub(crate) warning: Option<String>,
    /// What still depends on the replaced catalogue, and on the previous one before it.
    pub(crate) dependents: Vec<Dependent>,
    /// What becomes of the replaced catalogue.
    pub(crate) replaced: Replaced,
    /// The statements that replace the views of others.
    views: Vec<String>,
}

/// A catalogue takes the place of the published one.
#[derive(Clone, Copy)]
struct Swap<'a> {
    session: &'a Session,
    /// The schema of the new one.
    by: &'a str,
    /// The schema that the published one moves to.
    replaced: &'a str,
    /// What becomes of the privileges that the new one has already.
    own: Own,
    /// For errors.
    what: &'a str,
}

enum Failure {
    /// Before `COMMIT`: nothing was published.
    Database(tokio_postgres::Error),
    Commit(tokio_postgres::Error),
    /// It would drop rows or objects of others.
    Refused(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Database(error)
    }
}

/// Publishes the staged catalogue by renaming schemas in one transaction. The replaced one becomes the previous one if it
/// is kept. Otherwise it gets the staging schema's name, so that the next load drops it if this one is killed.
pub(crate) async fn publish(session: &Session, keep_previous: bool) -> Result<Published> {
    let replaced = if keep_previous { PREVIOUS } else { STAGING };
    Swap { session, by: STAGING, replaced, own: Own::Kept, what: "cannot publish the load" }.run().await
}

/// Swaps the published catalogue and the previous one.
pub(crate) async fn roll_back(session: &Session) -> Result<Published> {
    Swap { session, by: PREVIOUS, replaced: PREVIOUS, own: Own::Revoked, what: "cannot roll back" }
        .run()
        .await
}

impl Swap<'_> {
    /// In one transaction, the new catalogue gets the published one's name, owner, privileges, comments, policies and views.
    /// An older previous catalogue is renamed for discarding in the same transaction, so a failure leaves it in place.
    ///
    /// Renaming a schema takes no lock on its tables, and PostgreSQL resolves their names one by one: a statement that
    /// begins at the wrong moment could read one table of the old catalogue and the next of the new one. So the old
    /// tables are locked first, which waits for the statements that read them. Each attempt is shorter than
    /// `deadlock_timeout`, so that no reader is delayed for long or cancelled; and there is an overall limit, so that one
    /// long transaction, such as a dump, does not prevent publishing.
    async fn run(self) -> Result<Published> {
        let tables = self.published_tables().await.map_err(|error| self.failed(error.into()))?;
        let Some(tables) = tables else {
            let done = self.attempt(PUBLISH_LOCK_TIMEOUT, None).await;
            return done.map_err(|failure| self.failed(failure));
        };
        let deadline = Instant::now() + READERS_TIMEOUT;
        loop {
            match self.attempt(LOCK_ATTEMPT_TIMEOUT, Some(&tables)).await {
                Ok(published) => return Ok(published),
                Err(Failure::Database(error)) if is_lock_timeout(&error) => {}
                Err(failure) => return Err(self.failed(failure)),
            }
            if Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(LOCK_ATTEMPT_PAUSE).await;
        }
        let published = self.attempt(PUBLISH_LOCK_TIMEOUT, None).await;
        let published = published.map_err(|failure| self.failed(failure))?;
        let (dependents, replaced) = self.wait_for_views(&published).await;
        let warning = format!(
            "a transaction still read the old catalogue after {} s: \
             it may see tables of both catalogues",
            READERS_TIMEOUT.as_secs()
        );
        Ok(Published { warning: Some(warning), dependents, replaced, views: Vec::new() })
    }

    /// Replaces the views that were being read during publishing, and returns what still depends on the old catalogue.
    async fn wait_for_views(&self, published: &Published) -> (Vec<Dependent>, Replaced) {
        let (mut lock_timeout, mut replaced) = (PUBLISH_LOCK_TIMEOUT, published.replaced);
        for view in &published.views {
            let replace = format!(
                "BEGIN; SET LOCAL lock_timeout = '{lock_timeout}'; {QUALIFIED_NAMES}; {view}; COMMIT"
            );
            // One wait is long enough: do not wait as long again for each further view.
            if self.session.transaction(&replace).await.is_err_and(|error| is_lock_timeout(&error)) {
                lock_timeout = LOCK_ATTEMPT_TIMEOUT;
                if replaced == Replaced::Dropped {
                    replaced = Replaced::InUse;
                }
            }
        }
        // If the query fails, the last known answer has to do.
        let Ok(on_replaced) = dependents(self.session, self.replaced).await else {
            return (published.dependents.clone(), replaced);
        };
        let stays = |was: &&Dependent| !was.is_of(PUBLISHED) || on_replaced.iter().any(|is| is.is(was));
        (published.dependents.iter().filter(stays).cloned().collect(), replaced)
    }

    /// The published tables in the order in which queries name them, so in which to lock them. None if nothing is
    /// published.
    async fn published_tables(&self) -> Result<Option<String>, tokio_postgres::Error> {
        let query = format!(
            "SELECT string_agg(format('{PUBLISHED}.%I', relname), ', '
                               ORDER BY relname <> 'load', array_position($1, relname::text))
             FROM pg_class WHERE relnamespace = to_regnamespace('{PUBLISHED}') AND relkind = 'r'"
        );
        let order: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        Ok(self.session.client.query_one(&query, &[&order]).await?.get(0))
    }

    /// Runs the transaction once, after locking `tables`, if given.
    async fn attempt(&self, lock_timeout: &str, tables: Option<&str>) -> Result<Published, Failure> {
        let lock = tables.map(|tables| format!("LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE;"));
        let begin = format!(
            "BEGIN; SET LOCAL lock_timeout = '{lock_timeout}'; {} {QUALIFIED_NAMES}",
            lock.unwrap_or_default()
        );
        let swapped = async {
            self.session.client.batch_execute(&begin).await?;
            // The attempt without a lock on the tables is the last one.
            let in_use = if tables.is_some() { InUse::Fail } else { InUse::Skip };
            let published = self.exchange(in_use).await?;
            self.session.client.batch_execute("COMMIT").await.map_err(Failure::Commit)?;
            Ok(published)
        };
        let swapped = swapped.await;
        if swapped.is_err() {
            // On a lost connection this fails too, and there is nothing to undo.
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
        // Objects may have been created since the preflight.
        check_schemas(session).await.map_err(Failure::Refused)?;
        check_contents(session).await.map_err(Failure::Refused)?;
        // Renamed only, and dropped later: a dump may be reading it.
        let discards = is_kept && by != PREVIOUS;
        let privileges = privileges::statements(session, PUBLISHED, by, own).await?;
        let views = views::statements(session, PUBLISHED).await?;
        let on_published = dependents(session, PUBLISHED).await?;
        let on_previous = if discards { dependents(session, PREVIOUS).await? } else { Vec::new() };

        let mut statements = Vec::new();
        if discards {
            statements.push(format!("ALTER SCHEMA {PREVIOUS} RENAME TO {DISCARDED}"));
        }
        // The published one may get the name that `by` has.
        statements.push(format!("ALTER SCHEMA {by} RENAME TO {NEXT}"));
        if is_published {
            statements.push(format!("ALTER SCHEMA {PUBLISHED} RENAME TO {replaced}"));
        }
        statements.push(format!("ALTER SCHEMA {NEXT} RENAME TO {PUBLISHED}"));
        statements.extend(privileges);
        session.client.batch_execute(&statements.join("; ")).await?;
        if in_use == InUse::Skip {
            session
                .client
                .batch_execute(&format!("SET LOCAL lock_timeout = '{LOCK_ATTEMPT_TIMEOUT}'"))
                .await?;
        }
        views::replace(session, &views, in_use).await?;

        let on_replaced = if is_published { dependents(session, replaced).await? } else { Vec::new() };
        let (left, new): (Vec<Dependent>, Vec<Dependent>) = (
            on_published.iter().filter(|was| on_replaced.iter().any(|is| is.is(was))).cloned().collect(),
            // A view that could not be replaced, and what depends on it.
            on_replaced.into_iter().filter(|is| !on_published.iter().any(|was| was.is(is))).collect(),
        );
        let left = [left, new.into_iter().map(Dependent::of_published).collect(), on_previous].concat();
        // What depends on a catalogue that is kept stays with it.
        let is_dropped = |dependent: &&Dependent| replaced != PREVIOUS || dependent.is_of(PREVIOUS);
        match left.iter().filter(is_dropped).find(|dependent| dependent.holds_rows()) {
            Some(dependent) => Err(Failure::Refused(dependent.refused())),
            None => {
                let replaced = Replaced::when(replaced == PREVIOUS);
                Ok(Published { warning: None, dependents: left, replaced, views })
            }
        }
    }

    fn failed(&self, failure: Failure) -> Error {
        match failure {
            Failure::Refused(error) => error,
            Failure::Database(error) => self.session.failed(self.what, &error),
            Failure::Commit(error) => {
                let failed = self.session.failed(self.what, &error);
                // An error from the database means that nothing was changed. Without an answer that is not known.
                if error.code().is_some() { failed } else { failed.hint(UNANSWERED) }
            }
        }
    }
}

/// Runs what publishes, and cancels its statements when `cancel` is cancelled. It may have been published before that: the
/// result says so.
pub(crate) async fn interruptible<T>(
    session: &Session,
    publishing: impl Future<Output = Result<T>>,
    cancel: &CancellationToken,
) -> Result<T> {
    let mut publishing = pin!(publishing);
    tokio::select! {
        published = &mut publishing => published,
        () = cancel.cancelled() => loop {
            // Repeated, as a request that arrives between two statements cancels nothing.
            session.canceller().cancel().await;
            if let Ok(published) = timeout(CANCEL_INTERVAL, &mut publishing).await {
                // After a lost connection, whether it was published is not known: the error says so.
                let lost = session.client.is_closed();
                break published.map_err(|error| if lost { error } else { Error::interrupted() });
            }
        },
    }
}
