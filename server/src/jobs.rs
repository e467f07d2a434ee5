//! What is asked of the database and waits for it, and how it is put together into jobs. No I/O.
//!
//! A job is one statement. For documents it answers every request for the same kind of document that waits at that
//! moment, so the busier the server is, the less a request costs PostgreSQL; at rest each is sent at once, alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::load::LoadId;
use crate::problem::Unavailable;
use crate::route::Resource;

/// Jobs on one connection at a time: with two, PostgreSQL finds the next one when it has finished the first.
const JOBS_A_CONNECTION: usize = 2;

/// Products that one statement answers for at most: bounds how long a request waits for the others of its statement.
const PRODUCTS_A_JOB: usize = 32;

/// Requests that could share a statement are not sent behind another one unless there are so many: meanwhile more come.
/// The connection is busy either way.
const WORTH_A_JOB: usize = PRODUCTS_A_JOB / 2;

/// Products that requests of one worker may wait for: a tenth of a second's work.
const MAX_WAITING: usize = 1024;

/// A request that waits, or is under way.
pub struct Ask {
    /// What is asked for.
    pub resource: Resource,
    /// Where its answer goes.
    pub answer: oneshot::Sender<Result<Answer, Unavailable>>,
    /// When its client is told that it took too long.
    pub deadline: Instant,
    /// How many times it was under way when its connection broke.
    pub broken: usize,
}

impl Ask {
    /// Answers it. Whoever asked may have gone.
    pub fn answer(self, answer: Result<Answer, Unavailable>) {
        let _ = self.answer.send(answer);
    }

    /// Products that it is for, at most: what its answer costs. Those of a page cost a tenth of one with its styles.
    fn products(&self) -> usize {
        match &self.resource {
            Resource::Document(..) => 1,
            Resource::Page(page) => 1 + page.count as usize / 10,
            Resource::Products(ids) => 1 + ids.len() / 10,
        }
    }

    /// Whether one statement can answer others too.
    fn shares(&self) -> bool {
        matches!(self.resource, Resource::Document(..))
    }

    /// Whether one statement can answer both.
    fn shares_with(&self, other: &Ask) -> bool {
        match (&self.resource, &other.resource) {
            (Resource::Document(one, _), Resource::Document(other, _)) => one == other,
            _ => false,
        }
    }
}

/// What the database had to say.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The load that it is from.
    pub load: LoadId,
    /// The body, or nothing if there is no such product.
    pub body: Option<Bytes>,
    /// Products in all, for a page.
    pub total: Option<i32>,
    /// From sending the statement to its last row.
    pub database: Duration,
    /// For the rows of the whole statement to become bodies.
    pub render: Duration,
}

/// Requests that wait, the one that has waited longest first.
#[derive(Default)]
pub struct Queue {
    asks: VecDeque<Ask>,
    /// The sum of what they are for.
    products: usize,
}

impl Queue {
    /// Whether so much waits that a further request is refused.
    pub fn is_full(&self) -> bool {
        self.products >= MAX_WAITING
    }

    /// A request has come.
    pub fn push(&mut self, ask: Ask) {
        self.products += ask.products();
        self.asks.push_back(ask);
    }

    /// Requests of a job that has failed wait again, before all others.
    pub fn push_again(&mut self, job: Vec<Ask>) {
        for ask in job.into_iter().rev() {
            self.products += ask.products();
            self.asks.push_front(ask);
        }
    }

    /// Whether a connection with so many jobs gets another one now.
    pub fn is_time(&self, jobs: usize) -> bool {
        let Some(first) = self.asks.front() else { return false };
        let worth_it = !first.shares() || self.asks.len() >= WORTH_A_JOB;
        jobs == 0 || (jobs < JOBS_A_CONNECTION && worth_it)
    }

    /// The request that has waited longest, with all that can share its statement. Refuses those that nobody waits for
    /// any more, and all of them where there is no room for answers.
    pub fn next_job(&mut self, now: Instant, room: bool) -> Vec<Ask> {
        if !room {
            self.refuse_all(Unavailable::Full);
        }
        let mut job: Vec<Ask> = Vec::new();
        let mut at = 0;
        while at < self.asks.len() && job.len() < PRODUCTS_A_JOB {
            let ask = &self.asks[at];
            if ask.deadline <= now {
                if let Some(ask) = self.remove(at) {
                    ask.answer(Err(Unavailable::TimedOut));
                }
            } else if job.first().is_none_or(|first| first.shares_with(ask)) {
                job.extend(self.remove(at));
                if job.first().is_some_and(|first| !first.shares()) {
                    break; // there is nothing to look for
                }
            } else {
                at += 1;
            }
        }
        job
    }

    /// Refuses all that wait.
    pub fn refuse_all(&mut self, why: Unavailable) {
        for ask in std::mem::take(self).asks {
            ask.answer(Err(why));
        }
    }

