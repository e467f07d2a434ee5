//! One input file: found, opened, decompressed, digested. Knows names and bytes, not records.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atelier_base::error::{Error, Result};
use xxhash_rust::xxh3::Xxh3;

use crate::tables::Table;

/// How a file is compressed, from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstandard,
}

const EXTENSIONS: [(&str, Compression); 3] =
    [("csv", Compression::None), ("csv.gz", Compression::Gzip), ("csv.zst", Compression::Zstandard)];

/// The file of a table.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its size on disk in bytes, as it was when found.
    pub bytes: u64,
    compression: Compression,
    state: State,
}

/// Which file it is and when it was written last: while this is the same, so are its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    bytes: u64,
    written: (i64, i64),
}

impl State {
    fn of(metadata: &Metadata) -> State {
        State {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The files in `directory` that may be that of `table`, the usual name first.
pub fn paths(directory: &Path, table: &Table) -> impl Iterator<Item = PathBuf> {
    named(directory, table).map(|(path, _)| path)
}

/// The same, and how each is compressed.
fn named(directory: &Path, table: &Table) -> impl Iterator<Item = (PathBuf, Compression)> {
    table.stems.iter().flat_map(move |stem| {
        EXTENSIONS
            .map(|(extension, compression)| (directory.join(format!("{stem}.{extension}")), compression))
    })
}

/// Bytes read at a time for a digest alone.
const DIGEST_BUFFER_BYTES: usize = 1 << 20;

impl Source {
    /// Finds the file of `table` in `directory`: one of its names, plain or compressed, exactly once.
    pub fn find(directory: &Path, table: &Table) -> Result<Source> {
        let mut found = None;
        for (path, compression) in named(directory, table) {
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    let state = State::of(&metadata);
                    let source = Source { path, bytes: state.bytes, compression, state };
                    if let Some(other) = found.replace(source) {
                        return Err(twice(table, &other, found.as_ref()));
                    }
                }
                Ok(_) => {
                    return Err(Error::input(format!("{} is not a file", path.display()))
                        .hint(format!("put the CSV of {} there", table.name)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(&path, error)),
            }
        }
        found.ok_or_else(|| {
            let names: Vec<String> = table.stems.iter().map(|stem| format!("{stem}.csv")).collect();
            Error::input(format!("no file for {}: {} not found in {}", table.name, names.join(" and "), directory.display()))
                .hint("name the directory of the six CSV files with --data; each may also end in .csv.gz or .csv.zst")
        })
    }

    /// Whether a file of this name would be unpacked as this one is.
    pub fn is_compressed_as(&self, name: &str) -> bool {
        let of_name = EXTENSIONS.iter().find(|(extension, _)| name.ends_with(&format!(".{extension}")));
        of_name.is_some_and(|(_, compression)| *compression == self.compression)
    }

    /// XXH3 (128 bits) of the file as it stands on the disk: what [`Reader::digest`] gives, without unpacking.
    pub fn digest(&self) -> Result<u128> {
        let mut raw = self.open_raw(Arc::default())?;
        let mut buffer = vec![0; DIGEST_BUFFER_BYTES];
        while raw.read(&mut buffer).map_err(|error| unreadable(&self.path, error))? > 0 {}
        Ok(raw.digest.digest128())
    }

    fn open_raw(&self, read: Arc<AtomicU64>) -> Result<Digesting> {
        let file = File::open(&self.path).map_err(|error| unreadable(&self.path, error))?;
        Ok(Digesting { file, digest: Xxh3::new(), read })
    }

    /// Opens the file for reading its uncompressed bytes.
    pub fn open(&self) -> Result<Reader> {
        let meter = Arc::new(AtomicU64::new(0));
        let raw = self.open_raw(Arc::clone(&meter))?;
        let wrap = |error| unreadable(&self.path, error);
        let inner = match self.compression {
            Compression::None => Inner::Plain(Box::new(raw)),
            // Both formats allow several members in a row; command-line tools write and read them.
            Compression::Gzip => Inner::Gzip(Box::new(flate2::read::MultiGzDecoder::new(raw))),
            Compression::Zstandard => {
                Inner::Zstandard(Box::new(zstd::stream::read::Decoder::new(raw).map_err(wrap)?))
            }
        };
        Ok(Reader { inner, source: self.clone(), on_disk: meter })
    }

    /// The file is not what it was when it was found, or when it was read first.
    pub fn changed(&self) -> Error {
        Error::input(format!("{} changed while it was read", self.path.display()))
            .hint("run this again when nobody writes to the file")
    }
}

/// The uncompressed bytes of a [`Source`].
pub struct Reader {
    inner: Inner,
    source: Source,
    on_disk: Arc<AtomicU64>,
}

enum Inner {
    Plain(Box<Digesting>),
    Gzip(Box<flate2::read::MultiGzDecoder<Digesting>>),
    Zstandard(Box<zstd::stream::read::Decoder<'static, io::BufReader<Digesting>>>),
}

impl Reader {
    /// Appends up to `wanted` bytes to `buffer`, fewer only where the file ends. Says whether it ended.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, wanted: usize) -> Result<bool> {
        buffer.reserve(wanted);
        let reader: &mut dyn Read = match &mut self.inner {
            Inner::Plain(reader) => reader,
            Inner::Gzip(reader) => reader,
            Inner::Zstandard(reader) => reader,
        };
        let read = reader
            .take(wanted as u64)
            .read_to_end(buffer)
            .map_err(|error| unreadable(&self.source.path, error))?;
        Ok(read < wanted)
    }

    /// Bytes taken from the disk so far.
    pub fn bytes_on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Relaxed)
    }

    /// XXH3 (128 bits) of the file as it stands on the disk. Call it when [`Reader::fill`] said that it ended. Fails if
    /// the file is not the one that was found, or was written to since: its end may not be where it was read to.
    pub fn digest(self) -> Result<u128> {
        let raw = match self.inner {
            Inner::Plain(raw) => *raw,
            Inner::Gzip(reader) => reader.into_inner(),
            Inner::Zstandard(reader) => reader.finish().into_inner(),
        };
        let now = raw.file.metadata().map_err(|error| unreadable(&self.source.path, error))?;
        if State::of(&now) != self.source.state {
            return Err(self.source.changed());
        }
        Ok(raw.digest.digest128())
    }
}

/// Digests and counts what passes. XXH3 because it costs a tenth of reading; it has to notice a changed file, not
/// an adversary.
struct Digesting {
    file: File,
    digest: Xxh3,
    read: Arc<AtomicU64>,
}

impl Read for Digesting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.digest.update(&buffer[..read]);
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "give this account the right to read it",
        // `Other` is what zstd says; no error of the system is of this kind.
        io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::Other => "the compressed file is damaged or cut short: fetch it again",
        _ => "check the file and the disk it is on",
    };
    Error::input(format!("cannot read {}", path.display())).cause(error).hint(hint)
}

fn twice(table: &Table, one: &Source, other: Option<&Source>) -> Error {
    let other = other.map(|source| source.path.display().to_string()).unwrap_or_default();
    Error::input(format!("two files for {}: {} and {other}", table.name, one.path.display()))
        .hint("keep the one that is meant and move the other away")
}
