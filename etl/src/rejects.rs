//! The reject files: one CSV a table, `line,byte_offset,column,code,message,raw`.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use crate::defect::{Code, Reject};
use crate::error::{Error, Result};
use crate::tables::Table;

/// Where the rejected rows of `table` go.
pub fn path(directory: &Path, table: &Table) -> PathBuf {
    directory.join(format!("{}.csv", table.name))
}

/// The reject file of one table. It gets its name when it is whole: until then the one of the last run stays.
pub struct RejectFile {
    path: PathBuf,
    partial: PathBuf,
    writer: csv::Writer<BufWriter<File>>,
    rows: u64,
}

impl RejectFile {
    /// Makes the file in `directory`, which is made too.
    pub fn create(directory: &Path, table: &Table) -> Result<RejectFile> {
        let path = path(directory, table);
        let partial = path.with_extension("csv.partial");
        let create = || -> io::Result<_> {
            fs::create_dir_all(directory)?;
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
        Ok(RejectFile { path, partial, writer, rows: 0 })
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

    /// Writes what is left and gives the file's path; or, if no row was rejected, sees that there is no such file.
    pub fn finish(mut self) -> Result<Option<PathBuf>> {
        self.writer.flush().map_err(|error| self.failed(error))?;
        if self.rows > 0 {
            fs::rename(&self.partial, &self.path).map_err(|error| self.failed(error))?;
            return Ok(Some(self.path.clone()));
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(None),
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
