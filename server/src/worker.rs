//! What each thread has for itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::Response;

use crate::database::Database;
use crate::http::headers::Labels;
use crate::http::respond::{self, Body};
use crate::net::activity::Activity;
use crate::net::connections::Connections;
use crate::shared::Shared;
use crate::telemetry::counters::Tally;
use crate::telemetry::limits::Limit;

/// What one thread has to answer requests with. Nothing of it is written to by another thread: a core that has to
/// fetch a line of memory from another one for every request loses more by it than by most of the request's work.
pub struct Worker {
    /// What it has in common with the others.
    pub shared: &'static Shared,
    /// Its own connections.
    pub database: Rc<Database>,
    /// Its own counters.
    pub tally: &'static Tally,
    /// Its clients' connections.
    pub connections: Rc<Connections>,
    /// What those are told for whom there is no room.
    pub full: Response<Body>,
    /// Client connections that are not parked.
    pub awake: Cell<usize>,
    published: RefCell<Published>,
}

/// What the worker knows of the published load.
#[derive(Default)]
struct Published {
    /// [`Shared::changes`], as it was then.
    changes: u64,
    labels: Option<Rc<Labels>>,
}

impl Worker {
    /// The worker of this number, from 0.
    pub fn new(shared: &'static Shared, number: usize) -> Worker {
        Worker {
            shared,
            database: Database::start(shared),
            tally: shared.metrics.tallies.of(number),
            connections: Connections::new(shared.config.connection_bytes, &shared.metrics.limits),
            full: respond::full(&shared.config),
            awake: Cell::new(0),
            published: RefCell::default(),
        }
    }

    /// A client does not keep up: its connection is about to be closed, and what it has not taken thrown away.
    pub fn close_slow(&self, activity: &Activity, why: &'static str) {
        activity.give_way();
        // Who has sent a body may ask no more on its connection, and knows nothing of that.
        if !activity.had_body() {
            self.shared.metrics.limits.bite(Limit::SlowClients);
        }
        tracing::debug!(why, "a connection is closed");
    }

    /// The published load and its headers; nothing if none is published.
    pub fn labels(&self) -> Option<Rc<Labels>> {
        let mut published = self.published.borrow_mut();
        let changes = self.shared.changes();
        if published.changes != changes {
            let labels = self.shared.load().map(|load| Rc::new(Labels::new(&self.shared.config, load)));
            *published = Published { changes, labels };
        }
        published.labels.clone()
    }
}
