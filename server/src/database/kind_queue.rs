//! Waiting requests of one kind. Client connections share the queue by the cost of their answers: start-time fair queueing
//! (Goyal, Vin and Cheng, 1996), so a client that requests much waits behind one that requests little.
//!
//! The virtual time is the start of the request that was taken last. A request of a connection starts where the one before
//! it ends, but not before the virtual time. If connections do not compete, requests are taken in the order of arrival.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::catalogue::query_kind::QueryKind;
use crate::database::flow::Flow;
use crate::database::pending::{PendingRequest, Position};
use crate::database::unavailable::Unavailable;

#[derive(Default)]
pub(crate) struct KindQueue {
    requests: BTreeMap<Position, PendingRequest>,
    cost: u64,
    virtual_time: u64,
}

impl KindQueue {
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The cost of all answers.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Whether the next request of `flow` would be the last in the queue.
    pub(crate) fn would_be_last(&self, kind: QueryKind, flow: &Flow) -> bool {
        self.requests.last_key_value().is_none_or(|(last, _)| last.0 <= self.start(kind, flow))
    }

    /// When the next request of `flow` may start.
    fn start(&self, kind: QueryKind, flow: &Flow) -> u64 {
        self.virtual_time.max(flow.next_start(kind))
    }

    /// Adds a new request; `number` counts arrivals.
    pub(crate) fn push(&mut self, mut request: PendingRequest, number: u64) {
        let start = self.start(request.kind, &request.flow);
        request.flow.set_next_start(request.kind, start + request.cost());
        request.position = (start, number);
        self.restore(request);
    }

    /// Puts a request back to its position.
    pub(crate) fn restore(&mut self, request: PendingRequest) {
        self.cost += request.cost();
        self.requests.insert(request.position, request);
    }

    /// Takes up to `max` requests from the front. Refuses those among them whose deadline is over.
    pub(crate) fn take(&mut self, max: usize, now: Instant) -> Vec<PendingRequest> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some((position, request)) = self.requests.pop_first()
        {
            self.cost -= request.cost();
            if request.deadline <= now {
                request.answer(Err(Unavailable::TimedOut));
            } else {
                self.virtual_time = self.virtual_time.max(position.0);
                taken.push(request);
            }
        }
        taken
    }

    /// Takes the request at the end. It is also the last one of its flow, whose next request may start in its place.
    pub(crate) fn take_last(&mut self) -> Option<PendingRequest> {
        let (position, request) = self.requests.pop_last()?;
        self.cost -= request.cost();
        request.flow.set_next_start(request.kind, position.0);
        Some(request)
    }

    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = PendingRequest> {
        self.cost = 0;
        std::mem::take(&mut self.requests).into_values()
    }
}
