//! The database: sessions, what is created there, and how it is published.

pub(crate) mod capacity;
pub(crate) mod dependents;
pub(crate) mod lock;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod preflight;
pub(crate) mod privileges;
pub(crate) mod publish;
pub(crate) mod schema;
pub(crate) mod session;
pub(crate) mod staging;
mod views;
