//! What is to be generated.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The largest catalogue whose ids stay below `int`'s end and below the ids of parents that do not exist.
pub const MAX_PRODUCTS: u32 = 50_000_000;

#[derive(Clone, Debug)]
pub struct Options {
    /// The directory for the six files and `manifest.json`; created if missing.
    pub out: PathBuf,
    /// From 1 to [`MAX_PRODUCTS`]. The real copies have 1,000,011.
    pub products: u32,
    /// Another seed gives another catalogue.
    pub seed: u64,
    pub defects: Defects,
    /// The bytes do not depend on it.
    pub threads: usize,
}

/// Which defects a generated catalogue has.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Defects {
    /// None
    None,
    /// Those of the real copies: ten unterminated quotes, and related rows that point at no product
    Legacy,
    /// Every defect the loader knows, in every table it can occur in
    Heavy,
}
