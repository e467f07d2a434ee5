//! What the parts of a load share.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::database::session::{Canceller, Session};
use crate::options::{Database, Input};
use crate::output::progress::Progress;
use crate::output::report::Span;

pub(crate) struct Context<'a> {
    pub(crate) input: &'a Input,
    pub(crate) database: &'a Database,
    /// Holds the lock of the load.
    pub(crate) control: &'a Session,
    pub(crate) progress: Arc<Progress>,
    /// Of the lanes' sessions.
    pub(crate) cancellers: Mutex<Vec<Canceller>>,
    pub(crate) begin: Instant,
}

impl Context<'_> {
    /// From `start` to now.
    pub(crate) fn span(&self, start: Instant) -> Span {
        Span::since(start, self.begin)
    }
}
