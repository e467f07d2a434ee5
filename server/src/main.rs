//! `atelier-server`: parses the command line, serves until it is told to stop, and gives the exit code.

use std::process::ExitCode;

use atelier_base::connect::without_passwords;
use atelier_base::error::Error;
use atelier_base::terminal::{complain, stderr_has_colour};
use atelier_server::config::{Config, LogFormat, Typed};
use atelier_server::listen;
use clap::Parser as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

fn main() -> ExitCode {
    let typed = match Typed::try_parse() {
        Ok(typed) => typed,
        Err(error) => return refuse(&error),
    };
    let served = log(typed.log_format).and_then(|()| listen::run(Config::resolve(typed)?));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("atelier-server", &error);
            ExitCode::from(&error)
        }
    }
}

/// Says what is wrong with the command line, as clap does, or prints the help that was asked for. A connection string
/// in the wrong place may have a password in it.
fn refuse(error: &clap::Error) -> ExitCode {
    let (said, shown) = (error.to_string(), without_passwords(&error.to_string()));
    if !error.use_stderr() || said == shown {
        error.exit();
    }
    eprint!("{shown}");
    ExitCode::from(2)
}

/// Log lines go to standard error, from the level that `RUST_LOG` names.
fn log(format: LogFormat) -> Result<(), Error> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter: Targets = filter.parse().map_err(|error| {
        Error::usage(format!("RUST_LOG={filter} cannot be read"))
            .cause(error)
            .hint("write RUST_LOG=debug, or RUST_LOG=atelier_server=debug")
    })?;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(stderr_has_colour()).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(())
}
