//! What people see at a terminal: the same words as in a file or a pipe, in colour. There is none where `NO_COLOR` is
//! set, nor on a terminal that has none (`TERM=dumb`), unless `CI` says that it is a log which shows colours.
//!
//! Text is styled where it is made; what prints it takes the styles out where they cannot be seen.

use std::fmt::Display;
use std::io::{Write as _, stderr};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// Headings and labels.
pub const LABEL: Style = Style::new().bold();
/// Done, as it should be.
pub const SUCCESS: Style = AnsiColor::Green.on_default();
/// Not an error, but not expected.
pub const WARNING: Style = AnsiColor::Yellow.on_default();
/// An error.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Less important.
pub const DIM: Style = Style::new().dimmed();

/// The text in a style. Pad it before: what switches a style on and off counts as characters.
pub fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints to standard error what cannot be said anywhere else. Where nobody can read it, the exit code says it.
pub fn print_to_stderr(text: &str) {
    let _ = AutoStream::auto(stderr()).write_all(text.as_bytes());
}

/// Whether what is printed to standard error may be in colour.
pub fn stderr_has_colour() -> bool {
    AutoStream::choice(&stderr()) != ColorChoice::Never
}
