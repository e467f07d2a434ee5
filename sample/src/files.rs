//! The output files. A file gets its name only when all are whole, and a catalogue that was not generated is never
//! overwritten: a generated one is known by its manifest.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use atelier_base::error::{Error, Result};
use atelier_base::tables::{TABLES, TableId};
use enum_map::{EnumMap, enum_map};

use crate::manifest::Manifest;

const MANIFEST: &str = "manifest.json";

/// The files under the names `<name>.partial`, until [`Files::publish`].
pub(crate) struct Files {
    files: EnumMap<TableId, File>,
    partials: Partials,
}

impl Files {
    /// Opens the files, with their header lines (without line ends) in them. Creates the directory if missing.
    pub(crate) fn create(out: &Path) -> Result<Self> {
        refuse_real_data(out)?;
        fs::create_dir_all(out).map_err(|error| failed("cannot create the directory", out, error))?;
        let mut partials = Partials { out: out.to_owned(), created: Vec::new() };
        let mut create = |table| {
            let path = partials.of(table);
            let mut file = File::create(&path).map_err(|error| failed("cannot write", &path, error))?;
            partials.created.push(path.clone());
            let header = file.write_all(table.table().header().as_bytes());
            header.map_err(|error| failed("cannot write", &path, error))?;
            Ok::<_, Error>(file)
        };
        let files = enum_map! { table => create(table)? };
        Ok(Self { files, partials })
    }

    /// Appends to a table's file.
    pub(crate) fn write(&mut self, table: TableId, bytes: &[u8]) -> Result<()> {
        let result = self.files[table].write_all(bytes);
        result.map_err(|error| failed("cannot write", &self.partials.of(table), error))
    }

    /// The length of a table's file.
    pub(crate) fn bytes(&self, table: TableId) -> Result<u64> {
        let metadata = self.files[table].metadata();
        Ok(metadata
            .map_err(|error| failed("cannot read the size of", &self.partials.of(table), error))?
            .len())
    }

    /// Gives the files their names, and the manifest last: as long as it is missing, what is there is not
    /// known to be whole. The files are not synced to the disk, which would take longer than writing them:
    /// what is lost with the power can be generated again.
    pub(crate) fn publish(mut self, manifest: &Manifest) -> Result<()> {
        let path = self.partials.out.join(MANIFEST);
        let partial = self.partials.out.join(format!("{MANIFEST}.partial"));
        self.partials.created.push(partial.clone());
        // First of all, so that a full disk is found before the old files are touched.
        let result = serde_json::to_vec_pretty(manifest)
            .map_err(io::Error::from)
            .and_then(|json| fs::write(&partial, json))
            .and_then(|()| match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            });
        result.map_err(|error| failed("cannot write", &path, error))?;
        for table in self.files.iter().map(|(table, _)| table) {
            let (partial, path) = (self.partials.of(table), self.partials.out.join(file_name(table)));
            let result = self.partials.rename(&partial, &path);
            result.map_err(|error| failed("cannot replace", &path, error))?;
        }
        self.partials.rename(&partial, &path).map_err(|error| failed("cannot write", &path, error))
    }
}

/// The name of a table's file.
pub(crate) fn file_name(table: TableId) -> String {
    format!("{}.csv", table.table().stems[0])
}

/// The names of the files until they are whole. Dropping it removes those that were created and not renamed: others are of
/// another process.
struct Partials {
    out: PathBuf,
    created: Vec<PathBuf>,
}

impl Partials {
    fn of(&self, table: TableId) -> PathBuf {
        self.out.join(format!("{}.partial", file_name(table)))
    }

    fn rename(&mut self, partial: &Path, path: &Path) -> io::Result<()> {
        fs::rename(partial, path)?;
        self.created.retain(|created| created != partial);
        Ok(())
    }
}

impl Drop for Partials {
    fn drop(&mut self) {
        for partial in &self.created {
            // What cannot be removed is not taken for a catalogue; the error that led here is reported.
            let _ = fs::remove_file(partial);
        }
    }
}

/// Fails if there is a catalogue in the directory that was not generated.
fn refuse_real_data(out: &Path) -> Result<()> {
    if out.join(MANIFEST).exists() {
        return Ok(());
    }
    let mut paths = TABLES.iter().flat_map(|table| table.paths(out));
    // A broken link counts as a file too.
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
