//! Requests of one kind that wait. Client connections take turns by what their answers cost, whoever asks for much waits
//! behind who asks for little: start-time fair queueing (Goyal, Vin and Cheng, 1996).
//!
//! The line has a clock, which shows the place of the request that was taken last. The next request of a connection has
//! its place where the one before it ends, but not in the past. So with nothing to share, they are taken as they come.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Ask;
use crate::catalogue::kind::Kind;
use crate::http::problem::Unavailable;
use crate::net::client::Client;

/// When a request may begin on the line's clock; then the order of coming.
pub(super) type Place = (u64, u64);

/// Requests of one kind.
#[derive(Default)]
pub(super) struct Line {
    asks: BTreeMap<Place, Ask>,
    cost: u64,
    clock: u64,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.asks.len()
    }

    /// What the answers to all of them cost.
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    /// Whether a further request would be the last.
    pub(super) fn would_be_last(&self, kind: Kind, client: &Client) -> bool {
        self.asks.last_key_value().is_none_or(|(last, _)| last.0 <= self.begin(kind, client))
    }

    /// When the next request of a client may begin.
    fn begin(&self, kind: Kind, client: &Client) -> u64 {
        self.clock.max(client.next(kind))
    }

    /// A request has come, as the `number`th.
    pub(super) fn push(&mut self, mut ask: Ask, number: u64) {
        let begin = self.begin(ask.kind, &ask.client);
        ask.client.set_next(ask.kind, begin + ask.cost());
        ask.place = (begin, number);
        self.push_again(ask);
    }

    /// A request has its place again.
    pub(super) fn push_again(&mut self, ask: Ask) {
        self.cost += ask.cost();
        self.asks.insert(ask.place, ask);
    }

    /// Takes the first requests, at most so many. Refuses those among them that nobody waits for any more.
    pub(super) fn take(&mut self, most: usize, now: Instant) -> Vec<Ask> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((place, ask)) = self.asks.pop_first()
        {
            self.cost -= ask.cost();
            if ask.deadline <= now {
                ask.answer(Err(Unavailable::TimedOut));
            } else {
                self.clock = self.clock.max(place.0);
                taken.push(ask);
            }
        }
        taken
    }

    /// Takes the last one. It is its client's last as well, whose next request takes its place.
    pub(super) fn take_last(&mut self) -> Option<Ask> {
        let (place, ask) = self.asks.pop_last()?;
        self.cost -= ask.cost();
        ask.client.set_next(ask.kind, place.0);
        Some(ask)
    }

    /// Takes all.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Ask> {
        self.cost = 0;
        std::mem::take(&mut self.asks).into_values()
    }
}
