//! What each worker has for itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::Response;

use crate::database::pool::Pool;
use crate::database::unavailable::Unavailable;
use crate::http::body::Body;
use crate::http::headers::LoadHeaders;
use crate::http::refusal::Refusal;
use crate::net::connections::Connections;
use crate::shared::Shared;
use crate::telemetry::counters::Counters;

/// What one thread answers requests with. No other thread writes to any of it: if a core had to fetch a cache line from
/// another core for every request, that would cost more than most of the request's work.
pub(crate) struct Worker {
    pub(crate) shared: &'static Shared,
    pub(crate) pool: Rc<Pool>,
    pub(crate) counters: &'static Counters,
    pub(crate) connections: Rc<Connections>,
    /// The answer to requests that are refused because of overload.
    pub(crate) overloaded: Response<Body>,
    /// Client connections that are not parked.
    pub(crate) awake: Cell<usize>,
    load_headers: RefCell<CachedLoadHeaders>,
}

#[derive(Default)]
struct CachedLoadHeaders {
    /// That of `Published` for which they were made.
    version: u64,
    headers: Option<Rc<LoadHeaders>>,
}

impl Worker {
    /// Workers are numbered from 0.
    pub(crate) fn new(shared: &'static Shared, number: usize) -> Worker {
        Worker {
            shared,
            pool: Pool::start(shared),
            counters: shared.metrics.counters.worker(number),
            connections: Connections::new(shared.config.connection_bytes, &shared.metrics.limits),
            overloaded: Refusal::Unavailable(Unavailable::Overloaded).response(&shared.config),
            awake: Cell::new(0),
            load_headers: RefCell::default(),
        }
    }

    /// The headers of the published load; `None` if no load is published.
    pub(crate) fn load_headers(&self) -> Option<Rc<LoadHeaders>> {
        let mut cached = self.load_headers.borrow_mut();
        let version = self.shared.published.version();
        if cached.version != version {
            let headers =
                self.shared.published.load().map(|load| Rc::new(LoadHeaders::new(&self.shared.config, load)));
            *cached = CachedLoadHeaders { version, headers };
        }
        cached.headers.clone()
    }
}
