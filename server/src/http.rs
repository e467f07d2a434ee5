//! Requests → resources, and answers → responses.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod headers;
pub(crate) mod host;
pub mod parameters;
pub(crate) mod path;
pub mod problem;
pub(crate) mod refusal;
pub(crate) mod respond;
pub mod route;
#[cfg(test)]
mod route_properties;
