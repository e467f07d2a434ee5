//! What a run leaves behind and shows: report, reject files, progress.

pub mod acceptance;
pub mod limit;
pub mod progress;
pub mod rejects;
pub mod report;
pub mod stdout;
