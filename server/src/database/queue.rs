//! Requests that wait for a connection: a queue for each kind of query. The kind whose answers have cost least so far is
//! served next, so that neither large pages nor many requests of one kind starve the others. No I/O.

use std::time::Instant;

use enum_map::EnumMap;

use crate::catalogue::query_kind::{QueryKind, QueryKinds};
use crate::catalogue::resource::Resource;
use crate::database::batch::Batch;
use crate::database::flow::Flow;
use crate::database::kind_queue::KindQueue;
use crate::database::pending::{PendingRequest, cost};
use crate::database::unavailable::Unavailable;

/// Batches in flight on one connection: with two, PostgreSQL has the next one when it has finished the first.
const MAX_BATCHES_PER_CONNECTION: usize = 2;

/// Products in one statement. Bounds how long a request waits for the others of its batch.
const MAX_PRODUCTS_PER_BATCH: usize = 32;

/// While a connection is busy, requests that can be batched wait until there are this many. They would wait for the
/// connection anyway, and meanwhile more arrive.
const MIN_REQUESTS_BEHIND_BATCH: usize = MAX_PRODUCTS_PER_BATCH / 2;

/// Cost of all waiting requests of one worker: half a second's work. Each takes some 200 bytes of memory.
const MAX_WAITING_COST: u64 = 4096;

/// All waiting requests of one worker.
#[derive(Default)]
pub(crate) struct Queue {
    queues: EnumMap<QueryKind, KindQueue>,
    /// For each kind, the cost of its answers so far. A kind without requests, or a blocked one, does not save up its share.
    served: EnumMap<QueryKind, u64>,
    /// The value of `served` for the kind of the latest batch, before that batch.
    virtual_time: u64,
    arrivals: u64,
}

/// What can be sent on a connection now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Capacity {
    /// Batches in flight.
    pub(crate) batches: usize,
    /// Kinds that must not be sent.
    pub(crate) excluded: QueryKinds,
    /// If set, the only kind that may be sent behind the batches in flight.
    pub(crate) only_behind: Option<QueryKind>,
}

impl Queue {
    /// Whether this request would be refused. Cheaper than [`Queue::push`].
    pub(crate) fn would_refuse(&self, resource: &Resource, flow: &Flow) -> bool {
        let (kind, more) = (QueryKind::of(resource), cost(resource));
        self.cost() + more > MAX_WAITING_COST
            && self.costliest(|queue| if queue == kind { more } else { 0 }) == kind
            && self.queues[kind].would_be_last(kind, flow)
    }

    /// Adds a request. If too much is waiting, refuses the last requests of the costliest kind, which may include this one.
    /// Returns how many were refused.
    pub(crate) fn push(&mut self, request: PendingRequest) -> usize {
        let kind = request.kind;
        if self.queues[kind].is_empty() {
            self.forfeit_share(kind);
        }
        self.arrivals += 1;
        self.queues[kind].push(request, self.arrivals);
        let mut refused = 0;
        while self.cost() > MAX_WAITING_COST {
            let costliest = self.costliest(|_| 0);
            let Some(last) = self.queues[costliest].take_last() else { break };
            last.answer(Err(Unavailable::Overloaded));
            refused += 1;
        }
        refused
    }

    /// Puts requests back to their positions, to be sent again.
    pub(crate) fn restore(&mut self, requests: Vec<PendingRequest>) {
        for request in requests {
            let served = &mut self.served[request.kind];
            *served = served.saturating_sub(request.cost());
            self.queues[request.kind].restore(request);
        }
    }

    /// Whether a request of any other kind is waiting.
    pub(crate) fn has_other_than(&self, kinds: QueryKinds) -> bool {
        self.queues.iter().any(|(kind, queue)| !kinds.contains(kind) && !queue.is_empty())
    }

    /// Takes what is sent on a connection next: one request, or all that can be batched with it. `None` if nothing should
    /// be sent now. Refuses requests whose deadline is over.
    pub(crate) fn next_batch(&mut self, capacity: Capacity, now: Instant) -> Option<Batch> {
        while let Some(kind) = self.next_kind(capacity) {
            let max = if kind.is_batched() { MAX_PRODUCTS_PER_BATCH } else { 1 };
            if let Some(batch) = Batch::new(self.queues[kind].take(max, now)) {
                self.virtual_time = self.served[kind];
                self.served[kind] += batch.requests().iter().map(PendingRequest::cost).sum::<u64>();
                return Some(batch);
            }
        }
        None
    }

    /// Returns how many requests were refused.
    pub(crate) fn refuse_all(&mut self, why: Unavailable) -> usize {
        let all = self.queues.values_mut().flat_map(KindQueue::take_all);
        all.map(|request| request.answer(Err(why))).count()
    }

    fn next_kind(&mut self, capacity: Capacity) -> Option<QueryKind> {
        if capacity.batches >= MAX_BATCHES_PER_CONNECTION {
            return None;
        }
        for kind in capacity.excluded.iter() {
            if !self.queues[kind].is_empty() {
                self.forfeit_share(kind);
            }
        }
        let candidates = || {
            self.queues.iter().filter(|(kind, queue)| !queue.is_empty() && !capacity.excluded.contains(*kind))
        };
        let (kind, _) = candidates().min_by_key(|(kind, _)| self.served[*kind])?;
        let waiting: usize = candidates().map(|(_, queue)| queue.len()).sum();
        (capacity.batches == 0 || should_dispatch_behind(kind, waiting, capacity.only_behind)).then_some(kind)
    }

    /// A kind that had no requests, or could not be served, has no claim to what others were served meanwhile.
    fn forfeit_share(&mut self, kind: QueryKind) {
        self.served[kind] = self.served[kind].max(self.virtual_time);
    }

    fn cost(&self) -> u64 {
        self.queues.values().map(KindQueue::cost).sum()
    }

    /// The kind whose waiting requests cost most, with `more` added.
    fn costliest(&self, more: impl Fn(QueryKind) -> u64) -> QueryKind {
        let costs = self.queues.iter().map(|(kind, queue)| (kind, queue.cost() + more(kind)));
        costs.max_by_key(|(_, cost)| *cost).map_or(QueryKind::Page, |(kind, _)| kind)
    }
}

/// Whether a kind may be sent behind batches in flight. If not, those end first, and no further batch is sent before it.
fn should_dispatch_behind(kind: QueryKind, waiting: usize, only_behind: Option<QueryKind>) -> bool {
    only_behind.is_none_or(|only| only == kind)
        && (!kind.is_batched() || waiting >= MIN_REQUESTS_BEHIND_BATCH)
}

#[cfg(test)]
mod tests;
