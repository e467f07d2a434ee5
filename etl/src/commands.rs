//! One file for each command. Its `run` resolves the arguments, does the work and prints the result.

pub mod check;
pub mod generate;
pub mod load;
pub mod rollback;
mod signals;
pub mod status;
pub mod verify;
