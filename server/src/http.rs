//! Requests → what they ask for, and answers → responses.

pub mod headers;
pub mod host;
pub mod parameters;
pub mod path;
pub mod problem;
pub mod respond;
pub mod route;
