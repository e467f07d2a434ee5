//! Colour on a terminal, and nowhere else. `NO_COLOR` and `TERM=dumb` turn it off; `CI` turns it on, for logs that show
//! colours.
//!
//! Text is styled where it is made; printing it removes the styles where there is no colour.

use std::fmt::Display;
use std::io::{Write as _, stderr};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// Headings and labels.
pub const LABEL: Style = Style::new().bold();
/// Done.
pub const SUCCESS: Style = AnsiColor::Green.on_default();
pub const WARNING: Style = AnsiColor::Yellow.on_default();
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Less important.
pub const DIM: Style = Style::new().dimmed();

/// `text` in a style. Pad it before: the escape sequences count as characters.
pub fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints to standard error. Ignores failures: the exit code is left to report the error.
pub(crate) fn print_to_stderr(text: &str) {
    let _ = AutoStream::auto(stderr()).write_all(text.as_bytes());
}

/// Whether what is printed to standard error may be in colour.
pub fn stderr_has_colour() -> bool {
    AutoStream::choice(&stderr()) != ColorChoice::Never
}
