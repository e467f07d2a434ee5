//! Standard output.

use std::io::{ErrorKind, Write as _, stdout};

use anstream::AutoStream;
use atelier_base::error::{Error, Result};
use atelier_base::terminal::{WARNING, styled};

/// Prints to standard output. A closed pipe, as of `| head`, is no error. Any other failure is: the output is what the
/// command was run for.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = AutoStream::auto(stdout());
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::usage("cannot write to standard output")
                .cause(error)
                .hint("free space where it is redirected to, or redirect it elsewhere"))
        }
        _ => Ok(()),
    }
}

/// The line of a warning.
pub(crate) fn warning_line(warning: &str) -> String {
    format!("{} {warning}\n", styled(WARNING, "warning:"))
}
