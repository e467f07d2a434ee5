//! The file of `--report`.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use atelier_base::error::{Error, Result};
use serde::Serialize;

/// Opened before the work starts, so that an hour's load does not end with a path that cannot be written. Its content
/// stays until there is a new report.
pub(crate) struct ReportFile(Option<(PathBuf, File)>);

impl ReportFile {
    /// Opens the file at `path`. Without a path, [`write`](Self::write) does nothing.
    pub(crate) fn open(path: Option<&Path>) -> Result<ReportFile> {
        let Some(path) = path else { return Ok(ReportFile(None)) };
        let file = File::options().write(true).create(true).truncate(false).open(path).map_err(|error| {
            Error::usage(format!("cannot write {}", path.display()))
                .cause(error)
                .hint("name another file with --report")
        })?;
        Ok(ReportFile(Some((path.to_owned(), file))))
    }

    /// Writes a report as JSON.
    pub(crate) fn write(&mut self, report: &impl Serialize) -> Result<()> {
        let Some((path, file)) = &mut self.0 else { return Ok(()) };
        // A pipe cannot be truncated, and need not be.
        let _ = file.set_len(0);
        let text = serde_json::to_vec_pretty(report).map_err(io::Error::from);
        let written = text.and_then(|text| {
            file.write_all(&text)?;
            file.write_all(b"\n")
        });
        written.map_err(|error| {
            Error::usage(format!("cannot write the report to {}", path.display()))
                .cause(error)
                .hint("free space there, or name another file with --report")
        })
    }
}
