//! What the server counts, as OpenMetrics. What is counted of every request stands in `tally`.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::catalogue::cache::Cache;
use crate::catalogue::load_id::LoadId;
use crate::telemetry::counters::Tallies;
use crate::telemetry::limits::Limits;

type Labels = Vec<(&'static str, String)>;

/// The counters. Handles are cheap to clone and shared.
#[derive(Default)]
pub struct Metrics {
    /// Of requests, by worker.
    pub tallies: Arc<Tallies>,
    /// Limits that were met.
    pub limits: Arc<Limits>,
    /// Open client connections.
    pub connections: Gauge,
    /// Statements sent to the database.
    pub round_trips: Counter,
    /// Requests that those statements were for: more than statements, since requests that wait share one.
    pub shared: Counter,
    /// Statements that failed.
    pub database_errors: Counter,
    /// Connections to the database made again after they were lost.
    pub reconnects: Counter,
    /// Times that a statement took so long that others were sent around it.
    pub blocked: Counter,
    cache_bytes: Gauge,
    body_bytes: Gauge,
    load: Family<Labels, Gauge<i64, AtomicI64>>,
    registry: Registry,
}

impl Metrics {
    /// All counters, at zero.
    pub fn new(workers: usize) -> Metrics {
        let mut registry = Registry::with_prefix("atelier");
        let tallies = Arc::new(Tallies::new(workers));
        registry.register_collector(Box::new(Arc::clone(&tallies)));
        let mut metrics = Metrics { tallies, ..Metrics::default() };
        registry.register_collector(Box::new(Arc::clone(&metrics.limits)));
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The server's version", build);
        registry.register("http_connections", "Open client connections", metrics.connections.clone());
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
        registry.register(
            "database_blocked",
            "Statements that took long, as those do that wait for a lock: others are sent around them",
            metrics.blocked.clone(),
        );
        registry.register("load", "The published load that is served", metrics.load.clone());
        metrics.registry = registry;
        metrics
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
    use std::time::Duration;

    use http::StatusCode;

    use super::*;
    use crate::http::route::Name;
    use crate::telemetry::limits::Limit;

    #[test]
    fn the_text_shows_what_was_counted() {
        let metrics = Metrics::new(2);
        for worker in 0..2 {
            let tally = metrics.tallies.of(worker);
            let _ended = tally.begin();
            tally.answered(Name::Styles, StatusCode::OK, Duration::from_micros(300));
        }
        let _begun = metrics.tallies.of(1).begin();
        metrics.tallies.of(0).hit();
        metrics.limits.bite(Limit::Bodies);
        let _open = Counted::new(&metrics.connections);
        drop(Counted::new(&metrics.connections));
        metrics.serve(LoadId::parse("01a203b5-40f4-70cd-9b33-f881d2ef1c77").unwrap());
        metrics.serve(LoadId::parse("01a203b5-40f4-70cd-9b33-f881d2ef1c78").unwrap());
        let text = metrics.text(&Cache::new(0));
        for line in [
            r#"atelier_http_requests_total{route="/products/:product_id/styles",status="200"} 2"#,
            r#"atelier_http_request_duration_seconds_bucket{le="0.0005",route="/products/:product_id/styles"} 2"#,
            r#"atelier_http_request_duration_seconds_bucket{le="+Inf",route="/products/:product_id/styles"} 2"#,
            r#"atelier_limits_total{limit="bodies"} 1"#,
            r#"atelier_http_request_duration_seconds_sum{route="/products/:product_id/styles"} 0.0006"#,
            "atelier_http_requests_in_flight 1",
            "atelier_cache_hits_total 1",
            "atelier_http_connections 1",
            r#"atelier_load{load_id="01a203b5-40f4-70cd-9b33-f881d2ef1c78"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("atelier_load{").count(), 1);
    }
}
