//! The arguments of the command line. `options` resolves them.

use std::path::PathBuf;

use atelier_base::args::number;
use clap::{Args, Parser, Subcommand, ValueEnum};

use atelier_sample::{Defects, MAX_PRODUCTS};

/// Far above what machines have in cores. More threads than cores only take memory.
pub const MAX_JOBS: usize = 64;

/// Loads the Atelier product catalogue from six CSV files into PostgreSQL. Every row is either loaded, or written to a
/// reject file with its line number and the reason.
#[derive(Debug, Parser)]
#[command(name = "atelier-etl", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

// In lines of at most 80 columns: clap does not break what begins with a space.
const AFTER_HELP: &str = "\
Examples:
  export DATABASE_URL=postgresql://me@db.example/shop?sslmode=verify-full
  atelier-etl check --data csv            # needs no database
  atelier-etl load --data csv --report load.json
  atelier-etl verify                      # compares the tables with the load

Exit codes: 0 done, 2 usage, 3 the input was not accepted, 4 the database failed or refused, \
5 verification failed, 130 interrupted.";

const LOAD_EXAMPLES: &str = "\
Examples:
  atelier-etl load --data csv --database-url postgresql://me@db.example/shop
  atelier-etl load --data csv --max-rejects 0.5% --report load.json
  atelier-etl load --data csv --keep-previous     # so that atelier-etl rollback can return to it
  atelier-etl load --data csv --wait 60           # for a database that is starting";

const CHECK_EXAMPLES: &str = "\
Examples:
  atelier-etl check --data csv
  atelier-etl check --data csv --max-rejects 0 --rejects bad --report check.json";

const GENERATE_EXAMPLES: &str = "\
Examples:
  atelier-etl generate --out csv
  atelier-etl generate --out csv --products 1000011 --defects legacy  # full size";

const STATUS_EXAMPLES: &str = "\
Examples:
  atelier-etl status --database-url postgresql://me@db.example/shop
  atelier-etl status --wait 30                    # for a database that is starting";

const VERIFY_EXAMPLES: &str = "\
Examples:
  atelier-etl verify --database-url postgresql://reader@db.example/shop
  atelier-etl verify --jobs 1 --report verify.json";

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  atelier-etl load --data csv --keep-previous
  atelier-etl rollback                            # and once more to return";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load the CSV files and publish them atomically; skip if unchanged
    Load(Load),
    /// Check the CSV files without a database
    Check(Check),
    /// Generate a catalogue of any size, with a manifest of its contents
    Generate(Generate),
    /// Show the published load: id, time, rows, sizes
    Status(Status),
    /// Read the published tables back and compare them with what was loaded
    Verify(Verify),
    /// Swap the live catalogue with the previous one
    Rollback(Rollback),
}

#[derive(Args, Debug)]
pub struct Input {
    /// Directory of the six CSV files: product, features, styles, photos, skus, related (.csv, .csv.gz or .csv.zst)
    #[arg(long, value_name = "DIR", default_value = "data", env = "ATELIER_DATA")]
    pub data: PathBuf,
    /// Tables to read in parallel, and threads that parse [default: number of cores]
    #[arg(long, value_name = "N", env = "ATELIER_JOBS", value_parser = number(1..=MAX_JOBS))]
    pub jobs: Option<usize>,
    /// Maximum rejected rows per file: a number, or a share such as 0.5%
    #[arg(long, value_name = "N|SHARE%", default_value = "1%", env = "ATELIER_MAX_REJECTS")]
    pub max_rejects: String,
    /// Directory for rejected rows, one file for each table
    #[arg(long, value_name = "DIR", default_value = "rejects", env = "ATELIER_REJECTS")]
    pub rejects: PathBuf,
    /// Write a JSON report to FILE
    #[arg(long, value_name = "FILE", env = "ATELIER_REPORT")]
    pub report: Option<PathBuf>,
    /// How to show progress on standard error
    #[arg(long, value_name = "HOW", value_enum, default_value_t, env = "ATELIER_PROGRESS")]
    pub progress: ProgressMode,
}

#[derive(Args, Debug)]
pub struct Database {
    /// libpq connection string: postgresql://user@host/database or "host=/var/run/postgresql dbname=database"
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Wait up to SECONDS for a database that is starting
    #[arg(long, value_name = "SECONDS", default_value_t = 0, env = "ATELIER_WAIT", value_parser = number(0..=86_400_u64))]
    pub wait: u64,
}

#[derive(Args, Debug)]
#[command(after_help = LOAD_EXAMPLES)]
pub struct Load {
    #[command(flatten)]
    pub input: Input,
    #[command(flatten)]
    pub database: Database,
    /// Keep the replaced catalogue as the schema atelier_previous, for rollback
    #[arg(long, env = "ATELIER_KEEP_PREVIOUS")]
    pub keep_previous: bool,
    /// Load even if these files are already published
    #[arg(long, env = "ATELIER_FORCE")]
    pub force: bool,
}

#[derive(Args, Debug)]
#[command(after_help = CHECK_EXAMPLES)]
pub struct Check {
    #[command(flatten)]
    pub input: Input,
}

#[derive(Args, Debug)]
#[command(after_help = GENERATE_EXAMPLES)]
pub struct Generate {
    /// Directory for the six files and manifest.json
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Number of products; the other tables grow with it (1000011 products make 27 million rows, 2.2 GB)
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = number(1..=MAX_PRODUCTS))]
    pub products: u32,
    /// Seed of the random numbers: the same seed makes the same files on every machine
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = number(0..=u64::MAX))]
    pub seed: u64,
    /// Defects to include
    #[arg(long, value_name = "WHICH", value_enum, default_value = "none")]
    pub defects: Defects,
}

#[derive(Args, Debug)]
#[command(after_help = STATUS_EXAMPLES)]
pub struct Status {
    #[command(flatten)]
    pub database: Database,
}

#[derive(Args, Debug)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct Verify {
    #[command(flatten)]
    pub database: Database,
    /// Tables to read in parallel, each on its own connection [default: number of cores]
    #[arg(long, value_name = "N", env = "ATELIER_JOBS", value_parser = number(1..=MAX_JOBS))]
    pub jobs: Option<usize>,
    /// Write a JSON report to FILE
    #[arg(long, value_name = "FILE", env = "ATELIER_REPORT")]
    pub report: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = ROLLBACK_EXAMPLES)]
pub struct Rollback {
    #[command(flatten)]
    pub database: Database,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, plain lines elsewhere
    #[default]
    Auto,
    /// A bar for each table
    Bar,
    /// A line every few seconds
    Plain,
    /// No progress
    None,
}
