//! One file from its path to encoded rows in the order of the file: a thread that reads and splits, a pool that
//! converts chunks side by side, and the caller's thread, which takes the results in order, finds duplicates and
//! hands the rows on. Every queue is bounded, so a slow taker slows the reader down. Knows no database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use atelier_base::error::{Error, Result};
use memchr::memchr;
use rayon::ThreadPool;
use roaring::RoaringBitmap;

use crate::csv::chunk::{Chunk, Chunks, Input};
use crate::csv::excerpt::excerpt;
use crate::csv::header::{Layout, layout, named_delimiter, of_carriage_returns};
use crate::csv::source::{Reader, Source};
use crate::rows::convert::{Converted, Converter, EXAMPLES, LikeRecords, Wanted};
use crate::rows::defect::{Counts, Mended, Reject, Repair};
use crate::rows::digest::ContentDigest;
use crate::rows::validate::Checker;
use atelier_base::tables::{Table, TableId};

/// Bytes read at a time: small enough that a chunk and what is made of it may stay in the second-level cache of a core,
/// with enough rows that handing it over costs nothing. Other sizes were not measured.
pub const CHUNK_BYTES: usize = 512 << 10;

/// Chunks of a file under way at the most, so that memory does not grow with the number of threads.
const MOST_CHUNKS: usize = 16;

/// What a header may have at most: enough for any real one, and a bound on reading a file that has none.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// The ids that the children of a table may name.
#[derive(Clone, Debug, Default)]
pub struct Parents {
    /// Accepted ids of `product`.
    product: Arc<RoaringBitmap>,
    /// Accepted ids of `styles`.
    styles: Arc<RoaringBitmap>,
}

impl Parents {
    /// The ids of `table`; of a table that nothing points at, none.
    pub fn ids(&self, table: TableId) -> Arc<RoaringBitmap> {
        match table {
            TableId::Product => Arc::clone(&self.product),
            TableId::Styles => Arc::clone(&self.styles),
            _ => Arc::default(),
        }
    }

    /// Keeps the ids of `table`, if anything points at it.
    pub fn keep(&mut self, table: TableId, ids: RoaringBitmap) {
        match table {
            TableId::Product => self.product = Arc::new(ids),
            TableId::Styles => self.styles = Arc::new(ids),
            _ => {}
        }
    }
}

/// How far a file is, for whoever shows it. Written by the pipeline, read by anyone.
#[derive(Debug, Default)]
pub struct Meter {
    /// Bytes taken from the disk.
    pub bytes: AtomicU64,
    /// Rows handed on or rejected.
    pub rows: AtomicU64,
}

/// Where the time of the thread that hands rows on went. The longest is the bottleneck.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waits {
    /// For the next chunk: reading and splitting are behind.
    pub reading: Duration,
    /// For a chunk to be converted: parsing is behind.
    pub parsing: Duration,
    /// For the taker of the rows.
    pub database: Duration,
}

/// What was found in a file.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// Rows in the file.
    pub read: u64,
    /// Rows handed on.
    pub loaded: u64,
    /// Their ids.
    pub ids: RoaringBitmap,
    /// Mended rows by what was mended, and the header if it was.
    pub repaired: Counts,
    /// Mended rows: one with two repairs is one row.
    pub repaired_rows: u64,
    /// Rejected rows by why.
    pub rejected: Counts,
    /// The first mended rows, some of each repair.
    pub mended: Vec<Mended>,
    /// The first rejected rows, one of each code at the most.
    pub first_rejects: Vec<Reject>,
    /// Of the rows handed on.
    pub content_digest: ContentDigest,
    /// Digest of the file as it stands on the disk.
    pub file_digest: u128,
    /// Size of the file on the disk in bytes.
    pub file_bytes: u64,
    /// Records that have a line which looks like a record.
    pub like_records: Option<LikeRecords>,
    /// Header names that no column wants.
    pub unknown_columns: Vec<String>,
    /// Where the time went.
    pub waits: Waits,
}

/// A file to be read.
pub struct Job<'a> {
    /// Its table.
    pub table: &'static Table,
    /// The file.
    pub source: &'a Source,
    /// Ids of the tables it points at.
    pub parents: &'a Parents,
    /// What of its rows.
    pub wanted: Wanted,
    /// Where to say how far it is.
    pub meter: &'a Meter,
}

/// Takes what a pipeline makes.
pub trait Taker {
    /// Encoded rows, in the order of the file.
    fn rows(&mut self, encoded: Vec<u8>) -> Result<()>;
    /// Rejected rows, in the order of the file.
    fn rejects(&mut self, rejects: &[Reject]) -> Result<()>;
}

/// Opens the file and reads its header: whether [`run`] could begin.
pub fn look(table: &'static Table, source: &Source) -> Result<()> {
    read_header(&mut source.open()?, table, source).map(drop)
}

