//! What operators see: log lines and metrics.

pub mod counters;
pub mod exposition;
pub mod limits;
pub mod log;
pub mod metrics;
