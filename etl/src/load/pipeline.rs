//! One file from its path to encoded rows in the order of the file: a thread that reads and splits, a pool that
//! converts chunks in parallel, and the caller's thread, which takes the results in order, rejects duplicates and
//! passes the rows to a sink. Every queue is bounded, so a slow sink slows the reader down. Knows no database.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use atelier_base::error::{Error, Result};
use atelier_base::tables::Table;
use rayon::ThreadPool;

use crate::csv::chunk::{CHUNK_BYTES, Chunk, Chunks, Rereadable, Start};
use crate::csv::excerpt::excerpt;
use crate::csv::header::{self, Header};
use crate::csv::source::{Reader, Source};
use crate::load::meter::Meter;
use crate::load::waits::Waits;
use crate::rows::convert::{Converter, Output};
use crate::rows::converted::Converted;
use crate::rows::defect::{Reject, Repair, Repaired};
use crate::rows::duplicates::reject_duplicates;
use crate::rows::ids::ParentIds;
use crate::rows::outcome::Outcome;
use crate::rows::validate::Validator;

/// Chunks of a file in memory at the most, so that memory does not grow with the number of threads.
const MAX_CHUNKS: usize = 16;

/// A file to read.
pub(crate) struct Job<'a> {
    pub(crate) table: &'static Table,
    pub(crate) source: &'a Source,
    /// Of the tables that this one points at.
    pub(crate) parents: &'a ParentIds,
    pub(crate) output: Output,
    pub(crate) meter: &'a Meter,
}

/// Takes the rows of a file, accepted and rejected, each in the order of the file.
pub(crate) trait RowSink {
    fn rows(&mut self, encoded: Vec<u8>) -> Result<()>;
    fn rejects(&mut self, rejects: &[Reject]) -> Result<()>;
}

/// A file that was read to its end.
pub(crate) struct PipelineDone {
    pub(crate) outcome: Outcome,
    pub(crate) waits: Waits,
}

/// Reads a whole file and passes its rows to `sink`. Ends early with the sink's error.
pub(crate) fn run(job: &Job<'_>, pool: &ThreadPool, sink: &mut impl RowSink) -> Result<PipelineDone> {
    let mut reader = job.source.open()?;
    let Header { layout, line, line_number, rows } = header::read(&mut reader, job.table, job.source)?;
    let mut outcome = Outcome {
        file_bytes: job.source.bytes,
        unknown_columns: layout.unknown.clone(),
        ..Outcome::default()
    };
    if layout.repaired {
        let repair = Repair::Spacing;
        outcome.repaired[repair] += 1;
        outcome.first_repairs.push(Repaired { repair, line: line_number, excerpt: excerpt(&line) });
    }

    let validator = Validator::new(job.table, layout, |parent| job.parents.of(parent));
    let converter = Arc::new(Converter::new(validator, job.output.clone()));
    // Enough chunks in the queue to keep every thread of the pool busy while the first one is waited for.
    let (sender, receiver) = sync_channel((2 * pool.current_num_threads()).min(MAX_CHUNKS));
    let text = Text { reader, source: job.source, meter: Some(job.meter) };
    thread::scope(|scope| {
        // The sender moves into the thread, so that the queue ends when the thread does.
        let reading = thread::Builder::new()
            .name(format!("read-{}", job.table.name))
            .spawn_scoped(scope, move || read_chunks(text, rows, &converter, pool, &sender))
            .map_err(|error| {
                Error::input("cannot start a thread to read files")
                    .cause(error)
                    .hint("raise the limit on threads (ulimit -u)")
            })?;
        let drained = drain(&receiver, sink, &mut outcome, job);
        drop(receiver);
        let read = match reading.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // The reader's own error comes first: after it, the queue merely ends.
        let digest = read?;
        let waits = drained?;
        outcome.file_digest = digest.unwrap_or_default();
        Ok(PipelineDone { outcome, waits })
    })
}

/// Chunks that are being converted, in the order of the file.
type PendingChunks = SyncSender<Receiver<Converted>>;

/// Passes the converted chunks to `sink` until the queue ends.
fn drain(
    queue: &Receiver<Receiver<Converted>>,
    sink: &mut impl RowSink,
    outcome: &mut Outcome,
    job: &Job<'_>,
) -> Result<Waits> {
    let mut waits = Waits::default();
    loop {
        let begin = Instant::now();
        let Ok(pending) = queue.recv() else { return Ok(waits) };
        let queued = Instant::now();
        let mut converted = pending.recv().map_err(|_| {
            Error::mismatch(format!("a thread that converts {} panicked", job.table.name))
                .hint("this is a bug in atelier-etl: please report it with the message above")
        })?;
        let ready = Instant::now();
        if let Some(id) = converted.unknown_id {
            return Err(job.source.changed().cause(format!("the first pass did not find the id {id}")));
        }
        reject_duplicates(&mut converted, &mut outcome.ids);
        expect_accounted(job, &converted)?;
        outcome.add(&mut converted);
        job.meter.rows.store(outcome.read, Ordering::Relaxed);
        if !converted.rejects.is_empty() {
            sink.rejects(&converted.rejects)?;
        }
        let validated = Instant::now();
        if !converted.encoded.is_empty() {
            sink.rows(converted.encoded)?;
        }
        waits.reading += queued - begin;
        waits.parsing += ready - queued;
        waits.database += validated.elapsed();
    }
}

/// Nothing is lost: every record that the splitter counted is now an accepted row or a rejected one.
fn expect_accounted(job: &Job<'_>, converted: &Converted) -> Result<()> {
    let (records, accepted) = (converted.records(), converted.accepted());
    let rejected = converted.rejects.len() as u64;
    if records == converted.read && records == accepted + rejected {
        return Ok(());
    }
    let what = format!("{records} records were read, but {accepted} accepted and {rejected} rejected");
    Err(Error::mismatch(format!("{}: {what}", job.source.path.display()))
        .hint("nothing was published; this is a bug in atelier-etl: please report it"))
}

/// The text of a file, [`CHUNK_BYTES`] at a time.
struct Text<'a> {
    reader: Reader,
    source: &'a Source,
    meter: Option<&'a Meter>,
}

impl Rereadable for Text<'_> {
    type Error = Error;

    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<bool> {
        let complete = self.reader.fill(buffer, CHUNK_BYTES)?;
        if let Some(meter) = self.meter {
            meter.bytes.store(self.reader.bytes_on_disk(), Ordering::Relaxed);
        }
        Ok(complete)
    }

    fn reopen(&self, offset: u64) -> Result<Self> {
        Ok(Text { reader: self.source.open_at(offset)?, source: self.source, meter: None })
    }
}

/// Reads to the end of the file and passes its chunks to the pool and, in order, into the queue. Returns the file's
/// digest, or `None` if the queue was closed.
fn read_chunks(
    text: Text<'_>,
    rows: Start,
    converter: &Arc<Converter>,
    pool: &ThreadPool,
    queue: &PendingChunks,
) -> Result<Option<u128>> {
    let send = |chunk: Chunk| -> bool {
        let (result, pending) = sync_channel(1);
        let converter = Arc::clone(converter);
        pool.spawn_fifo(move || {
            // It has no receiver any more if the load has failed.
            let _ = result.send(converter.convert(chunk));
        });
        queue.send(pending).is_ok()
    };
    let mut chunks = Chunks::new(converter.shape(), rows, text);
    for chunk in &mut chunks {
        if !send(chunk?) {
            return Ok(None);
        }
    }
    chunks.into_input().reader.digest().map(Some)
}
