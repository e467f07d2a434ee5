//! One input file: found, opened, decompressed, digested. Knows names and bytes, not records.

mod format;
mod gzip;
mod unicode;

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Cursor, Read, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atelier_base::error::{Error, Result};
use atelier_base::tables::Table;
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use self::format::{Compression, Encoding, Format, HEAD_BYTES};

/// Compressed bytes read at a time.
const COMPRESSED_BUFFER_BYTES: usize = 128 << 10;

/// Bytes read at a time where only the digest is needed.
const DIGEST_BUFFER_BYTES: usize = 1 << 20;

/// Bytes of CSV for each byte of a compressed file: 6.4 with `gzip -6`, 5.9 with `zstd -3`, of a generated catalogue of
/// 100,000 products.
const COMPRESSION_RATIO: u64 = 6;

/// The largest window of Zstandard, that of `zstd --long=31`. It takes as much memory as the file's own window.
const MAX_WINDOW_LOG: u32 = 31;

/// The file of a table.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub path: PathBuf,
    /// Its size on the disk when it was found.
    pub bytes: u64,
    state: FileState,
}

/// Which file it is and when it was last modified: while this is the same, so are its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl FileState {
    fn of(metadata: &Metadata) -> FileState {
        FileState {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Source {
    /// Finds the file of `table` in `directory`: one of its names, exactly once.
    pub(crate) fn find(directory: &Path, table: &Table) -> Result<Source> {
        let mut found = None;
        for path in table.paths(directory) {
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    let state = FileState::of(&metadata);
                    let source = Source { path, bytes: state.bytes, state };
                    if let Some(other) = found.replace(source) {
                        return Err(duplicate(table, &other, found.as_ref()));
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

    /// XXH3 (128 bits) of the file as it is on the disk: the same as [`Reader::digest`], without decompressing.
    pub(crate) fn digest(&self) -> Result<u128> {
        let raw = self.open_raw()?;
        raw.read_to_end().map_err(|error| unreadable(&self.path, error))?;
        Ok(raw.0.lock().digest.digest128())
    }

    fn open_raw(&self) -> Result<Raw> {
        let opened = File::open(&self.path).and_then(|file| Ok((FileState::of(&file.metadata()?), file)));
        let (state, file) = opened.map_err(|error| unreadable(&self.path, error))?;
        if state != self.state {
            return Err(self.changed());
        }
        Ok(Raw(Arc::new(Mutex::new(Digested { file, digest: Xxh3::new(), read: 0 }))))
    }

    /// Opens the file to read its text, decompressed and as UTF-8. Its first bytes tell its format.
    pub(crate) fn open(&self) -> Result<Reader> {
        let raw = self.open_raw()?;
        let (text, compression) = self.decompressed(raw.clone())?;
        let (text, encoding) = match self.format_of(text, compression)? {
            (text, Format::Text(encoding)) => (text, encoding),
            (_, Format::Compressed(again)) => {
                return Err(self
                    .not_csv(&format!("is compressed twice, the second time with {}", again.name()))
                    .hint("decompress it once"));
            }
            (_, Format::Other(name, hint)) => return Err(self.not_csv(&format!("is {name}")).hint(hint)),
        };
        let text = match encoding {
            Encoding::Utf8 => text,
            Encoding::Wide(wide) => Box::new(unicode::ToUtf8::new(text, wide)),
        };
        let is_plain = compression.is_none() && encoding == Encoding::Utf8;
        Ok(Reader { text, raw, source: self.clone(), compression, is_plain })
    }

    /// Bytes of CSV in the file, an estimate if it is compressed.
    pub(crate) fn unpacked_bytes(&self) -> u64 {
        let opened = self.open_raw().and_then(|raw| self.decompressed(raw));
        match opened.is_ok_and(|(_, compression)| compression.is_some()) {
            false => self.bytes,
            true => self.bytes * COMPRESSION_RATIO,
        }
    }

    /// The bytes of the file, decompressed, and how they were compressed.
    fn decompressed(&self, raw: Raw) -> Result<(Box<dyn Read + Send>, Option<Compression>)> {
        let (bytes, format) = self.format_of(Box::new(raw), None)?;
        let Format::Compressed(compression) = format else { return Ok((bytes, None)) };
        let compressed = BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, bytes);
        let bytes: Box<dyn Read + Send> = match compression {
            Compression::Gzip => Box::new(gzip::Members::new(compressed)),
            Compression::Zstandard => {
                let decoder = zstd::stream::read::Decoder::with_buffer(compressed);
                let decoder = decoder.and_then(|mut decoder| {
                    decoder.window_log_max(MAX_WINDOW_LOG)?;
                    Ok(decoder)
                });
                Box::new(decoder.map_err(|error| self.damaged(Some(compression), error))?)
            }
        };
        Ok((bytes, Some(compression)))
    }

    /// The format of `bytes`, and all of them.
    fn format_of(
        &self,
        mut bytes: Box<dyn Read + Send>,
        compression: Option<Compression>,
    ) -> Result<(Box<dyn Read + Send>, Format)> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let read = bytes.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head);
        read.map_err(|error| self.damaged(compression, error))?;
        let format = Format::of(&head);
        Ok((Box::new(Cursor::new(head).chain(bytes)), format))
    }

    /// Opens the file again, and skips the first `offset` bytes of its text.
    pub(crate) fn open_at(&self, offset: u64) -> Result<Reader> {
        let mut reader = self.open()?;
        if reader.is_plain {
            let sought = reader.raw.0.lock().file.seek(SeekFrom::Start(offset));
            sought.map_err(|error| unreadable(&self.path, error))?;
            reader.text = Box::new(reader.raw.clone());
        } else {
            let skipped = io::copy(&mut reader.text.by_ref().take(offset), &mut io::sink());
            skipped.map_err(|error| self.damaged(reader.compression, error))?;
        }
        Ok(reader)
    }

    /// The file is not what it was when it was found, or in the first pass.
    pub(crate) fn changed(&self) -> Error {
        Error::input(format!("{} changed while it was read", self.path.display()))
            .hint("run this again when no process writes to the file")
    }

    fn not_csv(&self, what: &str) -> Error {
        Error::input(format!("{} {what}, not a CSV file", self.path.display()))
    }

    /// `error` is that of the disk, or of what decompresses the file.
    fn damaged(&self, compression: Option<Compression>, error: io::Error) -> Error {
        match compression {
            Some(compression) if error.raw_os_error().is_none() => {
                let hint = compression.hint(&error);
                Error::input(format!("cannot decompress {} with {}", self.path.display(), compression.name()))
                    .cause(error)
                    .hint(hint)
            }
            _ => unreadable(&self.path, error),
        }
    }
}

/// The text of a [`Source`].
pub(crate) struct Reader {
    text: Box<dyn Read + Send>,
    raw: Raw,
    source: Source,
    compression: Option<Compression>,
    /// The text is the file as it is on the disk.
    is_plain: bool,
}

impl Reader {
    /// Appends up to `limit` bytes to `buffer`, fewer only where the file ends. Returns whether it ended.
    pub(crate) fn fill(&mut self, buffer: &mut Vec<u8>, limit: usize) -> Result<bool> {
        buffer.reserve(limit);
        let read = self.text.by_ref().take(limit as u64).read_to_end(buffer);
        let read = read.map_err(|error| match std::fs::metadata(&self.source.path) {
            Ok(now) if FileState::of(&now) != self.source.state => self.source.changed(),
            _ => self.source.damaged(self.compression, error),
        })?;
        Ok(read < limit)
    }

    /// Bytes read from the disk so far.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.raw.0.lock().read
    }

    /// XXH3 (128 bits) of the file as it is on the disk. To be called at the end of the file. Fails if the file is not the
    /// one that was found, or was modified since: it may have another end.
    pub(crate) fn digest(self) -> Result<u128> {
        // A decompressor need not read the very last bytes.
        let now = self.raw.read_to_end().and_then(|()| self.raw.0.lock().file.metadata());
        let now = now.map_err(|error| unreadable(&self.source.path, error))?;
        if FileState::of(&now) != self.source.state {
            return Err(self.source.changed());
        }
        Ok(self.raw.0.lock().digest.digest128())
    }
}

/// The bytes of a file as they are on the disk. Clones share the position.
#[derive(Clone)]
struct Raw(Arc<Mutex<Digested>>);

/// Digests and counts what is read. XXH3 because it costs a tenth of reading; it has to detect accidents, not an
/// adversary.
struct Digested {
    file: File,
    digest: Xxh3,
    read: u64,
}

impl Raw {
    /// Digests the rest of the file.
    fn read_to_end(&self) -> io::Result<()> {
        let mut buffer = vec![0; DIGEST_BUFFER_BYTES];
        while self.clone().read(&mut buffer)? > 0 {}
        Ok(())
    }
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut raw = self.0.lock();
        let read = raw.file.read(buffer)?;
        raw.digest.update(&buffer[..read]);
        raw.read += read as u64;
        Ok(read)
    }
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "give this user permission to read it",
        _ => "check the file and the disk it is on",
    };
    Error::input(format!("cannot read {}", path.display())).cause(error).hint(hint)
}

fn duplicate(table: &Table, one: &Source, other: Option<&Source>) -> Error {
    let other = other.map(|source| source.path.display().to_string()).unwrap_or_default();
    Error::input(format!("two files for {}: {} and {other}", table.name, one.path.display()))
        .hint("keep one of them and remove the other")
}
