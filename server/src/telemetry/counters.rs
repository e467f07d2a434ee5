//! What each worker counts for every request, on cache lines of its own: with counters that all workers share, most of
//! what counting costs is cores taking the lines from one another. `/metrics` adds them up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::http::route::Name;

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

/// Upper bounds in microseconds: from an answer out of the cache to the usual request time-out. All above is in one
/// more bucket.
const LATENCY_MICROS: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 10_000_000,
];

/// A counter that one thread writes and others read.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, more: u64) {
        self.0.store(self.get() + more, Ordering::Relaxed); // nobody else writes it
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of one route.
#[derive(Debug, Default)]
struct OfRoute {
    statuses: [Count; STATUSES.len()],
    latency: [Count; LATENCY_MICROS.len() + 1],
    nanoseconds: Count,
}

/// One worker's counters. No other thread may count on them.
#[derive(Debug, Default)]
#[repr(align(128))] // two lines, which are fetched together
pub struct Tally {
    routes: [OfRoute; Name::ALL.len()],
    begun: Count,
    ended: Count,
    hits: Count,
    misses: Count,
}

impl Tally {
    /// A request has come. It is in flight until what this returns is dropped.
    pub fn begin(&self) -> InFlight<'_> {
        self.begun.add(1);
        InFlight(self)
    }

    /// A request was answered.
    pub fn answered(&self, name: Name, status: StatusCode, took: Duration) {
        let route = &self.routes[name as usize];
        if let Some(index) = STATUSES.iter().position(|known| *known == status) {
            route.statuses[index].add(1);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = LATENCY_MICROS.iter().position(|bound| nanoseconds <= bound * 1000);
        route.latency[bucket.unwrap_or(LATENCY_MICROS.len())].add(1);
        route.nanoseconds.add(nanoseconds);
    }

    /// An answer came from the cache.
    pub fn hit(&self) {
        self.hits.add(1);
    }

    /// An answer had to be made.
    pub fn miss(&self) {
        self.misses.add(1);
    }
}

/// A request that is being answered.
pub struct InFlight<'a>(&'a Tally);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.ended.add(1);
    }
}

/// The counters of all workers.
#[derive(Debug, Default)]
pub struct Tallies(Box<[Tally]>);

impl Tallies {
    /// All at zero.
    pub fn new(workers: usize) -> Tallies {
        Tallies((0..workers).map(|_| Tally::default()).collect())
    }

    /// Those of one worker, from 0.
    pub fn of(&self, worker: usize) -> &Tally {
        &self.0[worker]
    }

    fn sum(&self, count: impl Fn(&Tally) -> &Count) -> u64 {
        self.0.iter().map(|tally| count(tally).get()).sum()
    }
}

impl Collector for Tallies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Requests answered, by route and status";
        let mut requests = encoder.encode_descriptor("http_requests", help, None, MetricType::Counter)?;
        for name in Name::ALL {
            for (index, status) in STATUSES.iter().enumerate() {
                let count = self.sum(|tally| &tally.routes[name as usize].statuses[index]);
                requests
                    .encode_family(&[("route", name.as_str()), ("status", status.as_str())])?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        let help = "Time from a request's headers to its answer, by route";
        let mut latency = encoder.encode_descriptor(
            "http_request_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for name in Name::ALL {
            let seconds = self.sum(|tally| &tally.routes[name as usize].nanoseconds) as f64 / 1e9;
            let bounds = LATENCY_MICROS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds
                .enumerate()
                .map(|(index, bound)| (bound, self.sum(|tally| &tally.routes[name as usize].latency[index])))
                .collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            latency
                .encode_family(&[("route", name.as_str())])?
                .encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
        let in_flight =
            i64::try_from(self.sum(|tally| &tally.begun).saturating_sub(self.sum(|tally| &tally.ended)));
        encoder
            .encode_descriptor("http_requests_in_flight", "Requests being answered", None, MetricType::Gauge)?
            .encode_gauge(&in_flight.unwrap_or(i64::MAX))?;
        encoder
            .encode_descriptor("cache_hits", "Answers from the cache", None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&self.sum(|tally| &tally.hits), None)?;
        encoder
            .encode_descriptor("cache_misses", "Answers that had to be made", None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&self.sum(|tally| &tally.misses), None)
    }
}
