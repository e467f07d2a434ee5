//! The digest of a table's content, computed while rows are encoded, and again while they are read back. No I/O.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

/// Sum of the XXH3 digests (128 bits) of rows in binary COPY format: independent of their order, and different if a row is
/// missing, duplicated or has another value. It has to detect accidents, not an adversary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentDigest(u128);

impl ContentDigest {
    /// Adds a row.
    #[inline]
    pub fn add(&mut self, row: &[u8]) {
        self.0 = self.0.wrapping_add(xxh3_128(row));
    }

    /// Removes a row that was added.
    pub fn remove(&mut self, row: &[u8]) {
        self.0 = self.0.wrapping_sub(xxh3_128(row));
    }

    /// Adds the rows of another digest.
    pub(crate) fn merge(&mut self, other: ContentDigest) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
