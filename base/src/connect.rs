//! How a database is reached: libpq's parameters, Unix sockets, TLS, time-outs, one attempt at each host, and what a
//! refusal means. Spawns nothing and tries nothing twice: who polls the connection, and how long is waited for a database,
//! is up to the program.

mod attempt;
mod hosts;
mod refused;
mod session_attrs;
mod target;

pub use attempt::Opened;
pub use refused::{Refused, describe, without_passwords};
pub use target::{Connection, Setting, Target, Tls};
