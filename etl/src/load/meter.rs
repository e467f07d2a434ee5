//! How far a file is read.

use std::sync::atomic::AtomicU64;

/// Written by the pipeline, read by what shows progress.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes read from the disk.
    pub(crate) bytes: AtomicU64,
    /// Rows accepted or rejected.
    pub(crate) rows: AtomicU64,
}
