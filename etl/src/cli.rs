//! The command line as typed. What it comes to is in `options`.

use std::path::PathBuf;

use atelier_base::args::number;
use clap::{Args, Parser, Subcommand, ValueEnum};

use atelier_sample::{Defects, MAX_PRODUCTS};

/// More jobs than this only cost memory: there are six tables.
pub const MAX_JOBS: usize = 64;

/// Loads the Atelier product catalogue, six CSV files, into PostgreSQL: every row is loaded, or in a reject file
/// with its line and the reason.
#[derive(Debug, Parser)]
#[command(name = "atelier-etl", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

// In lines of at most 80 columns: clap does not break what begins with a space.
const AFTER_HELP: &str = "\
Examples:
  export DATABASE_URL=postgresql://me@db.example/shop?sslmode=verify-full
  atelier-etl check --data csv            # needs no database
  atelier-etl load --data csv --report load.json
  atelier-etl verify                      # is it still what was loaded?

Exit codes: 0 done, 2 usage, 3 the input was not accepted, 4 the database failed or refused, \
5 verification failed, 130 interrupted.";

const LOAD_EXAMPLES: &str = "\
Examples:
  atelier-etl load --data csv --database-url postgresql://me@db.example/shop
  atelier-etl load --data csv --max-rejects 0.5% --report load.json
  atelier-etl load --data csv --keep-previous     # atelier-etl rollback returns
  atelier-etl load --data csv --wait 60           # for a database that starts";

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
  atelier-etl status --wait 30                    # for a database that starts";

const VERIFY_EXAMPLES: &str = "\
Examples:
  atelier-etl verify --database-url postgresql://reader@db.example/shop
  atelier-etl verify --jobs 1 --report verify.json";

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  atelier-etl load --data csv --keep-previous
  atelier-etl rollback                            # and once more to return";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load the six files and publish them at once, unless they are what is published; that is served until then
    Load(Load),
    /// Read and check the six files; needs no database
    Check(Check),
    /// Make a catalogue of any size, and a manifest of what is in it
    Generate(Generate),
    /// Show what is published: load id, when, rows, sizes
    Status(Status),
    /// Read the published tables back and compare their content with what was loaded
    Verify(Verify),
    /// Publish the kept previous load again; the one published now is kept in its place
    Rollback(Rollback),
}

/// Where the files are and how they are read.
#[derive(Args, Debug)]
pub struct Input {
    /// Directory with the six files: product, features, styles, photos, skus, related (.csv, .csv.gz or .csv.zst)
    #[arg(long, value_name = "DIR", default_value = "data", env = "ATELIER_DATA")]
    pub data: PathBuf,
    /// Tables read and loaded at a time, and threads that parse [default: the number of cores]
    #[arg(long, value_name = "N", env = "ATELIER_JOBS", value_parser = number(1..=MAX_JOBS))]
    pub jobs: Option<usize>,
    /// Most rows that may be rejected: a number, or a share of any one file's rows such as 0.5%
    #[arg(long, value_name = "N|SHARE%", default_value = "1%", env = "ATELIER_MAX_REJECTS")]
    pub max_rejects: String,
    /// Directory for rejected rows, a file a table
    #[arg(long, value_name = "DIR", default_value = "rejects", env = "ATELIER_REJECTS")]
    pub rejects: PathBuf,
    /// Write what happened to FILE as JSON
    #[arg(long, value_name = "FILE", env = "ATELIER_REPORT")]
    pub report: Option<PathBuf>,
    /// How to show the progress, on standard error
    #[arg(long, value_name = "HOW", value_enum, default_value_t, env = "ATELIER_PROGRESS")]
    pub progress: ProgressMode,
}

/// Which database.
#[derive(Args, Debug)]
pub struct Database {
    /// libpq connection string: postgresql://user@host/database or "host=/var/run/postgresql dbname=database"
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Wait up to SECONDS for a database that is still starting
    #[arg(long, value_name = "SECONDS", default_value_t = 0, env = "ATELIER_WAIT", value_parser = number(0..=86_400_u64))]
    pub wait: u64,
}

/// `load`
#[derive(Args, Debug)]
#[command(after_help = LOAD_EXAMPLES)]
pub struct Load {
    /// Files.
    #[command(flatten)]
    pub input: Input,
    /// Database.
    #[command(flatten)]
    pub database: Database,
    /// Keep the catalogue published so far as the schema atelier_previous, for rollback
    #[arg(long, env = "ATELIER_KEEP_PREVIOUS")]
    pub keep_previous: bool,
    /// Load even if these very files are what is published
    #[arg(long, env = "ATELIER_FORCE")]
    pub force: bool,
}

/// `check`
#[derive(Args, Debug)]
#[command(after_help = CHECK_EXAMPLES)]
pub struct Check {
    /// Files.
    #[command(flatten)]
    pub input: Input,
}

/// `generate`
#[derive(Args, Debug)]
#[command(after_help = GENERATE_EXAMPLES)]
pub struct Generate {
    /// Directory to write the six files and manifest.json to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Products in it; the other tables follow (1000011 make 27 million rows, 2.2 GB)
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = number(1..=MAX_PRODUCTS))]
    pub products: u32,
    /// The same number makes the same files, on every machine
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = number(0..=u64::MAX))]
    pub seed: u64,
    /// Defects to plant: none, those of real copies, or every kind there is
    #[arg(long, value_name = "WHICH", value_enum, default_value = "none")]
    pub defects: Defects,
}

/// `status`
#[derive(Args, Debug)]
#[command(after_help = STATUS_EXAMPLES)]
pub struct Status {
    /// Database.
    #[command(flatten)]
    pub database: Database,
}

/// `verify`
#[derive(Args, Debug)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct Verify {
    /// Database.
    #[command(flatten)]
    pub database: Database,
    /// Tables read at a time, each on a connection of its own [default: the number of cores]
    #[arg(long, value_name = "N", env = "ATELIER_JOBS", value_parser = number(1..=MAX_JOBS))]
    pub jobs: Option<usize>,
    /// Write what was found to FILE as JSON
    #[arg(long, value_name = "FILE", env = "ATELIER_REPORT")]
    pub report: Option<PathBuf>,
}

/// `rollback`
#[derive(Args, Debug)]
#[command(after_help = ROLLBACK_EXAMPLES)]
pub struct Rollback {
    /// Database.
    #[command(flatten)]
    pub database: Database,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, plain lines elsewhere
    #[default]
    Auto,
    /// A bar a table
    Bar,
    /// A line every few seconds
    Plain,
    /// Nothing
    None,
}
