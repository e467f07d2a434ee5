//! One file for each command.

pub mod check;
pub mod rollback;
pub mod status;
pub mod verify;