/// Reads a whole file and hands its rows and rejects to `taker`. Ends early with the taker's error.
pub fn run(job: &Job<'_>, pool: &ThreadPool, taker: &mut impl Taker) -> Result<Outcome> {
    let mut reader = job.source.open()?;
    let Header { layout, line, number, rows } = read_header(&mut reader, job.table, job.source)?;
    let mut outcome = Outcome::new(job.source.bytes);
    if layout.repaired {
        outcome.repaired.add(Repair::Spacing);
        outcome.mended.push(Mended { repair: Repair::Spacing, line: number, excerpt: excerpt(&line) });
    }
    outcome.unknown_columns.clone_from(&layout.unknown);

    let checker = Checker::new(job.table, layout, |parent| job.parents.ids(parent));
    let converter = Arc::new(Converter::new(checker, job.wanted.clone()));
    // Enough chunks under way to keep every thread of the pool busy while the first one is waited for.
    let (sender, receiver) = sync_channel((2 * pool.current_num_threads()).min(MOST_CHUNKS));
    let text = Text { reader, source: job.source, meter: Some(job.meter) };
    thread::scope(|scope| {
        // The sender moves into the thread, so that the queue ends when the thread does.
        let reading = thread::Builder::new()
            .name(format!("read-{}", job.table.name))
            .spawn_scoped(scope, move || read_chunks(text, rows, &converter, pool, &sender))
            .map_err(|error| {
                Error::input("cannot start a thread to read files")
                    .cause(error)
                    .hint("raise the limits on threads (ulimit -u)")
            })?;
        let taken = take(&receiver, taker, &mut outcome, job);
        drop(receiver);
        let read = match reading.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // The reader's own error comes first: behind it the taker only sees that nothing more comes.
        let digest = read?;
        taken?;
        outcome.file_digest = digest.unwrap_or_default();
        Ok(outcome)
    })
}

/// Chunks being converted, in the order of the file.
type Queue = SyncSender<Receiver<Converted>>;

fn take(
    receiver: &Receiver<Receiver<Converted>>,
    taker: &mut impl Taker,
    outcome: &mut Outcome,
    job: &Job<'_>,
) -> Result<()> {
    loop {
        let begin = Instant::now();
        let Ok(pending) = receiver.recv() else { return Ok(()) };
        let queued = Instant::now();
        let mut converted = pending.recv().map_err(|_| {
            Error::mismatch(format!("a thread that converts {} died", job.table.name))
                .hint("this is a fault of atelier-etl: please report it with the message above")
        })?;
        let ready = Instant::now();
        if let Some(id) = converted.unknown_id {
            return Err(job.source.changed().cause(format!("the first reading did not find the id {id}")));
        }
        converted.reject_duplicates(&mut outcome.ids);
        expect_accounted(job, &converted)?;
        outcome.add(&mut converted);
        job.meter.rows.store(outcome.read, Ordering::Relaxed);
        if !converted.rejects.is_empty() {
            taker.rejects(&converted.rejects)?;
        }
        let checked = Instant::now();
        if !converted.encoded.is_empty() {
            taker.rows(converted.encoded)?;
        }
        outcome.waits.reading += queued - begin;
        outcome.waits.parsing += ready - queued;
        outcome.waits.database += checked.elapsed();
    }
}

/// Nothing lost: every record that the splitter counted is now an accepted row or a rejected one.
fn expect_accounted(job: &Job<'_>, converted: &Converted) -> Result<()> {
    let (split, loaded, rejected) = (converted.split(), converted.loaded(), converted.rejects.len() as u64);
    if split == converted.read && split == loaded + rejected {
        return Ok(());
    }
    let what = format!("{split} records were read, but {loaded} accepted and {rejected} rejected");
    Err(Error::mismatch(format!("{}: {what}", job.source.path.display()))
        .hint("the load is not published; this is a fault of atelier-etl: please report it"))
}

impl Outcome {
    /// Nothing read yet of a file of this size.
    pub fn new(file_bytes: u64) -> Outcome {
        Outcome {
            read: 0,
            loaded: 0,
            ids: RoaringBitmap::new(),
            repaired: Counts::default(),
            repaired_rows: 0,
            rejected: Counts::default(),
            mended: Vec::new(),
            first_rejects: Vec::new(),
            content_digest: ContentDigest::default(),
            file_digest: 0,
            file_bytes,
            like_records: None,
            unknown_columns: Vec::new(),
            waits: Waits::default(),
        }
    }

