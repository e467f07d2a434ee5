//! `verify`: reads the published tables back and compares their content with what the load says it loaded, row for row by
//! digest and in flat memory. Writes nothing and takes no lock but a reader's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use atelier_base::connect::describe;
use atelier_base::error::{Error, Result};
use atelier_base::terminal::{ERROR, LABEL, SUCCESS, styled};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;

use crate::database::metadata::{Signature, nothing_published};
use crate::database::publish::PUBLISHED;
use crate::database::session::Session;
use crate::load::lanes::{LONGEST_FIRST, lock};
use crate::options::{Database, Verify};
use crate::output::report::{grouped, peak_rss_bytes};
use crate::rows::decode::{Content, Decoder};
use atelier_base::tables::{TABLES, Table, TableId};

/// `application_name` of the sessions.
const SESSION: &str = "atelier-etl verify";

const AGAIN: &str = "verify again";

/// What to do about a table that is not as it was loaded.
const DAMAGED: &str = "see who may write to the schema atelier and whether the disk is sound; then load the files again \
                       with --force, or roll back if a previous load is kept";

/// What was found. Seconds are wall-clock time.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// `verify`.
    pub command: &'static str,
    /// Of atelier-etl.
    pub version: &'static str,
    /// Id of the published load.
    pub load_id: String,
    /// Every table is what was loaded.
    pub equal: bool,
    /// From start to end.
    pub seconds: f64,
    /// Peak resident set of this process in bytes.
    pub peak_rss_bytes: u64,
    /// By table.
    pub tables: BTreeMap<&'static str, TableComparison>,
}

/// A table as it was loaded and as it is published.
#[derive(Debug, Serialize)]
pub struct TableComparison {
    /// Rows that were loaded.
    pub loaded: u64,
    /// Rows that are published.
    pub published: u64,
    /// Digest of the rows that were loaded, as in the report of `load`.
    pub content_digest: String,
    /// Digest of the rows that are published.
    pub published_digest: String,
    /// Both are the same.
    pub equal: bool,
    /// Size of the rows as they were read, in COPY's binary format.
    pub bytes: u64,
    /// Of reading them.
    pub seconds: f64,
}

/// What the load says of a table.
#[derive(Debug, Deserialize)]
struct Loaded {
    loaded: u64,
    content_digest: String,
}

/// A table that was read back.
struct Found {
    table: TableId,
    content: Content,
    seconds: f64,
}

/// Reads all tables back. The error that some are not what was loaded comes beside the comparison. Ends early with
/// [`Error::interrupted`] when `interrupt` is ready.
pub async fn verify(
    options: &Verify,
    interrupt: impl Future<Output = ()>,
) -> Result<(Comparison, Result<()>)> {
    tokio::select! {
        compared = compare(options) => compared,
        // The database notices by itself that nobody takes its rows any more.
        () = interrupt => Err(Error::interrupted()),
    }
}

async fn compare(options: &Verify) -> Result<(Comparison, Result<()>)> {
    let (begin, database) = (Instant::now(), &options.database);
    let session = Session::connect_within(&database.target, SESSION, database.patience).await?;
    let session = session.to_try_again(AGAIN).to_read(&database.target);
    let none = || nothing_published(&database.target);
    let published = Signature::read(&session, PUBLISHED).await?.ok_or_else(none)?;
    let mut tables = BTreeMap::new();
    for found in read_back(database, options.jobs).await? {
        let name = found.table.table().name;
        tables.insert(name, TableComparison::new(expected(&published, name)?, &found));
    }
    // Tables are found by name: only if it is the same load still, all of them were its tables.
    let now = Signature::read(&session, PUBLISHED).await?.ok_or_else(none)?;
    if now.load_id != published.load_id {
        return Err(Error::database(format!(
            "load {} was published while load {} was read back",
            now.load_id, published.load_id
        ))
        .hint(AGAIN));
    }
    let comparison = Comparison {
        command: "verify",
        version: env!("CARGO_PKG_VERSION"),
        load_id: published.load_id,
        equal: tables.values().all(|table| table.equal),
        seconds: begin.elapsed().as_secs_f64(),
        peak_rss_bytes: peak_rss_bytes(),
        tables,
    };
    let verdict = comparison.verdict();
    Ok((comparison, verdict))
}

fn expected(published: &Signature, table: &str) -> Result<Loaded> {
    Loaded::deserialize(&published.tables[table]).map_err(|error| {
        Error::database(format!("load {} does not say what it loaded into {table}", published.load_id))
            .cause(error)
            .hint("load the files again with this version of atelier-etl")
    })
}

