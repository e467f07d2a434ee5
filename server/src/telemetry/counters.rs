//! Counters of requests. Each worker has its own, on cache lines of its own, and `/metrics` adds them up: no request writes to
//! a cache line that another core writes to, and no atomic addition is needed. Those of `prometheus-client` are shared by all
//! threads. What this gains was not measured.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use enum_map::EnumMap;
use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::telemetry::route_label::RouteLabel;

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

/// Upper bounds in microseconds, from a cache hit to the default request time-out. One more bucket takes the rest.
const LATENCY_MICROS: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 10_000_000,
];

/// Only one thread may write it, so that no atomic addition is needed.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, more: u64) {
        self.0.store(self.get() + more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct RouteCounters {
    statuses: [Count; STATUSES.len()],
    latency: [Count; LATENCY_MICROS.len() + 1],
    nanoseconds: Count,
}

/// The counters of one worker. No other thread may write them.
#[derive(Debug, Default)]
#[repr(align(128))] // two lines, which are fetched together
pub(crate) struct Counters {
    routes: EnumMap<RouteLabel, RouteCounters>,
    started: Count,
    finished: Count,
    hits: Count,
    misses: Count,
}

impl Counters {
    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn start_request(&self) -> InFlight<'_> {
        self.started.add(1);
        InFlight(self)
    }

    pub(crate) fn record_answer(&self, route: RouteLabel, status: StatusCode, took: Duration) {
        let route = &self.routes[route];
        if let Some(index) = STATUSES.iter().position(|known| *known == status) {
            route.statuses[index].add(1);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = LATENCY_MICROS.iter().position(|bound| nanoseconds <= bound * 1000);
        route.latency[bucket.unwrap_or(LATENCY_MICROS.len())].add(1);
        route.nanoseconds.add(nanoseconds);
    }

    pub(crate) fn record_hit(&self) {
        self.hits.add(1);
    }

    pub(crate) fn record_miss(&self) {
        self.misses.add(1);
    }
}

pub(crate) struct InFlight<'a>(&'a Counters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.finished.add(1);
    }
}

/// The counters of all workers.
#[derive(Debug, Default)]
pub(crate) struct AllCounters(Box<[Counters]>);

impl AllCounters {
    pub(crate) fn new(workers: usize) -> AllCounters {
        AllCounters((0..workers).map(|_| Counters::default()).collect())
    }

    /// Workers are numbered from 0.
    pub(crate) fn worker(&self, number: usize) -> &Counters {
        &self.0[number]
    }

    fn sum(&self, count: impl Fn(&Counters) -> &Count) -> u64 {
        self.0.iter().map(|counters| count(counters).get()).sum()
    }

    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests answered, by route and status";
        let mut requests = encoder.encode_descriptor("http_requests", help, None, MetricType::Counter)?;
        for route in RouteLabel::all() {
            for (index, status) in STATUSES.iter().enumerate() {
                let count = self.sum(|counters| &counters.routes[route].statuses[index]);
                requests
                    .encode_family(&[("route", route.as_str()), ("status", status.as_str())])?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn encode_latency(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time from a request's headers to its answer, by route";
        let (name, unit) = ("http_request_duration", Some(&Unit::Seconds));
        let mut latency = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for route in RouteLabel::all() {
            let seconds = self.sum(|counters| &counters.routes[route].nanoseconds) as f64 / 1e9;
            let bounds = LATENCY_MICROS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds
                .enumerate()
                .map(|(index, bound)| (bound, self.sum(|counters| &counters.routes[route].latency[index])))
                .collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            latency
                .encode_family(&[("route", route.as_str())])?
                .encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}

impl Collector for AllCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_latency(&mut encoder)?;
        let [started, finished] =
            [self.sum(|counters| &counters.started), self.sum(|counters| &counters.finished)];
        let in_flight = i64::try_from(started.saturating_sub(finished)).unwrap_or(i64::MAX);
        encoder
            .encode_descriptor("http_requests_in_flight", "Requests being answered", None, MetricType::Gauge)?
            .encode_gauge(&in_flight)?;
        encoder
            .encode_descriptor("cache_hits", "Answers from the cache", None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&self.sum(|counters| &counters.hits), None)?;
        encoder
            .encode_descriptor("cache_misses", "Answers that had to be made", None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&self.sum(|counters| &counters.misses), None)
    }
}
