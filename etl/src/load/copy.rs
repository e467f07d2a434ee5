//! One table's rows from its file into the staged table: the pipeline on one side of a bounded queue, a binary
//! COPY on the other. The COPY is finished only when the whole file was read.

use std::pin::pin;
use std::sync::Arc;

use atelier_base::error::{Error, Result};
use bytes::Bytes;
use futures_util::SinkExt;
use rayon::ThreadPool;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_postgres::CopyInSink;

use crate::csv::source::Source;
use crate::database::publish::BEGIN_STAGED;
use crate::database::schema;
use crate::database::session::Session;
use crate::load::pipeline::{self, Job, Outcome, Parents, Taker};
use crate::output::progress::Board;
use crate::output::rejects::RejectFile;
use crate::rows::convert::Wanted;
use crate::rows::defect::Reject;
use crate::rows::encode::{HEADER, TRAILER};
use atelier_base::tables::Table;

/// Chunks of encoded rows between the pipeline and COPY. One is being sent, one is next.
const QUEUE: usize = 2;

/// A table to be copied.
pub struct Copy {
    /// Which.
    pub table: &'static Table,
    /// Its file.
    pub source: Source,
    /// Ids of the tables it points at.
    pub parents: Parents,
    /// Digest that its file had when it was read for its ids, if it was.
    pub scanned: Option<u128>,
    /// What of its rows.
    pub wanted: Wanted,
    /// For its rejected rows.
    pub rejects: RejectFile,
    /// Where to say how far it is.
    pub board: Arc<Board>,
    /// Converts chunks.
    pub pool: Arc<ThreadPool>,
}

/// What was copied.
pub struct Copied {
    /// What was in the file.
    pub outcome: Outcome,
    /// The rejected rows, in a file that has no name yet.
    pub rejects: RejectFile,
}

impl Copy {
    /// Makes the table and copies its rows, in one transaction, so that the rows can be frozen as they come in and
    /// need no log of their own with `wal_level=minimal`. Committing it is left to the caller.
    pub async fn run(self, session: &Session) -> Result<Copied> {
        let table = self.table;
        let failed = |error: &tokio_postgres::Error| {
            session.failed(format!("cannot copy {} into the database", table.name), error)
        };
        let create = format!("{BEGIN_STAGED}; {}", schema::statements(table).create);
        session.client.batch_execute(&create).await.map_err(|error| failed(&error))?;
        let sink = session.client.copy_in(&copy_statement(table)).await.map_err(|error| failed(&error))?;
        self.stream(sink, failed).await
    }

    async fn stream(
        self,
        sink: CopyInSink<Bytes>,
        failed: impl Fn(&tokio_postgres::Error) -> Error,
    ) -> Result<Copied> {
        let table = self.table;
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        let pipeline = spawn_blocking(move || self.read(sender));
        let mut sink = pin!(sink);
        let mut sent = sink.feed(Bytes::from_static(HEADER)).await;
        while sent.is_ok()
            && let Some(rows) = receiver.recv().await
        {
            sent = sink.feed(rows).await;
        }
        drop(receiver);
        let read = pipeline.await;
        // A broken COPY comes first: it is why the pipeline stopped.
        sent.map_err(|error| failed(&error))?;
        let copied = match read {
            Ok(copied) => copied?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        sink.feed(Bytes::from_static(TRAILER)).await.map_err(|error| failed(&error))?;
        let rows = sink.finish().await.map_err(|error| failed(&error))?;
        expect_rows(table, copied.outcome.loaded, rows, "COPY took")?;
        Ok(copied)
    }

    fn read(self, sender: mpsc::Sender<Bytes>) -> Result<Copied> {
        let mut taker = Queue { sender, rejects: self.rejects };
        let job = Job {
            table: self.table,
            source: &self.source,
            parents: &self.parents,
            wanted: self.wanted,
            meter: &self.board.table(self.table.id).meter,
        };
        let outcome = pipeline::run(&job, &self.pool, &mut taker)?;
        if self.scanned.is_some_and(|digest| digest != outcome.file_digest) {
            return Err(self.source.changed());
        }
        taker.rejects.finish()?;
        Ok(Copied { outcome, rejects: taker.rejects })
    }
}

/// Fails unless the database has as many rows as were sent to it.
pub fn expect_rows(table: &Table, sent: u64, found: u64, verb: &str) -> Result<()> {
    if sent == found {
        return Ok(());
    }
    Err(Error::mismatch(format!("{}: {sent} rows were accepted, but {verb} {found}", table.name)).hint(
        "the load is not published; this is a fault of atelier-etl or of the database: please report it",
    ))
}

struct Queue {
    sender: mpsc::Sender<Bytes>,
    rejects: RejectFile,
}

impl Taker for Queue {
    fn rows(&mut self, encoded: Vec<u8>) -> Result<()> {
        // The receiver goes when COPY has failed; its error is the one that is reported.
        self.sender.blocking_send(encoded.into()).map_err(|_| Error::database("COPY has ended"))
    }

    fn rejects(&mut self, rejects: &[Reject]) -> Result<()> {
        self.rejects.write(rejects)
    }
}

fn copy_statement(table: &Table) -> String {
    format!("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)", table.name, table.encoded_columns())
}
