//! Why a request cannot be answered now, but perhaps soon. Each is a 503 to the client.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// There is no connection to the database.
    Disconnected,
    /// Too many requests are waiting, or too many bodies are in memory.
    Overloaded,
    TimedOut,
    /// No load is published.
    NotPublished,
    /// The database refused the statement, or it failed.
    Failed,
}
