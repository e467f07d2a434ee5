//! The reject files: one CSV for each table, `line,byte_offset,column,code,message,raw`.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atelier_base::error::{Error, Result};
use atelier_base::tables::{Table, TableId};
use enum_map::{EnumMap, enum_map};

use crate::rows::defect::{Code, Reject};

/// The reject file of `table`.
pub(crate) fn path(directory: &Path, table: &Table) -> PathBuf {
    directory.join(format!("{}.csv", table.name))
}

/// The name of the file at `path` while it is being written.
pub(crate) fn partial(path: &Path) -> PathBuf {
    path.with_extension("csv.partial")
}

/// Gives all files of a run their final names when all are complete, so the files in the directory are all of one run.
pub(crate) fn rename_all(files: impl IntoIterator<Item = RejectFile>) -> Result<()> {
    files.into_iter().try_for_each(RejectFile::rename)
}

/// The reject file of one table. It has its final name after [`rename_all`].
pub(crate) struct RejectFile {
    path: PathBuf,
    partial: PathBuf,
    /// Locked while any of its files is being written.
    _directory: Arc<File>,
    writer: csv::Writer<BufWriter<File>>,
    rows: u64,
}

/// Creates `directory` and a file in it for each table. The directory is locked: a second run would overwrite the files of
/// the first.
pub(crate) fn create(directory: &Path) -> Result<EnumMap<TableId, RejectFile>> {
    let refused = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::usage(format!("cannot write rejected rows to {}", directory.display()))
            .cause(cause)
            .hint("name another directory with --rejects")
    };
    fs::create_dir_all(directory).map_err(|error| refused(error.into()))?;
    let lock = File::open(directory).map_err(|error| refused(error.into()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(refused("another run is writing rejected rows there".into()));
        }
        // Not every file system has locks; most often there is just one run anyway.
        Err(TryLockError::Error(_)) => {}
    }
    let lock = Arc::new(lock);
    Ok(enum_map! { table => RejectFile::create(directory, &lock, TableId::table(table))? })
}

impl RejectFile {
    fn create(directory: &Path, lock: &Arc<File>, table: &Table) -> Result<RejectFile> {
        let path = path(directory, table);
        let partial = partial(&path);
        // Otherwise this would be found only after everything is read.
        if path.is_dir() {
            return Err(Error::usage(format!(
                "{} is a directory, but rejected rows are written to a file of this name",
                path.display()
            ))
            .hint("move it away, or name another directory with --rejects"));
        }
        let create = || -> io::Result<_> {
            let mut writer = csv::Writer::from_writer(BufWriter::new(File::create(&partial)?));
            writer.write_record(["line", "byte_offset", "column", "code", "message", "raw"])?;
            writer.flush()?;
            Ok(writer)
        };
        let writer = create().map_err(|error| {
            Error::usage(format!("cannot write {}", path.display()))
                .cause(error)
                .hint("name a directory for rejected rows with --rejects")
        })?;
        Ok(RejectFile { path, partial, _directory: Arc::clone(lock), writer, rows: 0 })
    }

    pub(crate) fn write(&mut self, rejects: &[Reject]) -> Result<()> {
        for reject in rejects {
            self.writer
                .write_record([
                    reject.line.to_string().as_bytes(),
                    reject.offset.to_string().as_bytes(),
                    reject.column.as_bytes(),
                    reject.fault.code().as_bytes(),
                    reject.message.as_bytes(),
                    &reject.raw,
                ])
                .map_err(|error| self.failed(error))?;
            self.rows += 1;
        }
        Ok(())
    }

    /// Flushes everything to the disk.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let written = self.writer.flush().and_then(|()| self.writer.get_ref().get_ref().sync_all());
        written.map_err(|error| self.failed(error))
    }

    /// Its final path. None if no row was rejected: then there will be no file.
    pub(crate) fn path(&self) -> Option<&Path> {
        (self.rows > 0).then_some(&self.path)
    }

    /// Gives the file its final name; if no row was rejected, removes that of an earlier run.
    fn rename(self) -> Result<()> {
        if self.rows > 0 {
            return fs::rename(&self.partial, &self.path).map_err(|error| self.failed(error));
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::input(format!("cannot write rejected rows to {}", self.path.display()))
            .cause(error)
            .hint("free space or name another directory with --rejects: every rejected row must be recorded")
    }
}

impl Drop for RejectFile {
    fn drop(&mut self) {
        // If it was finished and has rows, it was renamed before.
        let _ = fs::remove_file(&self.partial);
    }
}
