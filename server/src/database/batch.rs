//! What is asked of the database and waits for it, and how it is put together into jobs. No I/O.
//!
//! A job is one statement. For documents it answers every request for the same kind of document that waits at that
//! moment, so the busier the server is, the less a request costs PostgreSQL; at rest each is sent at once, alone.

mod line;
mod queue;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::catalogue::kind::Kind;
use crate::catalogue::load_id::LoadId;
use crate::http::problem::Unavailable;
use crate::http::route::Resource;
use crate::net::client::Client;

pub use queue::{Queue, Room};

/// A request that waits, or is under way.
pub struct Ask {
    /// What is asked for.
    pub resource: Resource,
    /// How many times it was under way when its connection broke.
    pub broken: usize,
    /// Whether a statement was sent for it.
    pub sent: bool,
    kind: Kind,
    client: Rc<Client>,
    answer: oneshot::Sender<Result<Answer, Unavailable>>,
    /// When its client is told that it took too long.
    deadline: Instant,
    place: line::Place,
}

/// Where the answer to a request comes.
pub type Answered = oneshot::Receiver<Result<Answer, Unavailable>>;

impl Ask {
    /// A request of `client`.
    pub fn new(resource: Resource, client: &Rc<Client>, deadline: Instant) -> (Ask, Answered) {
        let (answer, answered) = oneshot::channel();
        let (kind, client) = (Kind::of(&resource), Rc::clone(client));
        let place = line::Place::default();
        (Ask { resource, broken: 0, sent: false, kind, client, answer, deadline, place }, answered)
    }

    /// What it is answered with.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Answers it. Whoever asked may have gone.
    pub fn answer(self, answer: Result<Answer, Unavailable>) {
        let _ = self.answer.send(answer);
    }

    fn cost(&self) -> u64 {
        cost(&self.resource)
    }
}

/// What an answer costs, in products with their styles. Those of a page cost a tenth of one.
fn cost(resource: &Resource) -> u64 {
    match resource {
        Resource::Document(..) => 1,
        Resource::Page(page) => 1 + u64::from(page.count.unsigned_abs()) / 10,
        Resource::Products(ids) => 1 + ids.len() as u64 / 10,
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
