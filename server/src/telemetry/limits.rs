//! Limits that bite. Each time is counted; the log says so once a second at most, with how often it was since.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Between two lines about the same limit.
const BETWEEN_MESSAGES: Duration = Duration::from_secs(1);

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests that wait for the database: one was refused.
    WaitingRequests,
    /// Bytes of bodies, cached or on their way to a client: a request was refused.
    Bodies,
    /// Connections of clients: an idle one was closed, or a new one waits.
    Connections,
    /// Connections to the admin port.
    AdminConnections,
    /// Bytes that client connections hold, the idle ones too: one was closed.
    ConnectionBytes,
    /// Bytes of requests that have not come to an end: a connection was closed.
    UnfinishedRequests,
    /// Bytes of answers that clients have not taken: a connection was closed.
    UntakenAnswers,
    /// The time that a client has to send a request, or to take an answer: its connection was closed.
    SlowClients,
}

impl Limit {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Limit; 8] = [
        Limit::WaitingRequests,
        Limit::Bodies,
        Limit::Connections,
        Limit::AdminConnections,
        Limit::ConnectionBytes,
        Limit::UnfinishedRequests,
        Limit::UntakenAnswers,
        Limit::SlowClients,
    ];

    /// As in the metrics and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Limit::WaitingRequests => "waiting_requests",
            Limit::Bodies => "bodies",
            Limit::Connections => "connections",
            Limit::AdminConnections => "admin_connections",
            Limit::ConnectionBytes => "connection_bytes",
            Limit::UnfinishedRequests => "unfinished_requests",
            Limit::UntakenAnswers => "untaken_answers",
            Limit::SlowClients => "slow_clients",
        }
    }

    /// What an administrator does about it.
    fn hint(self) -> &'static str {
        match self {
            Limit::WaitingRequests => "see what keeps the database busy, or serve from more hosts",
            Limit::Bodies => {
                "clients ask for more than they take: pass more --cache-bytes, or put nginx in front"
            }
            Limit::Connections => "pass more --max-connections, or serve from more hosts",
            Limit::AdminConnections => "see who asks the admin port: it is for probes and Prometheus",
            Limit::ConnectionBytes => "pass more --max-connections, or put nginx in front",
            Limit::UnfinishedRequests => "clients send requests and do not finish them: see who they are",
            Limit::UntakenAnswers => "clients ask for more than they take: put nginx in front",
            Limit::SlowClients => "clients are slow, or pretend to be: see --client-timeout",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each limit was met.
#[derive(Debug)]
pub struct Limits {
    since: Instant,
    met: [Met; Limit::ALL.len()],
}

#[derive(Debug, Default)]
struct Met {
    times: AtomicU64,
    /// Of these, those that the log has told of.
    logged: AtomicU64,
    /// Milliseconds from `Limits::since` to the next line of the log, at the earliest.
    quiet_until: AtomicU64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { since: Instant::now(), met: Default::default() }
    }
}

impl Limits {
    /// A limit was met: somebody was refused, closed or made to wait for its sake.
    pub fn bite(&self, limit: Limit) {
        if let Some(times) = self.met[limit as usize].once_more(self.since.elapsed()) {
            let hint = limit.hint();
            tracing::warn!(%limit, times, hint, "a limit is reached");
        }
    }

    /// How often a limit was met.
    pub fn times(&self, limit: Limit) -> u64 {
        self.met[limit as usize].times.load(Ordering::Relaxed)
    }
}

impl Met {
    /// Counts. Gives how many are to be logged, if it is time.
    fn once_more(&self, now: Duration) -> Option<u64> {
        let times = self.times.fetch_add(1, Ordering::Relaxed) + 1;
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let quiet_until = self.quiet_until.load(Ordering::Relaxed);
        let next = milliseconds(now + BETWEEN_MESSAGES);
        let is_time = milliseconds(now) >= quiet_until
            && (self.quiet_until)
                .compare_exchange(quiet_until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        // Another thread may have told of this one already.
        is_time
            .then(|| times.saturating_sub(self.logged.fetch_max(times, Ordering::Relaxed)))
            .filter(|new| *new > 0)
    }
}

impl Collector for Limits {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "How often a limit made the server refuse, close or delay something";
        let mut limits = encoder.encode_descriptor("limits", help, None, MetricType::Counter)?;
        for limit in Limit::ALL {
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
    fn all_are_counted_and_one_a_second_is_logged_with_those_before() {
        let met = Met::default();
        let ms = Duration::from_millis;
        for (at, expected) in
            [(0, Some(1)), (1, None), (999, None), (1000, Some(3)), (1001, None), (5000, Some(2))]
        {
            assert_eq!(met.once_more(ms(at)), expected, "{at} ms");
        }
        assert_eq!(met.times.into_inner(), 6);
        for (number, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, number);
        }
    }
}
