//! The queue, without a database.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::*;
use crate::catalogue::resource::{Document, ProductPage};
use crate::database::pending::AnswerReceiver;

const FREE: Capacity = Capacity { batches: 0, excluded: QueryKinds::EMPTY, only_behind: None };
const BUSY: Capacity = Capacity { batches: 1, ..FREE };

const PRODUCT: QueryKind = QueryKind::Document(Document::Product);
const STYLES: QueryKind = QueryKind::Document(Document::Styles);

/// Waiting requests, and the receivers of their answers.
struct Waiting {
    queue: Queue,
    answers: Vec<AnswerReceiver>,
    now: Instant,
}

impl Waiting {
    fn new() -> Waiting {
        Waiting { queue: Queue::default(), answers: Vec::new(), now: Instant::now() }
    }

    /// Also checks that `would_refuse` predicts the outcome.
    fn push(&mut self, flow: &Rc<Flow>, resource: Resource, timeout: Duration) {
        let would_refuse = self.queue.would_refuse(&resource, flow);
        let (request, mut answer) = PendingRequest::new(resource, flow, self.now + timeout);
        let refused = self.queue.push(request);
        if refused < 2 {
            assert_eq!(would_refuse, answer.try_recv().is_ok());
        }
        if !would_refuse {
            self.answers.push(answer);
        }
    }

    /// Requests for documents, each from a client of its own.
    fn documents(&mut self, document: Document, ids: std::ops::RangeInclusive<i32>) {
        for id in ids {
            self.document(&Rc::default(), document, id);
        }
    }

    fn document(&mut self, flow: &Rc<Flow>, document: Document, id: i32) {
        self.push(flow, Resource::Document(document, id), Duration::from_secs(5));
    }

    fn page(&mut self, flow: &Rc<Flow>, count: i32) {
        self.push(flow, Resource::Page(ProductPage { page: 1, count }), Duration::from_secs(5));
    }

    fn batch(&mut self, capacity: Capacity) -> Vec<PendingRequest> {
        self.queue.next_batch(capacity, self.now).map_or(Vec::new(), Batch::into_requests)
    }

    /// The products of the next batch; 0 is a page.
    fn next_batch(&mut self) -> Vec<i32> {
        self.batch(FREE).iter().map(|request| request.resource.product().unwrap_or(0)).collect()
    }

    fn next_kind(&mut self, capacity: Capacity) -> Option<QueryKind> {
        self.batch(capacity).first().map(|request| request.kind)
    }

    /// What was refused so far, in the order of arrival.
    fn refused(&mut self) -> Vec<(usize, Unavailable)> {
        let answers = self.answers.iter_mut().enumerate();
        answers.filter_map(|(at, answer)| Some((at, answer.try_recv().ok()?.err()?))).collect()
    }
}

#[test]
fn documents_of_one_kind_are_batched_and_pages_are_not() {
    let mut waiting = Waiting::new();
    let client = Rc::default();
    waiting.documents(Document::Styles, 1..=2);
    waiting.page(&client, 5);
    waiting.page(&client, 5);
    waiting.documents(Document::Styles, 3..=40);
    let mut batches: Vec<Vec<i32>> = Vec::new();
    while let Some(batch) = Some(waiting.next_batch()).filter(|batch| !batch.is_empty()) {
        batches.push(batch);
    }
    batches.sort();
    assert_eq!(batches, [vec![0], vec![0], (1..=32).collect(), (33..=40).collect()]);
}

