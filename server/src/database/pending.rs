//! Requests that wait for the database or were sent to it, and their answers. No I/O.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::catalogue::load_id::LoadId;
use crate::catalogue::query_kind::QueryKind;
use crate::catalogue::resource::Resource;
use crate::database::flow::Flow;
use crate::database::unavailable::Unavailable;

pub(crate) struct PendingRequest {
    pub(crate) resource: Resource,
    pub(crate) kind: QueryKind,
    pub(crate) flow: Rc<Flow>,
    /// When the client is told that the answer took too long.
    pub(crate) deadline: Instant,
    pub(crate) position: Position,
    /// How often it was sent again because its connection failed.
    pub(crate) retries: usize,
    pub(crate) was_sent: bool,
    answer: oneshot::Sender<Result<Answer, Unavailable>>,
}

/// In a `KindQueue`: the virtual time at which it may start, then the order of arrival.
pub(crate) type Position = (u64, u64);

pub(crate) type AnswerReceiver = oneshot::Receiver<Result<Answer, Unavailable>>;

impl PendingRequest {
    pub(crate) fn new(
        resource: Resource,
        flow: &Rc<Flow>,
        deadline: Instant,
    ) -> (PendingRequest, AnswerReceiver) {
        let (answer, receiver) = oneshot::channel();
        let request = PendingRequest {
            kind: QueryKind::of(&resource),
            resource,
            flow: Rc::clone(flow),
            deadline,
            position: Position::default(),
            retries: 0,
            was_sent: false,
            answer,
        };
        (request, receiver)
    }

    pub(crate) fn answer(self, answer: Result<Answer, Unavailable>) {
        let _ = self.answer.send(answer); // the client may have disconnected
    }

    pub(crate) fn cost(&self) -> u64 {
        cost(&self.resource)
    }
}

/// What an answer costs, in products with their styles. A product on a page costs a tenth of that.
pub(crate) fn cost(resource: &Resource) -> u64 {
    match resource {
        Resource::Document(..) => 1,
        Resource::Page(page) => 1 + u64::from(page.count.unsigned_abs()) / 10,
        Resource::Products(ids) => 1 + ids.len() as u64 / 10,
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) load: LoadId,
    /// `None` if there is no such product.
    pub(crate) body: Option<Bytes>,
    /// For a page, the number of all products.
    pub(crate) total: Option<i32>,
    /// From sending the statement to its last row.
    pub(crate) database: Duration,
    /// For rendering all answers of the batch.
    pub(crate) render: Duration,
}
