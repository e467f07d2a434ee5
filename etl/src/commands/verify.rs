//! `verify`: reads the published tables back and compares their content with what the load says it loaded, by digests of
//! the rows and in constant memory. Writes nothing, and locks no more than a reader does.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use atelier_base::connect::describe;
use atelier_base::error::{Error, Result};
use atelier_base::tables::{TABLES, Table, TableId, longest_first};
use atelier_base::terminal::{SUCCESS, styled};
use futures_util::StreamExt as _;
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;

use crate::cli;
use crate::commands::signals::cancel_on_signal;
use crate::database::metadata::{self, LoadRecord};
use crate::database::names::PUBLISHED;
use crate::database::session::Session;
use crate::load::queue::Queue;
use crate::options::{Database, Verify};
use crate::output::comparison::{Comparison, DAMAGED, TableComparison};
use crate::output::report::peak_rss_bytes;
use crate::output::stdout::print;
use crate::rows::decode::{Content, Decoder};

/// `application_name` of the sessions.
const SESSION: &str = "atelier-etl verify";

const AGAIN: &str = "verify again";

/// A table that was read back.
struct ReadBack {
    table: TableId,
    content: Content,
    seconds: f64,
}

pub async fn run(args: &cli::Verify) -> Result<()> {
    let mut options = Verify::resolve(args)?;
    let cancel = cancel_on_signal();
    let comparison = tokio::select! {
        comparison = compare(&options) => comparison?,
        // The database notices by itself that its rows are no longer read.
        () = cancel.cancelled() => return Err(Error::interrupted()),
    };
    let printed = print(&comparison.summary());
    let written = options.report.write(&comparison).and(printed);
    comparison.expect_equal()?;
    let printed = print(&format!(
        "{}\nin {:.1} s; peak memory: {} MB\n",
        styled(SUCCESS, format_args!("the published rows are those of load {}", comparison.load_id)),
        comparison.seconds,
        comparison.peak_rss_bytes / 1_000_000
    ));
    written.and(printed)
}

async fn compare(options: &Verify) -> Result<Comparison> {
    let (begin, database) = (Instant::now(), &options.database);
    let session = Session::connect_within(&database.target, SESSION, database.wait).await?;
    let session = session.with_retry_hint(AGAIN).for_reading(&database.target);
    let published = metadata::require_published(&session, &database.target).await?;
    let mut tables = BTreeMap::new();
    for read in read_back(database, options.jobs).await? {
        tables.insert(read.table.table().name, compare_table(&published, &read)?);
    }
    // Tables are read by name: they were all tables of this load only if it is still published.
    let now = metadata::require_published(&session, &database.target).await?;
    if now.load_id != published.load_id {
        return Err(Error::database(format!(
            "load {} was published while load {} was read back",
            now.load_id, published.load_id
        ))
        .hint(AGAIN));
    }
    Ok(Comparison {
        command: "verify",
        version: env!("CARGO_PKG_VERSION"),
        load_id: published.load_id,
        equal: tables.values().all(|table| table.equal),
        seconds: begin.elapsed().as_secs_f64(),
        peak_rss_bytes: peak_rss_bytes(),
        tables,
    })
}

fn compare_table(published: &LoadRecord, read: &ReadBack) -> Result<TableComparison> {
    let record = &published.tables[read.table];
    let (Some(loaded), Some(content_digest)) = (record.loaded, record.content_digest.clone()) else {
        let (load_id, name) = (published.load_id, read.table.table().name);
        return Err(Error::database(format!("load {load_id} did not record what it loaded into {name}"))
            .hint("load the files again with this version of atelier-etl"));
    };
    let Content { rows, digest, bytes } = read.content;
    let published_digest = digest.to_string();
    Ok(TableComparison {
        equal: loaded == rows && content_digest == published_digest,
        loaded,
        published: rows,
        content_digest,
        published_digest,
        bytes,
        seconds: read.seconds,
    })
}

/// Reads the tables, `jobs` at a time. The first failure ends all.
async fn read_back(database: &Database, jobs: usize) -> Result<Vec<ReadBack>> {
    let queue = Arc::new(Queue::new(longest_first()));
    let mut lanes = JoinSet::new();
    for _ in 0..jobs.min(TABLES.len()) {
        lanes.spawn(lane(database.clone(), Arc::clone(&queue)));
    }
    let mut all = Vec::new();
    while let Some(read) = lanes.join_next().await {
        match read {
            Ok(read) => all.extend(read?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Ok(all)
}

async fn lane(database: Database, queue: Arc<Queue<TableId>>) -> Result<Vec<ReadBack>> {
    let session = Session::connect(&database.target, SESSION).await?;
    let session = session.with_retry_hint(AGAIN).for_reading(&database.target);
    let mut all = Vec::new();
    while let Some(table) = queue.pop() {
        let begin = Instant::now();
        let content = read(&session, table.table()).await?;
        all.push(ReadBack { table, content, seconds: begin.elapsed().as_secs_f64() });
    }
    Ok(all)
}

/// Reads a table in one statement, and so from one snapshot.
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
            .hint("this is a bug in atelier-etl or in the database: please report it")
    };
    let mut decoder = Decoder::default();
    while let Some(piece) = stream.next().await {
        decoder.take(&piece.map_err(failed)?).map_err(malformed)?;
    }
    decoder.finish().map_err(malformed)
}
