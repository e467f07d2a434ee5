//! `atelier-server`: parses the command line, serves until it is told to stop, and gives the exit code.

use std::process::ExitCode;

use atelier_base::terminal::print_error;
use atelier_base::typed;
use atelier_server::config::{Config, Typed};
use atelier_server::{listen, log};

/// Gives memory back when clients go, and wastes less of it on bodies of all sizes than the system's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let typed: Typed = typed::parse();
    let served = log::start(typed.log_format).and_then(|()| listen::run(Config::resolve(typed)?));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error("atelier-server", &error);
            ExitCode::from(&error)
        }
    }
}
