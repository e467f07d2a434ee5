//! The reject files: one CSV a table, `line,byte_offset,column,code,message,raw`.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use crate::defect::{Code, Reject};
use crate::error::{Error, Result};
use crate::tables::Table;

/// The reject file of one table.
pub struct RejectFile {
    path: PathBuf,
    writer: csv::Writer<BufWriter<File>>,
    rows: u64,
}

impl RejectFile {
    /// Makes the file in `directory`, which is made too. Whatever stood there came from an earlier run.
    pub fn create(directory: &Path, table: &Table) -> Result<RejectFile> {
        let path = directory.join(format!("{}.csv", table.name));
        let create = || -> io::Result<_> {
            fs::create_dir_all(directory)?;
            let mut writer = csv::Writer::from_writer(BufWriter::new(File::create(&path)?));
            writer.write_record(["line", "byte_offset", "column", "code", "message", "raw"])?;
            writer.flush()?;
            Ok(writer)
        };
        let writer = create().map_err(|error| {
            Error::usage(format!("cannot write {}", path.display()))
                .cause(error)
                .hint("name a directory for rejected rows with --rejects")
        })?;
        Ok(RejectFile { path, writer, rows: 0 })
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

    /// Writes what is left and gives the file's path, or removes the file if no row was rejected.
    pub fn finish(mut self) -> Result<Option<PathBuf>> {
        self.writer.flush().map_err(|error| self.failed(error))?;
        if self.rows == 0 {
            fs::remove_file(&self.path).map_err(|error| self.failed(error))?;
            return Ok(None);
        }
        Ok(Some(self.path))
    }

    fn failed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::input(format!("cannot write rejected rows to {}", self.path.display()))
            .cause(error)
            .hint("make room or name another directory with --rejects: no row may go unrecorded")
    }
}
