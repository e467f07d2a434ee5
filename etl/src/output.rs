//! What a run prints and writes: report, reject files, progress.

pub(crate) mod acceptance;
pub(crate) mod comparison;
pub(crate) mod limit;
pub(crate) mod progress;
pub(crate) mod rejects;
pub(crate) mod report;
pub(crate) mod report_file;
pub(crate) mod stdout;
pub(crate) mod summary;
