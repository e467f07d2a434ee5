//! Limits, and how often each was reached. Every time is counted; the log says so at most once a second, with the number of
//! times since the last line.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use enum_map::{Enum, EnumMap};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Between two log lines about the same limit.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Requests that wait for the database: one was refused.
    WaitingRequests,
    /// Bytes of bodies, cached or being sent: a request was refused.
    Bodies,
    /// Connections of clients: an idle one was closed, or a new one has to wait.
    Connections,
    /// Connections to the admin port: the oldest was closed.
    AdminConnections,
    /// Memory of client connections: one was closed.
    ConnectionBytes,
    /// Memory of incomplete requests: a connection was closed.
    IncompleteRequests,
    /// Memory of answers that clients have not read: a connection was closed.
    UnreadAnswers,
    /// The time for a client to send a request or to read an answer: its connection was closed.
    SlowClients,
}

impl Limit {
    /// As in the metrics and in the log.
    fn name(self) -> &'static str {
        match self {
            Limit::WaitingRequests => "waiting_requests",
            Limit::Bodies => "bodies",
            Limit::Connections => "connections",
            Limit::AdminConnections => "admin_connections",
            Limit::ConnectionBytes => "connection_bytes",
            Limit::IncompleteRequests => "unfinished_requests",
            Limit::UnreadAnswers => "untaken_answers",
            Limit::SlowClients => "slow_clients",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Limit::WaitingRequests => "check what keeps the database busy, or serve from more hosts",
            Limit::Bodies => {
                "clients request more than they read: raise --cache-bytes, or put nginx in front"
            }
            Limit::Connections => "raise --max-connections, or serve from more hosts",
            Limit::AdminConnections => {
                "check which clients use the admin port: it is for probes and Prometheus"
            }
            Limit::ConnectionBytes => "raise --max-connections, or put nginx in front",
            Limit::IncompleteRequests => "check which clients send incomplete requests",
            Limit::UnreadAnswers => "clients request more than they read: put nginx in front",
            Limit::SlowClients => "clients are slow, or pretend to be: see --client-timeout",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each limit was reached.
#[derive(Debug)]
pub(crate) struct Limits {
    created: Instant,
    counts: EnumMap<Limit, LimitCount>,
}

#[derive(Debug, Default)]
struct LimitCount {
    times: AtomicU64,
    /// How many of them the log has reported.
    logged: AtomicU64,
    /// When the next log line is due, in milliseconds from `Limits::created`.
    next_log: AtomicU64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { created: Instant::now(), counts: EnumMap::default() }
    }
}

impl Limits {
    /// A limit was reached: a request was refused, or a connection closed or delayed.
    pub(crate) fn record(&self, limit: Limit) {
        if let Some(times) = self.counts[limit].increment(self.created.elapsed()) {
            let hint = limit.hint();
            tracing::warn!(%limit, times, hint, "a limit is reached");
        }
    }

    pub(crate) fn times(&self, limit: Limit) -> u64 {
        self.counts[limit].times.load(Ordering::Relaxed)
    }
}

impl LimitCount {
    /// Returns how many times are to be logged, if a line is due.
    fn increment(&self, now: Duration) -> Option<u64> {
        let times = self.times.fetch_add(1, Ordering::Relaxed) + 1;
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let next_log = self.next_log.load(Ordering::Relaxed);
        let next = milliseconds(now + LOG_INTERVAL);
        let is_due = milliseconds(now) >= next_log
            && (self.next_log).compare_exchange(next_log, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // Another thread may have logged this one already.
        is_due
            .then(|| times.saturating_sub(self.logged.fetch_max(times, Ordering::Relaxed)))
            .filter(|new| *new > 0)
    }
}

impl Collector for Limits {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "How often a limit made the server refuse, close or delay something";
        let mut limits = encoder.encode_descriptor("limits", help, None, MetricType::Counter)?;
        for limit in (0..Limit::LENGTH).map(Limit::from_usize) {
            limits
                .encode_family(&[("limit", limit.name())])?
                .encode_counter::<NoLabelSet, _, u64>(&self.times(limit), None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_counted_and_one_line_a_second_is_logged() {
        let count = LimitCount::default();
        let ms = Duration::from_millis;
        for (at, expected) in
            [(0, Some(1)), (1, None), (999, None), (1000, Some(3)), (1001, None), (5000, Some(2))]
        {
            assert_eq!(count.increment(ms(at)), expected, "{at} ms");
        }
        assert_eq!(count.times.into_inner(), 6);
    }
}
