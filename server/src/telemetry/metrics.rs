//! The metrics of the server, in OpenMetrics. `counters` has those that every request changes.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry::counters::AllCounters;
use crate::telemetry::limits::Limits;

type LabelSet = Vec<(&'static str, String)>;

#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) counters: Arc<AllCounters>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) connections: Gauge,
    pub(crate) round_trips: Counter,
    /// Requests that were answered by those statements: more than one, if they were batched.
    pub(crate) batched_requests: Counter,
    pub(crate) database_errors: Counter,
    pub(crate) reconnects: Counter,
    /// How often a statement took so long that others were sent on another connection.
    pub(crate) blocked: Counter,
    cache_bytes: Gauge,
    body_bytes: Gauge,
    load: Family<LabelSet, Gauge<i64, AtomicI64>>,
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(workers: usize) -> Metrics {
        let mut registry = Registry::with_prefix("atelier");
        let counters = Arc::new(AllCounters::new(workers));
        registry.register_collector(Box::new(Arc::clone(&counters)));
        let mut metrics = Metrics { counters, ..Metrics::default() };
        registry.register_collector(Box::new(Arc::clone(&metrics.limits)));
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The server's version", build);
        registry.register("http_connections", "Open client connections", metrics.connections.clone());
        registry.register_with_unit("cache", "What is cached", Unit::Bytes, metrics.cache_bytes.clone());
        registry.register_with_unit(
            "bodies",
            "All bodies, cached or being sent to a client",
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
            "Requests answered by those statements: requests that wait at the same time share one",
            metrics.batched_requests.clone(),
        );
        registry.register("database_errors", "Statements that failed", metrics.database_errors.clone());
        registry.register("database_reconnects", "Reconnections to the database", metrics.reconnects.clone());
        registry.register(
            "database_blocked",
            "Statements that blocked a connection, for instance while waiting for a lock",
            metrics.blocked.clone(),
        );
        registry.register("load", "The published load that is served", metrics.load.clone());
        metrics.registry = registry;
        metrics
    }

    /// The load that is served from now on.
    pub(crate) fn set_load(&self, load: Option<impl Display>) {
        self.load.clear();
        if let Some(load) = load {
            self.load.get_or_create_owned(&vec![("load_id", load.to_string())]).set(1);
        }
    }

    /// The text of `/metrics`. `body_bytes` are those of all bodies, cached or being sent.
    pub(crate) fn text(&self, cache_bytes: u64, body_bytes: usize) -> String {
        self.cache_bytes.set(i64::try_from(cache_bytes).unwrap_or(i64::MAX));
        self.body_bytes.set(i64::try_from(body_bytes).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Adds one to a gauge as long as it lives.
pub(crate) struct GaugeGuard(Gauge);

impl GaugeGuard {
    pub(crate) fn new(gauge: &Gauge) -> GaugeGuard {
        gauge.inc();
        GaugeGuard(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;
    use crate::telemetry::limits::Limit;
    use crate::telemetry::route_label::RouteLabel;

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::new(2);
        for worker in 0..2 {
            let counters = metrics.counters.worker(worker);
            let _finished = counters.start_request();
            counters.record_answer(RouteLabel::Styles, StatusCode::OK, Duration::from_micros(300));
        }
        let _started = metrics.counters.worker(1).start_request();
        metrics.counters.worker(0).record_hit();
        metrics.limits.record(Limit::Bodies);
        let _open = GaugeGuard::new(&metrics.connections);
        drop(GaugeGuard::new(&metrics.connections));
        metrics.set_load(Some("01a203b5-40f4-70cd-9b33-f881d2ef1c77"));
        metrics.set_load(Some("01a203b5-40f4-70cd-9b33-f881d2ef1c78"));
        let text = metrics.text(4096, 8192);
        for line in [
            r#"atelier_http_requests_total{route="/products/:product_id/styles",status="200"} 2"#,
            r#"atelier_http_request_duration_seconds_bucket{le="0.0005",route="/products/:product_id/styles"} 2"#,
            r#"atelier_http_request_duration_seconds_bucket{le="+Inf",route="/products/:product_id/styles"} 2"#,
            r#"atelier_limits_total{limit="bodies"} 1"#,
            r#"atelier_http_request_duration_seconds_sum{route="/products/:product_id/styles"} 0.0006"#,
            "atelier_http_requests_in_flight 1",
            "atelier_cache_hits_total 1",
            "atelier_http_connections 1",
            "atelier_cache_bytes 4096",
            "atelier_bodies_bytes 8192",
            r#"atelier_load{load_id="01a203b5-40f4-70cd-9b33-f881d2ef1c78"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("atelier_load{").count(), 1);
    }
}