/// Reads the tables, `jobs` at a time. The first failure ends all.
async fn read_back(database: &Database, jobs: usize) -> Result<Vec<Found>> {
    let queue = Arc::new(Mutex::new(LONGEST_FIRST.iter().rev().copied().collect::<Vec<_>>()));
    let mut lanes = JoinSet::new();
    for _ in 0..jobs.min(TABLES.len()) {
        lanes.spawn(lane(database.clone(), Arc::clone(&queue)));
    }
    let mut all = Vec::new();
    while let Some(found) = lanes.join_next().await {
        match found {
            Ok(found) => all.extend(found?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Ok(all)
}

async fn lane(database: Database, queue: Arc<Mutex<Vec<TableId>>>) -> Result<Vec<Found>> {
    let session =
        Session::connect(&database.target, SESSION).await?.to_try_again(AGAIN).to_read(&database.target);
    let mut all = Vec::new();
    loop {
        let Some(table) = lock(&queue).pop() else { return Ok(all) };
        let begin = Instant::now();
        let content = read(&session, table.table()).await?;
        all.push(Found { table, content, seconds: begin.elapsed().as_secs_f64() });
    }
}

/// Reads a table: one statement, and so one snapshot.
async fn read(session: &Session, table: &Table) -> Result<Content> {
    let failed = |error: tokio_postgres::Error| match error.code() {
        Some(&(SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN)) => {
            Error::mismatch(format!("{}: not the table that was loaded", table.name))
                .cause(describe(&error))
                .hint(DAMAGED)
        }
        _ => session.failed(format!("cannot read {} back", table.name), &error),
    };
    let copy =
        format!("COPY {PUBLISHED}.{} ({}) TO STDOUT (FORMAT binary)", table.name, table.encoded_columns());
    let mut stream = pin!(session.client.copy_out(&copy).await.map_err(failed)?);
    let malformed = |error| {
        Error::database(format!("cannot read {} back", table.name))
            .cause(error)
            .hint("this is a fault of atelier-etl or of the database: please report it")
    };
    let mut decoder = Decoder::default();
    while let Some(piece) = stream.next().await {
        decoder.take(&piece.map_err(failed)?).map_err(malformed)?;
    }
    decoder.finish().map_err(malformed)
}

impl TableComparison {
    fn new(loaded: Loaded, found: &Found) -> TableComparison {
        let Content { rows, digest, bytes } = found.content;
        let published_digest = digest.to_string();
        TableComparison {
            equal: loaded.loaded == rows && loaded.content_digest == published_digest,
            loaded: loaded.loaded,
            published: rows,
            content_digest: loaded.content_digest,
            published_digest,
            bytes,
            seconds: found.seconds,
        }
    }
}

impl Comparison {
    fn tables(&self) -> impl Iterator<Item = (&'static str, &TableComparison)> {
        TABLES.iter().filter_map(|table| Some((table.name, self.tables.get(table.name)?)))
    }

    fn verdict(&self) -> Result<()> {
        let wrong = self.tables().filter(|(_, table)| !table.equal).map(|(name, table)| {
            let (loaded, published) = (grouped(table.loaded), grouped(table.published));
            match loaded == published {
                true => format!("{name}: the {published} rows published are not those that were loaded"),
                false => format!("{name}: {loaded} rows were loaded, {published} are published"),
            }
        });
        let wrong: Vec<String> = wrong.collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::mismatch(format!("load {}: {}", self.load_id, wrong.join("; "))).hint(DAMAGED))
    }

    /// The summary for people, in lines of at most 80 columns.
    pub fn summary(&self) -> String {
        let header = format!(
            "{:<9}{:>12}{:>12}  {:<9}{:>8}{:>11}{:>8}",
            "table", "loaded", "published", "content", "seconds", "rows/s", "MB/s"
        );
        let mut text = styled(LABEL, header) + "\n";
        let rate = |amount: u64, seconds: f64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        let mut line = |name, loaded, published, bytes, equal, seconds| {
            let (style, content) = if equal { (SUCCESS, "equal") } else { (ERROR, "DIFFERS") };
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{}{:>12}{:>12}  {}{seconds:>8.1}{:>11}{:>8.0}",
                styled(LABEL, format_args!("{name:<9}")),
                grouped(loaded),
                grouped(published),
                styled(style, format_args!("{content:<9}")),
                grouped(rate(published, seconds) as u64),
                rate(bytes, seconds) / 1e6
            );
        };
        let mut totals = (0, 0, 0);
        for (name, table) in self.tables() {
            line(name, table.loaded, table.published, table.bytes, table.equal, table.seconds);
            totals = (totals.0 + table.loaded, totals.1 + table.published, totals.2 + table.bytes);
        }
        line("total", totals.0, totals.1, totals.2, self.equal, self.seconds);
        text
    }
}