#[test]
fn a_second_batch_on_a_connection_waits_for_enough_requests() {
    for (documents, pages, capacity, expected) in [
        (0, 0, FREE, None),
        (1, 0, FREE, Some(PRODUCT)),
        (15, 0, BUSY, None),
        (16, 0, BUSY, Some(PRODUCT)),
        (16, 0, Capacity { batches: 2, ..FREE }, None),
        (0, 1, BUSY, Some(QueryKind::Page)),
        (0, 1, Capacity { batches: 2, ..FREE }, None),
        (16, 0, Capacity { only_behind: Some(PRODUCT), ..BUSY }, Some(PRODUCT)),
        (16, 1, Capacity { only_behind: Some(QueryKind::Page), ..BUSY }, Some(QueryKind::Page)),
        (16, 0, Capacity { only_behind: Some(QueryKind::Page), ..BUSY }, None),
        (16, 0, Capacity { excluded: PRODUCT.into(), ..FREE }, None),
        (1, 1, Capacity { excluded: QueryKind::Page.into(), ..FREE }, Some(PRODUCT)),
    ] {
        let mut waiting = Waiting::new();
        waiting.documents(Document::Product, 1..=documents);
        (0..pages).for_each(|_| waiting.page(&Rc::default(), 5));
        assert_eq!(
            waiting.next_kind(capacity),
            expected,
            "{documents} documents, {pages} pages, {capacity:?}"
        );
    }
}

#[test]
fn a_kind_that_must_not_be_sent_behind_another_is_sent_after_it() {
    let mut waiting = Waiting::new();
    (0..3).for_each(|_| waiting.page(&Rc::default(), 1000));
    assert_eq!(waiting.batch(FREE)[0].kind, QueryKind::Page);
    waiting.documents(Document::Product, 1..=1);
    let behind = Capacity { only_behind: Some(QueryKind::Page), ..BUSY };
    assert_eq!(waiting.next_kind(behind), None, "no further page is sent before it");
    assert_eq!(waiting.batch(FREE)[0].kind, PRODUCT);
    assert_eq!(waiting.next_kind(behind), Some(QueryKind::Page));
}

#[test]
fn kinds_share_by_the_cost_of_their_answers() {
    let mut waiting = Waiting::new();
    for _ in 0..20 {
        waiting.page(&Rc::default(), 1000); // 101 each
    }
    waiting.documents(Document::Product, 1..=640);
    let mut cost = [0, 0];
    while let batch = waiting.batch(FREE)
        && waiting.queue.has_other_than(QueryKind::Page.into())
    {
        let of_pages = usize::from(batch[0].kind == QueryKind::Page);
        cost[of_pages] += batch.iter().map(PendingRequest::cost).sum::<u64>();
        assert!(cost[0].abs_diff(cost[1]) <= 101 + 32, "{cost:?}");
    }
    // A kind without requests does not save up its share.
    for _ in 0..5 {
        waiting.page(&Rc::default(), 1000);
    }
    waiting.documents(Document::Product, 1..=320);
    let first: Vec<QueryKind> = (0..6).filter_map(|_| waiting.next_kind(FREE)).collect();
    assert!(first.contains(&QueryKind::Page) && first.contains(&PRODUCT), "{first:?}");
}

#[test]
fn a_kind_that_was_excluded_does_not_save_up_its_share() {
    let mut waiting = Waiting::new();
    waiting.documents(Document::Styles, 1..=640);
    waiting.documents(Document::Product, 1..=1280);
    let capacity = Capacity { excluded: STYLES.into(), ..FREE };
    for _ in 0..20 {
        assert_eq!(waiting.next_kind(capacity), Some(PRODUCT));
    }
    let next: Vec<QueryKind> = (0..6).filter_map(|_| waiting.next_kind(FREE)).collect();
    let styles = next.iter().filter(|kind| **kind == STYLES).count();
    assert!((2..=4).contains(&styles), "{next:?}");
}

