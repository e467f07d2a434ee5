//! The log: lines on standard error, from the level that `RUST_LOG` names, with escapes for what cannot be seen. Clients
//! choose much of what is in it.

use std::fmt::{self, Debug};
use std::io::{self, Stderr, Write, stderr};

use atelier_base::error::Error;
use atelier_base::terminal::stderr_has_colour;
use atelier_base::visible::{visible, visible_json};
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt::layer};

use crate::config::LogFormat;

/// Sets up the log of this process.
pub fn start(format: LogFormat) -> Result<(), Error> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter: Targets = filter.parse().map_err(|error| {
        Error::usage(format!("RUST_LOG={filter} cannot be read"))
            .cause(error)
            .hint("write RUST_LOG=debug, or RUST_LOG=atelier_server=debug")
    })?;
    let lines = match format {
        LogFormat::Text => {
            let lines = layer().with_writer(stderr).with_ansi(stderr_has_colour()).with_target(false);
            lines.fmt_fields(debug_fn(write_field).delimited(" ")).boxed()
        }
        LogFormat::Json => {
            let lines = layer().with_writer(|| Json(stderr())).with_target(false);
            lines.json().flatten_event(true).boxed()
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(())
}

/// The message as it is, every other field with its name.
fn write_field(line: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let value = format!("{value:?}");
    match field.name() {
        "message" => write!(line, "{}", visible(&value)),
        name => write!(line, "{name}={}", visible(&value)),
    }
}

/// Writes whole lines of JSON.
struct Json(Stderr);

impl Write for Json {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = text.strip_suffix('\n').map_or((&text[..], ""), |text| (text, "\n"));
        self.0.write_all(format!("{}{end}", visible_json(text)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