    fn remove(&mut self, at: usize) -> Option<Ask> {
        let ask = self.asks.remove(at)?;
        self.products -= ask.products();
        Some(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Document, Page};

    type Answered = oneshot::Receiver<Result<Answer, Unavailable>>;

    /// Requests that wait, and where their answers come.
    struct Waiting {
        queue: Queue,
        answers: Vec<Answered>,
        now: Instant,
    }

    impl Waiting {
        fn new() -> Waiting {
            Waiting { queue: Queue::default(), answers: Vec::new(), now: Instant::now() }
        }

        fn push(&mut self, resource: Resource, patience: Duration) {
            let (answer, answered) = oneshot::channel();
            self.answers.push(answered);
            self.queue.push(Ask { resource, answer, deadline: self.now + patience, broken: 0 });
        }

        fn documents(&mut self, document: Document, ids: std::ops::RangeInclusive<i32>) {
            for id in ids {
                self.push(Resource::Document(document, id), Duration::from_secs(5));
            }
        }

        fn page(&mut self, count: i32) {
            self.push(Resource::Page(Page { page: 1, count }), Duration::from_secs(5));
        }

        /// What the next job is for; 0 is a page.
        fn next_job(&mut self) -> Vec<i32> {
            let job = self.queue.next_job(self.now, true);
            job.iter().map(|ask| ask.resource.product().unwrap_or(0)).collect()
        }

        /// What was refused so far, by the order of coming.
        fn refused(&mut self) -> Vec<(usize, Unavailable)> {
            let answers = self.answers.iter_mut().enumerate();
            answers.filter_map(|(at, answer)| Some((at, answer.try_recv().ok()?.err()?))).collect()
        }

        /// The running sum is the sum.
        fn assert_sum(&self) {
            assert_eq!(self.queue.products, self.queue.asks.iter().map(Ask::products).sum::<usize>());
        }
    }

    #[test]
    fn requests_for_the_same_document_share_a_job_and_pages_do_not() {
        let mut waiting = Waiting::new();
        waiting.documents(Document::Styles, 1..=2);
        waiting.page(5);
        waiting.documents(Document::Product, 3..=3);
        waiting.page(5);
        waiting.documents(Document::Styles, 4..=40);
        let expected: Vec<i32> = (1..=2).chain(4..=33).collect();
        assert_eq!(waiting.next_job(), expected, "the longest waiting first, 32 at most");
        waiting.assert_sum();
        for expected in [vec![0], vec![3], vec![0], (34..=40).collect(), vec![]] {
            assert_eq!(waiting.next_job(), expected);
            waiting.assert_sum();
        }
        assert_eq!(waiting.queue.products, 0);
    }

    #[test]
    fn a_second_job_on_a_connection_waits_until_it_is_worth_it() {
        let mut waiting = Waiting::new();
        assert!(!waiting.queue.is_time(0), "nothing waits");
        waiting.documents(Document::Product, 1..=15);
        assert!(waiting.queue.is_time(0) && !waiting.queue.is_time(1));
        waiting.documents(Document::Product, 16..=16);
        assert!(waiting.queue.is_time(1) && !waiting.queue.is_time(2));
        waiting.next_job();
        waiting.page(5);
        assert!(waiting.queue.is_time(1) && !waiting.queue.is_time(2), "nobody shares a page's");
    }

    #[test]
    fn it_is_full_by_what_answers_cost() {
        let mut waiting = Waiting::new();
        waiting.documents(Document::Product, 1..=1023);
        assert!(!waiting.queue.is_full());
        waiting.page(1);
        assert!(waiting.queue.is_full());
        let job = waiting.queue.next_job(waiting.now, true);
        assert!(!waiting.queue.is_full());
        waiting.queue.push_again(job);
        assert!(waiting.queue.is_full(), "what waits again counts again");
        assert_eq!(waiting.next_job()[..3], [1, 2, 3], "and comes first, in its order");
        waiting.assert_sum();

        let mut waiting = Waiting::new();
        for _ in 0..10 {
            assert!(!waiting.queue.is_full());
            waiting.page(1000);
            waiting.push(Resource::Products(vec![1; 100].into()), Duration::from_secs(5));
        }
        assert!(waiting.queue.is_full(), "{}", waiting.queue.products);
    }

    #[test]
    fn who_has_waited_too_long_or_finds_no_room_is_refused() {
        let mut waiting = Waiting::new();
        waiting.documents(Document::Product, 1..=1);
        waiting.push(Resource::Document(Document::Product, 2), Duration::ZERO);
        waiting.documents(Document::Styles, 3..=3);
        waiting.push(Resource::Document(Document::Styles, 4), Duration::ZERO);
        assert_eq!(waiting.next_job(), [1]);
        assert_eq!(waiting.refused(), [(1, Unavailable::TimedOut), (3, Unavailable::TimedOut)]);
        waiting.assert_sum();

        waiting.documents(Document::Profile, 5..=6);
        assert!(waiting.queue.next_job(waiting.now, false).is_empty());
        let full = [2, 4, 5].map(|at| (at, Unavailable::Full));
        assert_eq!(waiting.refused(), full);
        assert_eq!(waiting.queue.products, 0);
    }
}
