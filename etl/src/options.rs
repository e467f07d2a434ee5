//! The resolved command line: its values were checked.

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atelier_base::connect::Target;
use atelier_base::error::{Error, Result};
use atelier_base::tables::{TABLES, TableId};
use enum_map::{EnumMap, enum_map};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::cli;
use crate::csv::header;
use crate::csv::source::Source;
use crate::output::acceptance::Acceptance;
use crate::output::limit::Limit;
use crate::output::progress::Show;
use crate::output::rejects;
use crate::output::report_file::ReportFile;

/// The files, how to read them, and what to write.
pub struct Input {
    /// With valid headers.
    pub(crate) sources: EnumMap<TableId, Source>,
    /// Tables to read in parallel.
    pub(crate) jobs: usize,
    /// Threads that parse.
    pub(crate) pool: Arc<ThreadPool>,
    pub(crate) max_rejects: Limit,
    /// The directory of the reject files.
    pub(crate) rejects: PathBuf,
    pub(crate) report: ReportFile,
    pub(crate) show: Show,
}

impl Input {
    /// Checks everything that can be checked before the first row is read: flags, files, headers, outputs.
    pub fn resolve(args: &cli::Input) -> Result<Input> {
        for (flag, path) in [
            ("--data", Some(&args.data)),
            ("--rejects", Some(&args.rejects)),
            ("--report", args.report.as_ref()),
        ] {
            refuse_url(flag, path)?;
        }
        let jobs = jobs_or_cores(args.jobs);
        let max_rejects = Limit::parse(&args.max_rejects)?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(jobs)
            .thread_name(|index| format!("parse-{index}"))
            // Without a handler a panic would abort the process. With it, the pipeline finds that its result is missing.
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
        refuse_input_directory(&args.rejects, &args.data)?;
        let rejects: Vec<PathBuf> = TABLES.iter().map(|table| rejects::path(&args.rejects, table)).collect();
        for output in rejects.iter().chain(&args.report) {
            refuse_input_file(output, &sources)?;
        }
        if let Some(report) = &args.report {
            refuse_reject_file(report, &rejects)?;
        }
        let report = ReportFile::open(args.report.as_deref())?;
        Ok(Input { sources, jobs, pool, max_rejects, rejects: args.rejects.clone(), report, show })
    }

    pub(crate) fn acceptance(&self) -> Acceptance<'_> {
        Acceptance { max_rejects: self.max_rejects, rejects: &self.rejects }
    }
}

/// Refuses a URL without repeating it: it may be that of the database, with a password.
pub(crate) fn refuse_url(flag: &str, path: Option<&PathBuf>) -> Result<()> {
    match path {
        Some(path) if path.to_string_lossy().contains("://") => {
            Err(Error::usage(format!("{flag} is a URL, not a path")).hint("name a local file or directory"))
        }
        _ => Ok(()),
    }
}

/// Whether standard error is a terminal that can redraw bars.
fn can_draw() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|terminal| terminal != "dumb")
}

fn jobs_or_cores(jobs: Option<usize>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    jobs.unwrap_or(cores.min(cli::MAX_JOBS))
}

/// Refuses an output that is one of the inputs: a reject file may have the name of an input.
fn refuse_input_file(output: &Path, sources: &EnumMap<TableId, Source>) -> Result<()> {
    match sources.values().find(|source| is_same(&source.path, output)) {
        None => Ok(()),
        Some(source) => {
            Err(Error::usage(format!("{} is an input and would be overwritten", source.path.display()))
                .hint("name another directory with --rejects, and another file with --report"))
        }
    }
}

/// Refuses reject files among the inputs: next to `product.csv.gz`, a `product.csv` would be a second input of the next
/// load.
fn refuse_input_directory(rejects: &Path, data: &Path) -> Result<()> {
    if !is_same(rejects, data) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{} is the directory of the input files: rejected rows cannot be written there",
        rejects.display()
    ))
    .hint("name another directory with --rejects"))
}

/// Refuses a report that is or will be a reject file: one would overwrite the other.
fn refuse_reject_file(report: &Path, rejected: &[PathBuf]) -> Result<()> {
    let directory = |path: &Path| match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    // The files need not exist yet, but the directory of the report must.
    let becomes = |file: &Path| {
        is_same(report, file)
            || report.file_name() == file.file_name() && is_same(&directory(report), &directory(file))
    };
    match rejected.iter().find(|file| becomes(file) || becomes(&rejects::partial(file))) {
        None => Ok(()),
        Some(file) => Err(Error::usage(format!(
            "{} cannot be the report: rejected rows are written to {}",
            report.display(),
            file.display()
        ))
        .hint("name another file with --report, or another directory with --rejects")),
    }
}

/// Whether both exist and are the same file or directory. Neither is opened: one may be a pipe.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    id(one).is_some_and(|one| id(other) == Some(one))
}

#[derive(Clone)]
pub struct Database {
    pub(crate) target: Target,
    /// How long to wait for a database that is starting.
    pub(crate) wait: Duration,
}

impl Database {
    pub fn resolve(args: &cli::Database) -> Result<Database> {
        let target = Target::resolve(args.database_url.as_deref())?;
        Ok(Database { target, wait: Duration::from_secs(args.wait) })
    }
}

pub(crate) struct Verify {
    pub(crate) database: Database,
    /// Tables to read in parallel.
    pub(crate) jobs: usize,
    pub(crate) report: ReportFile,
}

impl Verify {
    pub(crate) fn resolve(args: &cli::Verify) -> Result<Verify> {
        refuse_url("--report", args.report.as_ref())?;
        let (jobs, database) = (jobs_or_cores(args.jobs), Database::resolve(&args.database)?);
        let report = ReportFile::open(args.report.as_deref())?;
        Ok(Verify { database, jobs, report })
    }
}