    /// Adds the next chunk's, once its duplicates are rejected.
    pub fn add(&mut self, converted: &mut Converted) {
        self.read += converted.read;
        self.loaded += converted.loaded();
        self.content_digest.merge(converted.digest);
        self.repaired.merge(&converted.repaired);
        self.repaired_rows += converted.repaired_rows;
        self.like_records = LikeRecords::add(self.like_records, converted.like_records);
        for mended in converted.mended.drain(..) {
            if self.mended.iter().filter(|known| known.repair == mended.repair).count() < EXAMPLES {
                self.mended.push(mended);
            }
        }
        for reject in &converted.rejects {
            if self.rejected.get(reject.fault) == 0 {
                self.first_rejects.push(reject.clone());
            }
            self.rejected.add(reject.fault);
        }
    }
}

struct Header {
    layout: Layout,
    /// Without byte order mark and `\n`.
    line: Vec<u8>,
    /// 1, or 2 where a line before it names the delimiter.
    number: u64,
    rows: Rows,
}

/// What stands behind a header.
struct Rows {
    /// Number of the first line.
    line: u64,
    /// Position of the first byte in the uncompressed file.
    offset: u64,
    /// What was read of it.
    read: Vec<u8>,
    /// That is all.
    complete: bool,
}

fn read_header(reader: &mut Reader, table: &Table, source: &Source) -> Result<Header> {
    let mut read = Vec::new();
    let complete = reader.fill(&mut read, CHUNK_BYTES)?;
    let file = source.path.display().to_string();
    if read.is_empty() {
        return Err(Error::input(format!("{file} is empty: it has not even a header"))
            .hint(format!("fetch the file of {} again", table.name)));
    }
    let mut rows = Rows { line: 1, offset: 0, read, complete };
    if rows.read.starts_with(b"\xef\xbb\xbf") {
        rows.read.drain(..3);
        rows.offset = 3;
    }
    let mut line = rows.take_line(table, &file)?;
    let delimiter = named_delimiter(&line, &file)?;
    if delimiter.is_some() {
        line = rows.take_line(table, &file)?;
    }
    let number = rows.line - 1;
    let layout = layout(&line, delimiter, table, &format!("{file}, line {number}"))?;
    Ok(Header { layout, line, number, rows })
}

impl Rows {
    /// Takes the first line away, without its line end.
    fn take_line(&mut self, table: &Table, file: &str) -> Result<Vec<u8>> {
        let head = &self.read[..self.read.len().min(MAX_HEADER_BYTES)];
        let end = match memchr(b'\n', head) {
            Some(end) => end,
            None if self.complete => self.read.len(),
            None if head.contains(&b'\r') => {
                return Err(of_carriage_returns(&format!("{file}, line {}", self.line)));
            }
            None => {
                let what = format!("{file}, line {}: no line end within {MAX_HEADER_BYTES} bytes", self.line);
                let hint =
                    format!("see that this is the CSV file of {}: it begins with a header", table.name);
                return Err(Error::input(what).hint(hint));
            }
        };
        let next = (end + 1).min(self.read.len());
        let rest = self.read.split_off(next);
        let mut line = std::mem::replace(&mut self.read, rest);
        line.truncate(end);
        (self.line, self.offset) = (self.line + 1, self.offset + next as u64);
        Ok(line)
    }
}

/// The text of a file, half a mebibyte at a time.
struct Text<'a> {
    reader: Reader,
    source: &'a Source,
    meter: Option<&'a Meter>,
}

impl Input for Text<'_> {
    type Error = Error;

    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<bool> {
        let complete = self.reader.fill(buffer, CHUNK_BYTES)?;
        if let Some(meter) = self.meter {
            meter.bytes.store(self.reader.bytes_on_disk(), Ordering::Relaxed);
        }
        Ok(complete)
    }

    fn again(&self, offset: u64) -> Result<Self> {
        Ok(Text { reader: self.source.open_at(offset)?, source: self.source, meter: None })
    }
}

/// Reads to the end of the file and puts its chunks to the pool and, in order, into the queue. Gives the file's
/// digest, or `None` if nobody takes the chunks any more.
fn read_chunks(
    text: Text<'_>,
    rows: Rows,
    converter: &Arc<Converter>,
    pool: &ThreadPool,
    queue: &Queue,
) -> Result<Option<u128>> {
    let send = |chunk: Chunk| -> bool {
        let (result, pending) = sync_channel(1);
        let converter = Arc::clone(converter);
        pool.spawn_fifo(move || {
            // Nobody waits for it when the load has failed meanwhile.
            let _ = result.send(converter.convert(chunk));
        });
        queue.send(pending).is_ok()
    };
    let mut chunks =
        Chunks::new(converter.shape(), (rows.line, rows.offset), (rows.read, rows.complete), text);
    for chunk in &mut chunks {
        if !send(chunk?) {
            return Ok(None);
        }
    }
    chunks.into_input().reader.digest().map(Some)
}
