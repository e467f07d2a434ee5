//! What operators see: the log and the metrics.

pub(crate) mod counters;
pub(crate) mod exposition;
pub(crate) mod limits;
pub mod log;
pub(crate) mod metrics;
pub mod route_label;
