//! One client connection as the queue sees it: a flow, in the terms of fair queueing. No I/O.

use std::cell::Cell;

use enum_map::EnumMap;

use crate::catalogue::query_kind::QueryKind;

#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// For each kind, the virtual time at which the next request may start. `KindQueue` has that clock.
    next_start: EnumMap<QueryKind, Cell<u64>>,
    refused: Cell<u32>,
}

impl Flow {
    pub(crate) fn next_start(&self, kind: QueryKind) -> u64 {
        self.next_start[kind].get()
    }

    pub(crate) fn set_next_start(&self, kind: QueryKind, at: u64) {
        self.next_start[kind].set(at);
    }

    /// How many requests in a row were refused because of overload, up to the latest one. If there are several, the next
    /// one may be read a little later.
    pub(crate) fn refused(&self) -> u32 {
        self.refused.get()
    }

    pub(crate) fn record_answer(&self, is_refused: bool) {
        self.refused.set(if is_refused { self.refused.get().saturating_add(1) } else { 0 });
    }
}
