//! What only shows on a real PostgreSQL, with the real program. One binary, so that it links once and all of
//! it shares one server.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod catalogue;
mod codes;
mod damaged;
mod defects;
mod dependents;
mod encoding;
mod example;
mod failures;
mod formats;
mod loads;
mod messages;
mod poolers;
mod privileges;
mod published;
mod quotes;
mod records;
mod report;
mod rollback;
mod run;
mod schema;
mod shapes;
mod terminal;
mod unchanged;
mod verify;
