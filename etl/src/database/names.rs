//! The names of the loader's schemas and sessions. Clients read `atelier`, and nothing is ever written to it: a load is
//! made in `atelier_staging`, and publishing and rolling back rename schemas.

pub(crate) const PUBLISHED: &str = "atelier";
/// Where a load is made. Afterwards the replaced catalogue, until it is dropped.
pub(crate) const STAGING: &str = "atelier_staging";
/// The catalogue that was published before, if it is kept.
pub(crate) const PREVIOUS: &str = "atelier_previous";
/// The one that was kept before that, until it is dropped.
pub(crate) const DISCARDED: &str = "atelier_discarded";
/// What is about to be published: only within the transaction that publishes.
pub(crate) const NEXT: &str = "atelier_next";
/// Whatever is in these schemas is the loader's: `preflight` refuses anything else.
pub(crate) const OWN: [&str; 5] = [PUBLISHED, STAGING, PREVIOUS, DISCARDED, NEXT];

/// Begins a transaction whose unqualified names are those of the staged tables.
pub(crate) const BEGIN_STAGED: &str = "BEGIN; SET LOCAL search_path TO atelier_staging";

/// `application_name` of the session that holds the lock of a load or a rollback.
pub(crate) const CONTROL_SESSION: &str = "atelier-etl";
/// `application_name` of the sessions that copy and index.
pub(crate) const LANE_SESSION: &str = "atelier-etl lane";
