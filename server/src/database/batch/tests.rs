//! The queue, without a database.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::queue::MAX_WAITING;
use super::*;
use crate::catalogue::kind::Kinds;
use crate::http::route::{Document, Page};

const FREE: Room = Room { jobs: 0, blocked: Kinds::NONE, behind: None };
const BUSY: Room = Room { jobs: 1, ..FREE };

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

    /// A request of a client. Whoever would know beforehand that it is refused is right.
    fn push(&mut self, client: &Rc<Client>, resource: Resource, patience: Duration) {
        let refuses = self.queue.refuses(&resource, client);
        let (ask, mut answered) = Ask::new(resource, client, self.now + patience);
        let refused = self.queue.push(ask);
        if refused < 2 {
            assert_eq!(refuses, answered.try_recv().is_ok());
        }
        if !refuses {
            self.answers.push(answered);
        }
    }

    /// Requests for documents, each of a client of its own.
    fn documents(&mut self, document: Document, ids: std::ops::RangeInclusive<i32>) {
        for id in ids {
            self.document(&Rc::default(), document, id);
        }
    }

    fn document(&mut self, client: &Rc<Client>, document: Document, id: i32) {
        self.push(client, Resource::Document(document, id), Duration::from_secs(5));
    }

    fn page(&mut self, client: &Rc<Client>, count: i32) {
        self.push(client, Resource::Page(Page { page: 1, count }), Duration::from_secs(5));
    }

    fn job(&mut self, room: Room) -> Vec<Ask> {
        self.queue.next_job(room, self.now)
    }

    /// What the next job is for; 0 is a page.
    fn next_job(&mut self) -> Vec<i32> {
        self.job(FREE).iter().map(|ask| ask.resource.product().unwrap_or(0)).collect()
    }

    /// What the next job is for; nothing if it is not time.
    fn next_kind(&mut self, room: Room) -> Option<Kind> {
        self.job(room).first().map(Ask::kind)
    }

    /// What was refused so far, by the order of coming.
    fn refused(&mut self) -> Vec<(usize, Unavailable)> {
        let answers = self.answers.iter_mut().enumerate();
        answers.filter_map(|(at, answer)| Some((at, answer.try_recv().ok()?.err()?))).collect()
    }
}

#[test]
fn requests_for_the_same_document_share_a_job_and_pages_do_not() {
    let mut waiting = Waiting::new();
    let somebody = Rc::default();
    waiting.documents(Document::Styles, 1..=2);
    waiting.page(&somebody, 5);
    waiting.page(&somebody, 5);
    waiting.documents(Document::Styles, 3..=40);
    let mut jobs: Vec<Vec<i32>> = Vec::new();
    while let Some(job) = Some(waiting.next_job()).filter(|job| !job.is_empty()) {
        jobs.push(job);
    }
    jobs.sort();
    assert_eq!(jobs, [vec![0], vec![0], (1..=32).collect(), (33..=40).collect()]);
}

#[test]
fn a_second_job_on_a_connection_waits_until_it_is_worth_it() {
    for (documents, pages, room, expected) in [
        (0, 0, FREE, None),
        (1, 0, FREE, Some(Kind::Product)),
        (15, 0, BUSY, None),
        (16, 0, BUSY, Some(Kind::Product)),
        (16, 0, Room { jobs: 2, ..FREE }, None),
        (0, 1, BUSY, Some(Kind::Page)),
        (0, 1, Room { jobs: 2, ..FREE }, None),
        (16, 0, Room { behind: Some(Kind::Product), ..BUSY }, Some(Kind::Product)),
        (16, 1, Room { behind: Some(Kind::Page), ..BUSY }, Some(Kind::Page)),
        (16, 0, Room { behind: Some(Kind::Page), ..BUSY }, None),
        (16, 0, Room { blocked: Kinds::NONE.with(Kind::Product), ..FREE }, None),
        (1, 1, Room { blocked: Kinds::NONE.with(Kind::Page), ..FREE }, Some(Kind::Product)),
    ] {
        let mut waiting = Waiting::new();
        waiting.documents(Document::Product, 1..=documents);
        (0..pages).for_each(|_| waiting.page(&Rc::default(), 5));
        assert_eq!(waiting.next_kind(room), expected, "{documents} documents, {pages} pages, {room:?}");
    }
}

#[test]
fn a_kind_that_may_not_wait_behind_another_has_its_turn_when_that_has_ended() {
    let mut waiting = Waiting::new();
    (0..3).for_each(|_| waiting.page(&Rc::default(), 1000));
    assert_eq!(waiting.job(FREE)[0].kind(), Kind::Page);
    waiting.documents(Document::Product, 1..=1);
    let behind = Room { behind: Some(Kind::Page), ..BUSY };
    assert_eq!(waiting.next_kind(behind), None, "no further page before it");
    assert_eq!(waiting.job(FREE)[0].kind(), Kind::Product);
    assert_eq!(waiting.next_kind(behind), Some(Kind::Page));
}

