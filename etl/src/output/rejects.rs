//! The reject files: one CSV a table, `line,byte_offset,column,code,message,raw`.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atelier_base::error::{Error, Result};

use crate::rows::defect::{Code, Reject};
use atelier_base::tables::{Table, TableId};
use enum_map::{EnumMap, enum_map};

/// Where the rejected rows of `table` go.
pub fn path(directory: &Path, table: &Table) -> PathBuf {
    directory.join(format!("{}.csv", table.name))
}

/// What the file at `path` is called until it is whole.
pub fn partial(path: &Path) -> PathBuf {
    path.with_extension("csv.partial")
}

/// Gives all files of a run their names, when all are whole: what is there is of one run, this one or the last.
pub fn name(files: impl IntoIterator<Item = RejectFile>) -> Result<()> {
    files.into_iter().try_for_each(RejectFile::name)
}

/// The reject file of one table, without its name until [`name`] gives it.
pub struct RejectFile {
    path: PathBuf,
    partial: PathBuf,
    /// Locked as long as any of its files is being written.
    _directory: Arc<File>,
    writer: csv::Writer<BufWriter<File>>,
    rows: u64,
}

/// Makes a file for each table in `directory`, which is made too. Two runs that wrote to the same
/// directory would each lose what the other found, so the directory is locked.
pub fn create(directory: &Path) -> Result<EnumMap<TableId, RejectFile>> {
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
            return Err(refused("another run is writing its rejects there".into()));
        }
        // Not every file system has locks: one run at a time is the usual case there too.
        Err(TryLockError::Error(_)) => {}
    }
    let lock = Arc::new(lock);
    Ok(enum_map! { table => RejectFile::create(directory, &lock, TableId::table(table))? })
}

impl RejectFile {
    fn create(directory: &Path, lock: &Arc<File>, table: &Table) -> Result<RejectFile> {
        let path = path(directory, table);
        let partial = partial(&path);
        // Else it would be found when all is read.
        if path.is_dir() {
            return Err(Error::usage(format!(
                "{} is a directory, and rejected rows go there",
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

    /// Adds rejected rows.
    pub fn write(&mut self, rejects: &[Reject]) -> Result<()> {
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

    /// Writes what is left, to the disk.
    pub fn finish(&mut self) -> Result<()> {
        let written = self.writer.flush().and_then(|()| self.writer.get_ref().get_ref().sync_all());
        written.map_err(|error| self.failed(error))
    }

    /// Where the rejected rows will be, if there are any.
    pub fn path(&self) -> Option<&Path> {
        (self.rows > 0).then_some(&self.path)
    }

    /// Gives the file its name; or, if no row was rejected, sees that there is no such file.
    fn name(self) -> Result<()> {
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
            .hint("make room or name another directory with --rejects: no row may go unrecorded")
    }
}

impl Drop for RejectFile {
    fn drop(&mut self) {
        // Renamed by now, if it was finished and holds anything.
        let _ = fs::remove_file(&self.partial);
    }
}
