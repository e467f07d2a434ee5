//! Where the files go. Nothing stands under a real name before all of it is written, and somebody's own
//! catalogue is never overwritten: only a directory with a manifest in it is known to be generated.

use atelier_base::error::{Error, Result};

use crate::manifest::Manifest;
use atelier_base::tables::TABLES;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MANIFEST: &str = "manifest.json";

/// Six files on their way: each under `<name>.partial` until [`Files::publish`]. Dropped before that, they
/// are removed.
pub(crate) struct Files {
    out: PathBuf,
    files: Vec<File>,
    is_published: bool,
}

impl Files {
    /// Opens the files, with their header lines (without line ends) in them. Makes the directory if missing.
    pub(crate) fn create(out: &Path) -> Result<Self> {
        refuse_real_data(out)?;
        fs::create_dir_all(out).map_err(|error| failed("cannot make the directory", out, error))?;
        let mut files = Self { out: out.to_owned(), files: Vec::new(), is_published: false };
        for (index, table) in TABLES.iter().enumerate() {
            let path = files.partial(index);
            let file = File::create(&path).map_err(|error| failed("cannot write", &path, error))?;
            files.files.push(file);
            files.write(index, table.header().as_bytes())?;
        }
        Ok(files)
    }

    /// The name of a table's file.
    pub(crate) fn name(table: usize) -> String {
        format!("{}.csv", TABLES[table].stems[0])
    }

    /// Appends to a table's file.
    pub(crate) fn write(&mut self, table: usize, bytes: &[u8]) -> Result<()> {
        let result = self.files[table].write_all(bytes);
        result.map_err(|error| failed("cannot write", &self.partial(table), error))
    }

    /// The length of a table's file.
    pub(crate) fn bytes(&self, table: usize) -> Result<u64> {
        let metadata = self.files[table].metadata();
        Ok(metadata.map_err(|error| failed("cannot look at", &self.partial(table), error))?.len())
    }

    /// Gives the files their names, and the manifest last: as long as it is missing, what is there is not
    /// known to be whole. The files are not synced to the disk, which would take longer than writing them:
    /// what is lost with the power can be generated again.
    pub(crate) fn publish(mut self, manifest: &Manifest) -> Result<()> {
        let path = self.out.join(MANIFEST);
        let partial = self.out.join(format!("{MANIFEST}.partial"));
        // First of all, so that a full disk is found before the old files are touched.
        let result = serde_json::to_vec_pretty(manifest)
            .map_err(io::Error::from)
            .and_then(|json| fs::write(&partial, json))
            .and_then(|()| match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            });
        result.map_err(|error| failed("cannot write", &path, error))?;
        for table in 0..TABLES.len() {
            let path = self.out.join(Self::name(table));
            fs::rename(self.partial(table), &path).map_err(|error| failed("cannot replace", &path, error))?;
        }
        fs::rename(&partial, &path).map_err(|error| failed("cannot write", &path, error))?;
        self.is_published = true;
        Ok(())
    }

    fn partial(&self, table: usize) -> PathBuf {
        self.out.join(format!("{}.partial", Self::name(table)))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.is_published {
            // What cannot be removed is at least not taken for a catalogue; the error that led here is told.
            for table in 0..self.files.len() {
                let _ = fs::remove_file(self.partial(table));
            }
            let _ = fs::remove_file(self.out.join(format!("{MANIFEST}.partial")));
        }
    }
}

/// An error if there is a catalogue in the directory that was not generated.
fn refuse_real_data(out: &Path) -> Result<()> {
    if out.join(MANIFEST).exists() {
        return Ok(());
    }
    let mut paths = TABLES.iter().flat_map(|table| table.paths(out));
    // A link that leads nowhere is somebody's too.
    match paths.find(|path| path.symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(path) => {
            let what = format!("{} exists and was not generated: it is not overwritten", path.display());
            Err(Error::usage(what).hint("name another directory with --out"))
        }
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "make room, or generate fewer products (--products)",
        _ => "name a directory with --out that can be written to",
    };
    Error::input(format!("{what} {}", path.display())).cause(error).hint(hint)
}