#[test]
fn within_a_kind_client_connections_share_fairly() {
    let mut waiting = Waiting::new();
    let [greedy, modest] = [(); 2].map(|()| Rc::default());
    for id in 1..=100 {
        waiting.document(&greedy, Document::Styles, id);
    }
    assert_eq!(
        waiting.next_batch(),
        (1..=32).collect::<Vec<i32>>(),
        "without competition it gets everything"
    );
    waiting.document(&modest, Document::Styles, 1001);
    waiting.document(&modest, Document::Styles, 1002);
    let batch = waiting.next_batch();
    assert!(batch[..4].contains(&1001) && batch[..4].contains(&1002), "{batch:?}");

    let mut waiting = Waiting::new();
    for _ in 0..10 {
        waiting.page(&greedy, 1000);
    }
    waiting.page(&modest, 10);
    let begins: Vec<u64> = (0..2).flat_map(|_| waiting.batch(FREE)).map(|request| request.cost()).collect();
    assert_eq!(begins, [101, 2]);
}

#[test]
fn restored_requests_keep_their_position() {
    let mut waiting = Waiting::new();
    waiting.documents(Document::Styles, 1..=40);
    waiting.page(&Rc::default(), 5);
    let batch = waiting.batch(FREE);
    let batches = [waiting.batch(FREE), waiting.batch(FREE)];
    for batch in batches.into_iter().chain([batch]) {
        waiting.queue.restore(batch);
    }
    let mut found: Vec<Vec<i32>> = (0..3).map(|_| waiting.next_batch()).collect();
    found.sort();
    assert_eq!(found, [vec![0], (1..=32).collect(), (33..=40).collect()]);
    assert!(waiting.next_batch().is_empty());
}

#[test]
fn a_full_queue_refuses_requests_of_the_costliest_kind_and_client() {
    let most = MAX_WAITING_COST as i32;
    let full = |at| (at, Unavailable::Overloaded);
    // With one kind, the newest requests.
    let mut waiting = Waiting::new();
    waiting.documents(Document::Product, 1..=most + 10);
    assert_eq!(waiting.answers.len(), most as usize);
    assert_eq!(waiting.refused(), []);
    // Of the costliest kind, in favour of another.
    waiting.documents(Document::Styles, 1..=2);
    assert_eq!(waiting.refused(), [full(most as usize - 2), full(most as usize - 1)]);
    // As many as necessary.
    waiting.page(&Rc::default(), 1000);
    assert_eq!(waiting.refused().len(), 101);
    // Within a kind, those of the client with most requests.
    let mut waiting = Waiting::new();
    let greedy = Rc::default();
    for id in 1..=most {
        waiting.document(&greedy, Document::Product, id);
    }
    waiting.documents(Document::Product, 1..=3);
    let last = most as usize;
    assert_eq!(waiting.refused(), [full(last - 3), full(last - 2), full(last - 1)]);
    // Refused requests do not delay the next one of that client.
    let place = greedy.next_start(PRODUCT);
    waiting.document(&greedy, Document::Product, 1);
    assert_eq!(greedy.next_start(PRODUCT), place);
    assert_eq!(place, MAX_WAITING_COST - 3);
    // Pages cost more.
    let mut waiting = Waiting::new();
    for _ in 0..100 {
        waiting.page(&Rc::default(), 1000);
    }
    assert_eq!(waiting.answers.len(), (MAX_WAITING_COST / 101) as usize);
}

#[test]
fn requests_are_refused_after_their_deadline_or_all_together() {
    let mut waiting = Waiting::new();
    waiting.documents(Document::Product, 1..=1);
    waiting.push(&Rc::default(), Resource::Document(Document::Product, 2), Duration::ZERO);
    waiting.documents(Document::Product, 3..=3);
    waiting.push(&Rc::default(), Resource::Document(Document::Styles, 4), Duration::ZERO);
    assert_eq!(waiting.next_batch(), [1, 3]);
    assert!(waiting.next_batch().is_empty());
    assert_eq!(waiting.refused(), [1, 3].map(|at| (at, Unavailable::TimedOut)));

    waiting.documents(Document::Profile, 5..=6);
    assert_eq!(waiting.queue.refuse_all(Unavailable::Overloaded), 2);
    assert_eq!(waiting.refused(), [4, 5].map(|at| (at, Unavailable::Overloaded)));
    assert!(waiting.next_batch().is_empty());
}
