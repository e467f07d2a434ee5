//! The log: lines on standard error, filtered by `RUST_LOG`. Control and invisible characters are escaped, since clients
//! choose parts of the text.

use std::fmt::{self, Debug};
use std::io::{self, Write, stderr};

use atelier_base::error::Error;
use atelier_base::terminal::stderr_has_colour;
use atelier_base::visible::{visible, visible_json};
use clap::ValueEnum;
use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt::layer};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

pub fn start(format: LogFormat) -> Result<(), Error> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter: Targets = filter.parse().map_err(|error| {
        Error::usage(format!("invalid RUST_LOG={filter}"))
            .cause(error)
            .hint("write RUST_LOG=debug, or RUST_LOG=atelier_server=debug")
    })?;
    tracing_subscriber::registry()
        .with(lines(format, stderr_has_colour(), stderr).with_filter(filter))
        .init();
    Ok(())
}

fn lines<S, W>(format: LogFormat, in_colour: bool, writer: fn() -> W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + 'static,
{
    match format {
        LogFormat::Text => {
            let lines = layer().with_writer(writer).with_ansi(in_colour).with_target(false);
            lines.fmt_fields(debug_fn(write_field).delimited(" ")).boxed()
        }
        LogFormat::Json => {
            let lines = layer().with_writer(move || Json(writer())).with_target(false);
            lines.json().flatten_event(true).boxed()
        }
    }
}

/// The message has no name in front, every other field has.
fn write_field(line: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let value = format!("{value:?}");
    match field.name() {
        "message" => write!(line, "{}", visible(&value)),
        name => write!(line, "{name}={}", visible(&value)),
    }
}

/// Escapes lines of JSON.
struct Json<W>(W);

impl<W: Write> Write for Json<W> {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Log;

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LOG.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn text_from_clients_cannot_control_a_terminal() {
        let target = "/\u{1b}[31m\u{85}\u{202e}";
        for format in [LogFormat::Text, LogFormat::Json] {
            let subscriber = tracing_subscriber::registry().with(lines(format, false, || Log));
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!(%target, why = target, "{target}");
            });
        }
        let log = String::from_utf8(std::mem::take(&mut *LOG.lock().unwrap())).unwrap();
        let [text, json] = log.lines().collect::<Vec<_>>().try_into().unwrap();
        let shown = "/\\u{1b}[31m\\u{85}\\u{202e}";
        assert!(text.ends_with(&format!("{shown} target={shown} why=\"{shown}\"")), "{text}");
        assert!(json.is_ascii(), "{json}");
        let event: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!([&event["message"], &event["target"], &event["why"]], [target; 3]);
    }
}
