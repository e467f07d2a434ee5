//! What the command line comes to: values that cannot be wrong any more.

use std::fs::File;
use std::io::{IsTerminal, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atelier_base::connect::Target;
use atelier_base::error::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;

use crate::cli;
use crate::csv::header;
use crate::csv::source::Source;
use crate::output::limit::Limit;
use crate::output::progress::Show;
use crate::output::rejects;
use atelier_base::tables::{TABLES, TableId};
use enum_map::{EnumMap, enum_map};

/// The files, and how to read them.
pub struct Input {
    /// Their headers were understood.
    pub sources: EnumMap<TableId, Source>,
    /// Tables at a time.
    pub jobs: usize,
    /// Threads that parse.
    pub pool: Arc<ThreadPool>,
    /// When to refuse a file.
    pub max_rejects: Limit,
    /// Where rejected rows go.
    pub rejects: PathBuf,
    /// Where the report goes.
    pub report: Option<Output>,
    /// How progress is shown.
    pub show: Show,
}

impl Input {
    /// Looks at everything that can be wrong before the first row is read: flags, files, headers, outputs.
    pub fn resolve(args: &cli::Input) -> Result<Input> {
        for (flag, path) in [
            ("--data", Some(&args.data)),
            ("--rejects", Some(&args.rejects)),
            ("--report", args.report.as_ref()),
        ] {
            local(flag, path)?;
        }
        let jobs = jobs(args.jobs);
        let max_rejects = Limit::parse(&args.max_rejects)?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(jobs)
            .thread_name(|index| format!("parse-{index}"))
            // Without it a panic would abort the process; so the pipeline finds that its result will not come.
            .panic_handler(|_| {})
            .build()
            .map(Arc::new)
            .map_err(|error| {
                Error::usage("cannot start threads")
                    .cause(error)
                    .hint("lower --jobs, or raise the limits (ulimit -u)")
            })?;
        let sources = enum_map! { table => Source::find(&args.data, TableId::table(table))? };
        for (table, source) in &sources {
            header::check(table.table(), source)?;
        }
        let show = match args.progress {
            cli::ProgressMode::Auto if can_draw() => Show::Bars,
            cli::ProgressMode::Bar => Show::Bars,
            cli::ProgressMode::Auto | cli::ProgressMode::Plain => Show::Lines,
            cli::ProgressMode::None => Show::Nothing,
        };
        keep_rejects_apart(&args.rejects, &args.data)?;
        let rejects: Vec<PathBuf> = TABLES.iter().map(|table| rejects::path(&args.rejects, table)).collect();
        for output in rejects.iter().chain(&args.report) {
            keep_apart(output, sources.as_slice())?;
        }
        if let Some(report) = &args.report {
            keep_report_apart(report, &rejects)?;
        }
        let report = args.report.as_deref().map(Output::create).transpose()?;
        Ok(Input { sources, jobs, pool, max_rejects, rejects: args.rejects.clone(), report, show })
    }
}

/// Refuses a URL, and does not repeat it: it may be that of the database, with a password.
pub fn local(flag: &str, path: Option<&PathBuf>) -> Result<()> {
    match path {
        Some(path) if path.to_string_lossy().contains("://") => {
            Err(Error::usage(format!("{flag} is a URL, not a path")).hint("name a local file or directory"))
        }
        _ => Ok(()),
    }
}

/// Whether standard error is a terminal on which bars can be drawn over again.
fn can_draw() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|terminal| terminal != "dumb")
}

/// The number of jobs that was args, or one a core.
fn jobs(args: Option<usize>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    args.unwrap_or(cores.min(cli::MAX_JOBS))
}

/// Refuses an output that is one of the inputs: reject files are named as the tables are.
fn keep_apart(output: &Path, sources: &[Source]) -> Result<()> {
    match sources.iter().find(|source| is_same(&source.path, output)) {
        None => Ok(()),
        Some(source) => {
            Err(Error::usage(format!("{} is an input, and would be overwritten", source.path.display()))
                .hint("name another directory with --rejects, and another file with --report"))
        }
    }
}

/// Refuses reject files among the inputs: beside `product.csv.gz`, a `product.csv` would be a second file for the next
/// load.
fn keep_rejects_apart(rejects: &Path, data: &Path) -> Result<()> {
    if !is_same(rejects, data) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{} is where the input files are: rejected rows cannot go there",
        rejects.display()
    ))
    .hint("name another directory with --rejects"))
}

/// Refuses a report that is a reject file, or will be: what is written last would replace the other.
fn keep_report_apart(report: &Path, rejected: &[PathBuf]) -> Result<()> {
    let directory = |path: &Path| match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    // Neither may be there yet. The report's directory is, or the report cannot be made.
    let becomes = |file: &Path| {
        is_same(report, file)
            || report.file_name() == file.file_name() && is_same(&directory(report), &directory(file))
    };
    match rejected.iter().find(|file| becomes(file) || becomes(&rejects::partial(file))) {
        None => Ok(()),
        Some(file) => Err(Error::usage(format!(
            "{} cannot be the report: rejected rows go to {}",
            report.display(),
            file.display()
        ))
        .hint("name another file with --report, or another directory with --rejects")),
    }
}

/// Whether both are there, and the same file or directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    id(one).is_some_and(|one| id(other) == Some(one))
}

/// A file opened before the work starts, so that an hour's load does not end with a path that cannot be written. What
/// stands in it stays until there is something new to write.
pub struct Output {
    /// For messages.
    pub path: PathBuf,
    /// Not truncated yet.
    pub file: File,
}

impl Output {
    fn create(path: &Path) -> Result<Output> {
        let file = File::options().write(true).create(true).truncate(false).open(path).map_err(|error| {
            Error::usage(format!("cannot write {}", path.display()))
                .cause(error)
                .hint("name another file with --report")
        })?;
        Ok(Output { path: path.to_owned(), file })
    }

    /// Writes a report as JSON.
    pub fn write(&mut self, report: &impl Serialize) -> Result<()> {
        // Not everything that can be written to can be cut short: a pipe cannot, and need not be.
        let _ = self.file.set_len(0);
        let text = serde_json::to_vec_pretty(report).map_err(std::io::Error::from);
        let written = text.and_then(|text| {
            self.file.write_all(&text)?;
            self.file.write_all(b"\n")
        });
        written.map_err(|error| {
            Error::usage(format!("cannot write the report to {}", self.path.display()))
                .cause(error)
                .hint("make room there or name another file with --report")
        })
    }
}

/// A database to work on.
#[derive(Clone)]
pub struct Database {
    /// Where it is.
    pub target: Target,
    /// How long to wait for it.
    pub patience: Duration,
}

impl Database {
    /// Reads the connection string.
    pub fn resolve(args: &cli::Database) -> Result<Database> {
        let target = Target::resolve(args.database_url.as_deref())?;
        Ok(Database { target, patience: Duration::from_secs(args.wait) })
    }
}

/// What `verify` works on, and how.
pub struct Verify {
    /// The database.
    pub database: Database,
    /// Tables at a time.
    pub jobs: usize,
    /// Where the report goes.
    pub report: Option<Output>,
}

impl Verify {
    /// Looks at everything that can be wrong before the database is asked.
    pub fn resolve(args: &cli::Verify) -> Result<Verify> {
        local("--report", args.report.as_ref())?;
        let (jobs, database) = (jobs(args.jobs), Database::resolve(&args.database)?);
        let report = args.report.as_deref().map(Output::create).transpose()?;
        Ok(Verify { database, jobs, report })
    }
}
