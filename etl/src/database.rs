//! The database: sessions, what is made there, and how it is published.

pub mod metadata;
pub mod publish;
pub mod schema;
pub mod session;
