//! Standard output: what a command prints for people.

use std::io::{ErrorKind, Write as _, stdout};

use anstream::AutoStream;
use atelier_base::error::{Error, Result};

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