#[test]
fn kinds_take_turns_by_what_their_answers_cost() {
    let mut waiting = Waiting::new();
    for _ in 0..20 {
        waiting.page(&Rc::default(), 1000); // 101 each
    }
    waiting.documents(Document::Product, 1..=640);
    let mut cost = [0, 0];
    while let job = waiting.job(FREE)
        && waiting.queue.has_other_than(Kinds::NONE.with(Kind::Page))
    {
        let of_pages = usize::from(job[0].kind() == Kind::Page);
        cost[of_pages] += job.iter().map(Ask::cost).sum::<u64>();
        assert!(cost[0].abs_diff(cost[1]) <= 101 + 32, "{cost:?}");
    }
    // Who asks for nothing meanwhile has no claim to what it did not take.
    for _ in 0..5 {
        waiting.page(&Rc::default(), 1000);
    }
    waiting.documents(Document::Product, 1..=320);
    let first: Vec<Kind> = (0..6).filter_map(|_| waiting.next_kind(FREE)).collect();
    assert!(first.contains(&Kind::Page) && first.contains(&Kind::Product), "{first:?}");
}

#[test]
fn a_kind_that_was_blocked_has_no_claim_either() {
    let mut waiting = Waiting::new();
    waiting.documents(Document::Styles, 1..=640);
    waiting.documents(Document::Product, 1..=1280);
    let room = Room { blocked: Kinds::NONE.with(Kind::Styles), ..FREE };
    for _ in 0..20 {
        assert_eq!(waiting.next_kind(room), Some(Kind::Product));
    }
    let next: Vec<Kind> = (0..6).filter_map(|_| waiting.next_kind(FREE)).collect();
    let styles = next.iter().filter(|kind| **kind == Kind::Styles).count();
    assert!((2..=4).contains(&styles), "{next:?}");
}

#[test]
fn within_a_kind_client_connections_take_turns() {
    let mut waiting = Waiting::new();
    let [greedy, modest] = [(); 2].map(|()| Rc::default());
    for id in 1..=100 {
        waiting.document(&greedy, Document::Styles, id);
    }
    assert_eq!(waiting.next_job(), (1..=32).collect::<Vec<i32>>(), "with nobody else it has all");
    waiting.document(&modest, Document::Styles, 1001);
    waiting.document(&modest, Document::Styles, 1002);
    let job = waiting.next_job();
    assert!(job[..4].contains(&1001) && job[..4].contains(&1002), "{job:?}");

    let mut waiting = Waiting::new();
    for _ in 0..10 {
        waiting.page(&greedy, 1000);
    }
    waiting.page(&modest, 10);
    let begins: Vec<u64> = (0..2).flat_map(|_| waiting.job(FREE)).map(|ask| ask.cost()).collect();
    assert_eq!(begins, [101, 2]);
}

#[test]
fn what_waits_again_has_its_place_again() {
    let mut waiting = Waiting::new();
    waiting.documents(Document::Styles, 1..=40);
    waiting.page(&Rc::default(), 5);
    let job = waiting.job(FREE);
    let jobs = [waiting.job(FREE), waiting.job(FREE)];
    for job in jobs.into_iter().chain([job]) {
        waiting.queue.push_again(job);
    }
    let mut found: Vec<Vec<i32>> = (0..3).map(|_| waiting.next_job()).collect();
    found.sort();
    assert_eq!(found, [vec![0], (1..=32).collect(), (33..=40).collect()]);
    assert!(waiting.next_job().is_empty());
}

#[test]
fn when_it_is_full_whoever_has_most_of_it_loses() {
    let most = MAX_WAITING as i32;
    let full = |at| (at, Unavailable::Full);
    // Alone, whoever comes last.
    let mut waiting = Waiting::new();
    waiting.documents(Document::Product, 1..=most + 10);
    assert_eq!(waiting.answers.len(), most as usize);
    assert_eq!(waiting.refused(), []);
    // Of the kind that has most, for one of another.
    waiting.documents(Document::Styles, 1..=2);
    assert_eq!(waiting.refused(), [full(most as usize - 2), full(most as usize - 1)]);
    // As many as it takes.
    waiting.page(&Rc::default(), 1000);
    assert_eq!(waiting.refused().len(), 101);
    // Within a kind, of the client that has most.
    let mut waiting = Waiting::new();
    let greedy = Rc::default();
    for id in 1..=most {
        waiting.document(&greedy, Document::Product, id);
    }
    waiting.documents(Document::Product, 1..=3);
    let last = most as usize;
    assert_eq!(waiting.refused(), [full(last - 3), full(last - 2), full(last - 1)]);
    // Whose place is not further away for what was refused.
    let place = greedy.next(Kind::Product);
    waiting.document(&greedy, Document::Product, 1);
    assert_eq!(greedy.next(Kind::Product), place);
    assert_eq!(place, MAX_WAITING - 3);
    // Of pages, a few.
    let mut waiting = Waiting::new();
    for _ in 0..100 {
        waiting.page(&Rc::default(), 1000);
    }
    assert_eq!(waiting.answers.len(), (MAX_WAITING / 101) as usize);
}

#[test]
fn who_has_waited_too_long_or_finds_no_room_is_refused() {
    let mut waiting = Waiting::new();
    waiting.documents(Document::Product, 1..=1);
    waiting.push(&Rc::default(), Resource::Document(Document::Product, 2), Duration::ZERO);
    waiting.documents(Document::Product, 3..=3);
    waiting.push(&Rc::default(), Resource::Document(Document::Styles, 4), Duration::ZERO);
    assert_eq!(waiting.next_job(), [1, 3]);
    assert!(waiting.next_job().is_empty());
    assert_eq!(waiting.refused(), [1, 3].map(|at| (at, Unavailable::TimedOut)));

    waiting.documents(Document::Profile, 5..=6);
    assert_eq!(waiting.queue.refuse_all(Unavailable::Full), 2);
    assert_eq!(waiting.refused(), [4, 5].map(|at| (at, Unavailable::Full)));
    assert!(waiting.next_job().is_empty());
}
