//! What the server counts, in Prometheus's text format. Counters are looked up once, at the start: counting a request
//! is an atomic addition.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::cache::Cache;
use crate::load::LoadId;
use crate::route::Name;

/// Every status that an answer can have.
const STATUSES: [StatusCode; 9] = [
    StatusCode::OK,
    StatusCode::NO_CONTENT,
    StatusCode::NOT_MODIFIED,
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::URI_TOO_LONG,
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Upper bounds in seconds: from an answer out of the cache to the usual request time-out.
const LATENCY_SECONDS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];

type Labels = Vec<(&'static str, String)>;

/// The counters. Handles are cheap to clone and shared.
#[derive(Default)]
pub struct Metrics {
    requests: Vec<[Counter; STATUSES.len()]>,
    latency: Vec<Histogram>,
    /// Requests being answered.
    pub in_flight: Gauge,
    /// Open client connections.
    pub connections: Gauge,
    /// Answers from the cache.
    pub cache_hits: Counter,
    /// Answers that had to be made.
    pub cache_misses: Counter,
    /// Statements sent to the database.
    pub round_trips: Counter,
    /// Requests that those statements were for: more than statements, since requests that wait share one.
    pub shared: Counter,
    /// Statements that failed.
    pub database_errors: Counter,
    /// Connections to the database made again after they were lost.
    pub reconnects: Counter,
    cache_bytes: Gauge,
    body_bytes: Gauge,
    load: Family<Labels, Gauge<i64, AtomicI64>>,
    registry: Registry,
}

impl Metrics {
    /// All counters, at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("atelier");
        let requests: Family<Labels, Counter<u64, AtomicU64>> = Family::default();
        let latency: Family<Labels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(LATENCY_SECONDS));
        registry.register("http_requests", "Requests answered, by route and status", requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's headers to its answer, by route",
            Unit::Seconds,
            latency.clone(),
        );
        let route = |name: Name| ("route", name.as_str().to_owned());
        let mut metrics = Metrics {
            requests: Name::ALL
                .map(|name| {
                    STATUSES.map(|status| {
                        requests
                            .get_or_create_owned(&vec![route(name), ("status", status.as_str().to_owned())])
                    })
                })
                .into(),
            latency: Name::ALL.map(|name| latency.get_or_create_owned(&vec![route(name)])).into(),
            ..Metrics::default()
        };
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The server's version", build);
        registry.register("http_requests_in_flight", "Requests being answered", metrics.in_flight.clone());
        registry.register("http_connections", "Open client connections", metrics.connections.clone());
        registry.register("cache_hits", "Answers from the cache", metrics.cache_hits.clone());
        registry.register("cache_misses", "Answers that had to be made", metrics.cache_misses.clone());
        registry.register_with_unit("cache", "What is cached", Unit::Bytes, metrics.cache_bytes.clone());
        registry.register_with_unit(
            "bodies",
            "All bodies, cached or on their way to a client",
            Unit::Bytes,
            metrics.body_bytes.clone(),
        );
        registry.register(
            "database_round_trips",
            "Statements sent to the database",
            metrics.round_trips.clone(),
        );
        registry.register(
            "database_requests",
            "Requests that those statements were for: those that wait at the same time share one",
            metrics.shared.clone(),
        );
        registry.register("database_errors", "Statements that failed", metrics.database_errors.clone());
        registry.register(
            "database_reconnects",
            "Connections to the database made again after they were lost",
            metrics.reconnects.clone(),
        );
        registry.register("load", "The published load that is served", metrics.load.clone());
        metrics.registry = registry;
        metrics
    }

    /// A request was answered.
    pub fn answered(&self, name: Name, status: StatusCode, took: Duration) {
        if let Some(index) = STATUSES.iter().position(|known| *known == status) {
            self.requests[name as usize][index].inc();
        }
        self.latency[name as usize].observe(took.as_secs_f64());
    }

    /// Another load is served from now on.
    pub fn serve(&self, load: LoadId) {
        self.load.clear();
        self.load.get_or_create_owned(&vec![("load_id", load.to_string())]).set(1);
    }

    /// No load is published any more.
    pub fn serve_nothing(&self) {
        self.load.clear();
    }

    /// The text of `/metrics`.
    pub fn text(&self, cache: &Cache) -> String {
        self.cache_bytes.set(i64::try_from(cache.bytes()).unwrap_or(i64::MAX));
        self.body_bytes.set(i64::try_from(cache.live_bytes()).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Counts one as long as it lives.
pub struct Counted(Gauge);

impl Counted {
    /// Counts one up in `gauge`.
    pub fn new(gauge: &Gauge) -> Counted {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_shows_what_was_counted() {
        let metrics = Metrics::new();
        metrics.answered(Name::Styles, StatusCode::OK, Duration::from_micros(300));
        metrics.answered(Name::Styles, StatusCode::OK, Duration::from_micros(300));
        let _open = Counted::new(&metrics.connections);
        drop(Counted::new(&metrics.connections));
        metrics.serve(LoadId::parse("01a203b5-40f4-70cd-9b33-f881d2ef1c77").unwrap());
        metrics.serve(LoadId::parse("01a203b5-40f4-70cd-9b33-f881d2ef1c78").unwrap());
        let text = metrics.text(&Cache::new(0));
        for line in [
            r#"atelier_http_requests_total{route="/products/:product_id/styles",status="200"} 2"#,
            r#"atelier_http_request_duration_seconds_bucket{le="0.0005",route="/products/:product_id/styles"} 2"#,
            "atelier_http_connections 1",
            r#"atelier_load{load_id="01a203b5-40f4-70cd-9b33-f881d2ef1c78"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("atelier_load{").count(), 1);
    }
}
