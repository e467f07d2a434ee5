//! How long a file's thread waited, and for what.

use std::iter::Sum;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits {
    /// For the next chunk: reading and splitting are the slowest.
    pub(crate) reading: Duration,
    /// For a chunk to be converted.
    pub(crate) parsing: Duration,
    /// For what takes the rows.
    pub(crate) database: Duration,
}

impl Waits {
    /// The name of the longest one.
    pub(crate) fn bottleneck(self) -> &'static str {
        let waits = [("reading", self.reading), ("parsing", self.parsing), ("database", self.database)];
        waits.into_iter().max_by_key(|(_, wait)| *wait).map_or("reading", |(name, _)| name)
    }
}

impl Sum for Waits {
    fn sum<I: Iterator<Item = Waits>>(waits: I) -> Waits {
        waits.fold(Waits::default(), |sum, wait| Waits {
            reading: sum.reading + wait.reading,
            parsing: sum.parsing + wait.parsing,
            database: sum.database + wait.database,
        })
    }
}
