//! `atelier-etl`: parses the command line, runs the command and gives the exit code.

use std::process::ExitCode;

use atelier_base::args;
use atelier_base::error::{Error, Result, print_error};
use atelier_etl::cli::{Cli, Command};
use atelier_etl::commands::{check, generate, load, rollback, status, verify};

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
            Command::Load(args) => load::run(&args).await,
            Command::Check(args) => check::run(args).await,
            Command::Generate(args) => generate::run(args).await,
            Command::Status(args) => status::run(&args).await,
            Command::Verify(args) => verify::run(&args).await,
            Command::Rollback(args) => rollback::run(&args).await,
        }
    });
    // After a failure, threads may still be reading files: do not wait for them.
    runtime.shutdown_background();
    result
}
