//! `atelier-server`: parses the command line, serves until it is told to stop, and gives the exit code.

use std::process::ExitCode;

use atelier_base::args;
use atelier_base::error::print_error;
use atelier_server::config::{Args, Config};
use atelier_server::net::listen;
use atelier_server::telemetry::log;

/// Gives memory back when clients go, and wastes less of it on bodies of all sizes than the system's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args: Args = args::parse();
    let served = log::start(args.log_format).and_then(|()| listen::run(Config::resolve(args)?));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error("atelier-server", &error);
            ExitCode::from(&error)
        }
    }
}
