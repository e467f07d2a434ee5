//! Servers start, stop, and leave nothing behind.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod postgres;
