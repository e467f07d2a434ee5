//! Connections to PostgreSQL: libpq's parameters, Unix sockets, TLS, time-outs, one attempt at each host, and explanations
//! of refusals. Spawns nothing and retries nothing: polling the connection and waiting for a database is up to the program.

mod attempt;
mod hosts;
mod refused;
mod session_attrs;
mod target;

pub use attempt::Opened;
pub(crate) use refused::without_passwords;
pub use refused::{Refused, describe};
pub use target::{Connection, Setting, Target, Tls};
