//! What the queue for the database keeps of each client connection: its place among the others, and whether it asks for
//! more than there is. No I/O.

use std::cell::Cell;

use crate::catalogue::kind::Kind;

/// One client connection, with all its requests. Made once a connection, by whoever serves it.
#[derive(Debug, Default)]
pub struct Client {
    /// For each kind, when its next request may begin, on the clock of those that wait for that kind.
    next: [Cell<u64>; Kind::ALL.len()],
    refused: Cell<u32>,
}

impl Client {
    /// When its next request of this kind may begin.
    pub fn next(&self, kind: Kind) -> u64 {
        self.next[kind as usize].get()
    }

    /// Its next request of this kind begins no sooner.
    pub fn set_next(&self, kind: Kind, at: u64) {
        self.next[kind as usize].set(at);
    }

    /// How many of its latest requests were refused for want of room, one behind the other; 0 if the last was answered.
    /// Whoever reads the next request of such a client may wait a little first.
    pub fn refused(&self) -> u32 {
        self.refused.get()
    }

    /// A request of it was answered: refused for want of room, or not.
    pub fn answered(&self, refused: bool) {
        self.refused.set(if refused { self.refused.get().saturating_add(1) } else { 0 });
    }
}
