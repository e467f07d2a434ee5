//! The program: parses the command line, runs the server, and sets the exit code.

use std::process::ExitCode;

use atelier_base::args;
use atelier_base::error::print_error;
use atelier_server::config::{Args, Config};
use atelier_server::serve;
use atelier_server::telemetry::log;

/// Returns memory when clients disconnect, and wastes less on bodies of different sizes than the allocator of the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args: Args = args::parse();
    let served = log::start(args.log_format).and_then(|()| serve::run(Config::resolve(args)?));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error("atelier-server", &error);
            ExitCode::from(&error)
        }
    }
}
