//! One table's rows from its file into the staged table: the pipeline on one side of a bounded queue, a binary
//! COPY on the other. The COPY is finished only when the whole file was read.

use std::pin::pin;
use std::sync::Arc;

use atelier_base::error::{Error, Result};
use atelier_base::tables::Table;
use bytes::Bytes;
use futures_util::SinkExt;
use rayon::ThreadPool;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_postgres::CopyInSink;

use crate::csv::source::Source;
use crate::database::names::BEGIN_STAGED;
use crate::database::schema;
use crate::database::session::Session;
use crate::load::pipeline::{self, Job, PipelineDone, RowSink};
use crate::load::waits::Waits;
use crate::output::progress::Progress;
use crate::output::rejects::RejectFile;
use crate::rows::convert::Output;
use crate::rows::defect::Reject;
use crate::rows::encode::{HEADER, TRAILER};
use crate::rows::ids::ParentIds;
use crate::rows::outcome::Outcome;

/// Chunks of encoded rows between the pipeline and COPY. One is being sent, one is next.
const MAX_QUEUED: usize = 2;

/// A table to be copied.
pub(crate) struct TableCopy {
    pub(crate) table: &'static Table,
    pub(crate) source: Source,
    /// Of the tables that this one points at.
    pub(crate) parents: ParentIds,
    /// Of its file in the first pass, if that read it.
    pub(crate) first_digest: Option<u128>,
    pub(crate) output: Output,
    pub(crate) rejects: RejectFile,
    pub(crate) progress: Arc<Progress>,
    pub(crate) pool: Arc<ThreadPool>,
}

pub(crate) struct Copied {
    pub(crate) outcome: Outcome,
    pub(crate) waits: Waits,
    /// The rejected rows, in a file that has no name yet.
    pub(crate) rejects: RejectFile,
}

impl TableCopy {
    /// Creates the table and copies its rows, in one transaction, so that the rows can be frozen as they come in and
    /// need no WAL with `wal_level=minimal`. The caller commits.
    pub(crate) async fn run(self, session: &Session) -> Result<Copied> {
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
        let (sender, mut receiver) = mpsc::channel(MAX_QUEUED);
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
        // A failed COPY comes first: it is why the pipeline stopped.
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
        let mut sink = CopySink { sender, rejects: self.rejects };
        let job = Job {
            table: self.table,
            source: &self.source,
            parents: &self.parents,
            output: self.output,
            meter: &self.progress.table(self.table.id).meter,
        };
        let PipelineDone { outcome, waits } = pipeline::run(&job, &self.pool, &mut sink)?;
        if self.first_digest.is_some_and(|digest| digest != outcome.file_digest) {
            return Err(self.source.changed());
        }
        sink.rejects.finish()?;
        Ok(Copied { outcome, waits, rejects: sink.rejects })
    }
}

/// Fails unless the database has as many rows as were sent to it.
pub(crate) fn expect_rows(table: &Table, sent: u64, found: u64, verb: &str) -> Result<()> {
    if sent == found {
        return Ok(());
    }
    Err(Error::mismatch(format!("{}: {sent} rows were accepted, but {verb} {found}", table.name))
        .hint("nothing was published; this is a bug in atelier-etl or in the database: please report it"))
}

/// Sends accepted rows to COPY and writes rejected ones to their file.
struct CopySink {
    sender: mpsc::Sender<Bytes>,
    rejects: RejectFile,
}

impl RowSink for CopySink {
    fn rows(&mut self, encoded: Vec<u8>) -> Result<()> {
        // The receiver is dropped when COPY has failed; its error is the one that is reported.
        self.sender.blocking_send(encoded.into()).map_err(|_| Error::database("COPY has ended"))
    }

    fn rejects(&mut self, rejects: &[Reject]) -> Result<()> {
        self.rejects.write(rejects)
    }
}

fn copy_statement(table: &Table) -> String {
    format!("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)", table.name, table.encoded_columns())
}
