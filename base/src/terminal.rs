//! What people see at a terminal: the same words as in a file or a pipe, in colour. There is none where `NO_COLOR` is
//! set, nor on a terminal that has none (`TERM=dumb`), unless `CI` says that it is a log which shows colours.
//!
//! Text is styled where it is made; what prints it takes the styles out where they cannot be seen.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _, stderr, stdout};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use crate::error::{Error, Result};

/// Headings and labels.
pub const LABEL: Style = Style::new().bold();
/// All is well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Worth a look.
pub const ODD: Style = AnsiColor::Yellow.on_default();
/// Wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Not worth one.
pub const FAINT: Style = Style::new().dimmed();

/// The text in a style. Pad it before: what switches a style on and off counts as characters.
pub fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints to standard output. A reader that has gone, `| head` say, wants no more; else what cannot be written is a
/// failure, since it is what the command was run for.
pub fn print(text: &str) -> Result<()> {
    let mut out = AutoStream::auto(stdout());
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::usage("cannot write to standard output")
                .cause(error)
                .hint("make room where it goes, or send it elsewhere"))
        }
        _ => Ok(()),
    }
}

/// Prints why `program` stops to standard error. Where nobody can read it, the exit code still says it.
pub fn print_error(program: &str, error: &Error) {
    let text = format!("{}: {error:#}\n", styled(BAD, program));
    let _ = AutoStream::auto(stderr()).write_all(text.as_bytes());
}

/// Whether what is printed to standard error may be in colour.
pub fn stderr_has_colour() -> bool {
    AutoStream::choice(&stderr()) != ColorChoice::Never
}
