//! `atelier-etl`: parses the command line, runs the command, prints what came of it and gives the exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atelier_base::args;
use atelier_base::error::print_error;
use atelier_base::error::{Error, Result};
use atelier_base::terminal::{SUCCESS, styled};
use atelier_base::visible::visible;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use atelier_etl::cli::{self, Cli, Command};
use atelier_etl::commands::check as scan;
use atelier_etl::commands::check::GoingOn;
use atelier_etl::commands::{rollback, status, verify};
use atelier_etl::load;
use atelier_etl::options::{Database, Input, Verify, local};
use atelier_etl::output::report::{Report, grouped};
use atelier_etl::output::stdout::print;
use atelier_sample as generate;

/// How long work that was interrupted may take to put away what it has begun.
const PUT_AWAY_PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli: Cli = args::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error("atelier-etl", &error);
            ExitCode::from(&error)
        }
    }
}

fn run(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Error::usage("cannot start").cause(error).hint("raise the limits on threads and open files")
    })?;
    let result = runtime.block_on(async {
        match command {
            Command::Load(args) => load_catalogue(&args).await,
            Command::Check(args) => until_interrupted(move |going_on| check_files(&args, going_on)).await,
            Command::Generate(args) => {
                until_interrupted(move |going_on| generate_files(&args, going_on)).await
            }
            Command::Status(args) => print(&status::status(&Database::resolve(&args.database)?).await?),
            Command::Verify(args) => verify_catalogue(&args).await,
            Command::Rollback(args) => {
                print(&rollback::rollback(&Database::resolve(&args.database)?, interrupt()).await?)
            }
        }
    });
    // Threads that still read a file for a load that has failed are not waited for.
    runtime.shutdown_background();
    result
}

async fn load_catalogue(args: &cli::Load) -> Result<()> {
    let database = Database::resolve(&args.database)?;
    let mut input = Input::resolve(&args.input)?;
    let options = load::Options { keep_previous: args.keep_previous };
    let (report, verdict) = match args.force {
        true => load::load(&mut input, &database, &options, interrupt()).await?,
        false => load::load_if_changed(&mut input, &database, &options, interrupt()).await?,
    };
    let id = report.load_id.as_deref().unwrap_or_default();
    if report.unchanged {
        let unchanged = styled(SUCCESS, "nothing to load: these files are what is published");
        let said =
            print(&format!("{unchanged}\nload {id} stays; --force loads them again\n{}", report.warned()));
        return write(&mut input, &report).and(said);
    }
    let written = show(&mut input, &report);
    verdict?;
    let published = styled(SUCCESS, format_args!("load {id} is published"));
    let said = print(&format!("{published}\n{}", report.times()));
    written.and(said)
}

async fn verify_catalogue(args: &cli::Verify) -> Result<()> {
    let mut options = Verify::resolve(args)?;
    let (comparison, verdict) = verify::verify(&options, interrupt()).await?;
    let said = print(&comparison.summary());
    let written = options.report.as_mut().map_or(Ok(()), |output| output.write(&comparison)).and(said);
    verdict?;
    let said = print(&format!(
        "{}\nin {:.1} s; peak memory: {} MB\n",
        styled(SUCCESS, format_args!("what is published is what was loaded: load {}", comparison.load_id)),
        comparison.seconds,
        comparison.peak_rss_bytes / 1_000_000
    ));
    written.and(said)
}

fn check_files(args: &cli::Check, going_on: &GoingOn) -> Result<()> {
    let mut input = Input::resolve(&args.input)?;
    let (report, verdict) = scan::check(&input, going_on)?;
    let written = show(&mut input, &report);
    verdict?;
    let megabytes = report.tables.values().map(|table| table.bytes).sum::<u64>() as f64 / 1e6;
    let said = print(&format!(
        "{}: {megabytes:.1} MB in {:.1} s, {:.0} MB/s\n",
        styled(SUCCESS, "the files can be loaded"),
        report.seconds,
        megabytes / report.seconds
    ));
    written.and(said)
}

fn generate_files(args: &cli::Generate, going_on: &GoingOn) -> Result<()> {
    local("--out", Some(&args.out))?;
    let options = generate::Options {
        out: args.out.clone(),
        products: args.products,
        seed: args.seed,
        defects: args.defects,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let manifest = generate::generate(&options, going_on)?;
    let out = args.out.display().to_string();
    print(&format!("{} products in {}\n", grouped(u64::from(manifest.products)), visible(&out)))
}

/// Prints the summary, and writes the report if one is wanted. That one cannot be written is no reason to be silent on
/// what has been done.
fn show(input: &mut Input, report: &Report) -> Result<()> {
    let said = print(&report.summary());
    write(input, report).and(said)
}

fn write(input: &mut Input, report: &Report) -> Result<()> {
    input.report.as_mut().map_or(Ok(()), |output| output.write(report))
}

/// Runs work that blocks. When the user gives up, it hears of it where it asks whether to go on, and has a moment to put
/// away what it has begun.
async fn until_interrupted(work: impl FnOnce(&GoingOn) -> Result<()> + Send + 'static) -> Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&interrupted);
    let going_on = move || if seen.load(Ordering::Relaxed) { Err(Error::interrupted()) } else { Ok(()) };
    let mut working = spawn_blocking(move || work(&going_on));
    let done = tokio::select! {
        done = &mut working => done,
        () = interrupt() => {
            interrupted.store(true, Ordering::Relaxed);
            // It may wait for a disk that does not answer.
            timeout(PUT_AWAY_PATIENCE, working).await.map_err(|_| Error::interrupted())?
        }
    };
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Ready at Ctrl-C or SIGTERM. A second one ends the process at once.
async fn interrupt() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    let mut wait = async move || {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    wait().await;
    tokio::spawn(async move {
        wait().await;
        std::process::exit(130);
    });
}
