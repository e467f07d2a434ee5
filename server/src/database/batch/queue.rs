//! Requests that wait: a line for each kind. The kind whose answers have cost least so far has the next job, so that big
//! pages or a rush for one kind leave the others their share.

use std::time::Instant;

use super::line::Line;
use super::{Ask, cost};
use crate::catalogue::kind::{Kind, Kinds};
use crate::http::problem::Unavailable;
use crate::http::route::Resource;
use crate::net::client::Client;

/// Jobs on one connection at a time: with two, PostgreSQL finds the next one when it has finished the first.
const JOBS_A_CONNECTION: usize = 2;

/// Products that one statement answers for at most: bounds how long a request waits for the others of its statement.
const PRODUCTS_A_JOB: usize = 32;

/// Requests that could share a statement are not sent behind another one unless there are so many: meanwhile more come.
/// The connection is busy either way.
const WORTH_A_JOB: usize = PRODUCTS_A_JOB / 2;

/// Products that requests of one worker may wait for: half a second's work. Each takes some 200 bytes here.
pub(super) const MAX_WAITING: u64 = 4096;

/// Requests that wait, of one worker.
#[derive(Default)]
pub struct Queue {
    lines: [Line; Kind::ALL.len()],
    /// For each kind, what its answers have cost so far, and those of others while none of it waited.
    served: [u64; Kind::ALL.len()],
    /// What `served` was for the kind of the last job, before it.
    clock: u64,
    /// Requests so far.
    number: u64,
}

/// What a connection has room for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// Jobs that it has.
    pub jobs: usize,
    /// Kinds that it is not for now.
    pub blocked: Kinds,
    /// Behind the jobs that it has, this kind alone, if that matters.
    pub behind: Option<Kind>,
}

impl Queue {
    /// Whether so much waits that this request would be refused. Cheaper to know before anything is done for it.
    pub fn refuses(&self, resource: &Resource, client: &Client) -> bool {
        let (kind, more) = (Kind::of(resource), cost(resource));
        self.cost() + more > MAX_WAITING
            && self.longest(|line| if line == kind { more } else { 0 }) == kind
            && self.lines[kind as usize].would_be_last(kind, client)
    }

    /// A request has come. Where too much waits, the kind that has most of it loses its last request: perhaps this one.
    /// Gives how many were refused.
    pub fn push(&mut self, ask: Ask) -> usize {
        let kind = ask.kind;
        let line = &mut self.lines[kind as usize];
        if line.len() == 0 {
            // What was not asked for is not saved up.
            self.served[kind as usize] = self.served[kind as usize].max(self.clock);
        }
        self.number += 1;
        line.push(ask, self.number);
        let mut refused = 0;
        while self.cost() > MAX_WAITING {
            let longest = self.longest(|_| 0);
            let Some(last) = self.lines[longest as usize].take_last() else { break };
            last.answer(Err(Unavailable::Full));
            refused += 1;
        }
        refused
    }

    /// Requests that were under way wait again, where they waited before.
    pub fn push_again(&mut self, job: Vec<Ask>) {
        for ask in job {
            let served = &mut self.served[ask.kind as usize];
            *served = served.saturating_sub(ask.cost());
            self.lines[ask.kind as usize].push_again(ask);
        }
    }

    /// Whether any of another kind waits.
    pub fn has_other_than(&self, kinds: Kinds) -> bool {
        Kind::ALL.into_iter().any(|kind| !kinds.contains(kind) && self.lines[kind as usize].len() > 0)
    }

    /// What a connection is sent now: one request, or all that can share its statement; nothing if it is not time.
    /// Refuses those that nobody waits for any more.
    pub fn next_job(&mut self, room: Room, now: Instant) -> Vec<Ask> {
        while let Some(kind) = self.next_kind(room) {
            let most = if kind.shares() { PRODUCTS_A_JOB } else { 1 };
            let job = self.lines[kind as usize].take(most, now);
            if !job.is_empty() {
                self.clock = self.served[kind as usize];
                self.served[kind as usize] += job.iter().map(Ask::cost).sum::<u64>();
                return job;
            }
        }
        Vec::new()
    }

    /// Refuses all that wait. Gives how many.
    pub fn refuse_all(&mut self, why: Unavailable) -> usize {
        let all = self.lines.iter_mut().flat_map(Line::take_all);
        all.map(|ask| ask.answer(Err(why))).count()
    }

    fn next_kind(&mut self, room: Room) -> Option<Kind> {
        if room.jobs >= JOBS_A_CONNECTION {
            return None;
        }
        let (mut next, mut waiting) = (None, 0);
        for kind in Kind::ALL {
            let (line, served) = (&self.lines[kind as usize], &mut self.served[kind as usize]);
            if line.len() == 0 {
                continue;
            }
            if room.blocked.contains(kind) {
                *served = (*served).max(self.clock); // nor is what was not possible
                continue;
            }
            waiting += line.len();
            if next.is_none_or(|(_, least)| *served < least) {
                next = Some((kind, *served));
            }
        }
        let (kind, _) = next?;
        // Where its turn cannot come behind others, they end first, and no further one of theirs begins.
        let may_follow =
            room.behind.is_none_or(|behind| behind == kind) && (!kind.shares() || waiting >= WORTH_A_JOB);
        (room.jobs == 0 || may_follow).then_some(kind)
    }

    fn cost(&self) -> u64 {
        self.lines.iter().map(Line::cost).sum()
    }

    /// The kind that most waits of, with what `more` comes to it.
    fn longest(&self, more: impl Fn(Kind) -> u64) -> Kind {
        let cost = |kind: &Kind| self.lines[*kind as usize].cost() + more(*kind);
        Kind::ALL.into_iter().max_by_key(cost).unwrap_or(Kind::Page)
    }
}
