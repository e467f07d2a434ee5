//! The error of both programs: what went wrong, where, why, and what to do. It is printed once, by `main`. The variants of
//! [`Class`] are the exit codes.

use std::error::Error as StdError;
use std::fmt;
use std::iter;
use std::process::ExitCode;

use crate::terminal::{ERROR, LABEL, print_to_stderr, styled};
use crate::visible::visible;

pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why a program stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The command line cannot be carried out: exit 2.
    Usage,
    /// The files cannot be read, or are not accepted: exit 3.
    Input,
    /// The database cannot be reached, or refused, or failed: exit 4.
    Database,
    /// The database does not have what was read from the files: exit 5.
    Mismatch,
    /// Ctrl-C or SIGTERM: exit 130.
    Interrupted,
}

impl Class {
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Usage => 2,
            Class::Input => 3,
            Class::Database => 4,
            Class::Mismatch => 5,
            Class::Interrupted => 130,
        }
    }
}

/// What went wrong and where (`what`), why (`source`), and what to do (`hint`).
#[derive(Debug)]
pub struct Error {
    class: Class,
    what: String,
    hint: Option<String>,
    source: Option<Cause>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(class: Class, what: impl Into<String>) -> Self {
        Error { class, what: what.into(), hint: None, source: None }
    }

    /// Short for `Error::new(Class::Usage, …)`.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Class::Usage, what)
    }

    /// Short for `Error::new(Class::Input, …)`.
    pub fn input(what: impl Into<String>) -> Self {
        Self::new(Class::Input, what)
    }

    /// Short for `Error::new(Class::Database, …)`.
    pub fn database(what: impl Into<String>) -> Self {
        Self::new(Class::Database, what)
    }

    /// Short for `Error::new(Class::Mismatch, …)`.
    pub fn mismatch(what: impl Into<String>) -> Self {
        Self::new(Class::Mismatch, what)
    }

    /// By Ctrl-C or SIGTERM.
    pub fn interrupted() -> Self {
        Self::new(Class::Interrupted, "interrupted")
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the error that led to this one.
    pub fn cause(mut self, cause: impl Into<Cause>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// The messages of the causes. One that the message before repeats is left out.
    fn causes(&self) -> impl Iterator<Item = String> {
        let mut last = self.what.clone();
        let sources = iter::successors(self.source(), |&error| error.source());
        sources.map(ToString::to_string).filter(move |text| {
            let is_new = !last.contains(text.as_str());
            if is_new {
                last.clone_from(text);
            }
            is_new
        })
    }

    pub fn class(&self) -> Class {
        self.class
    }
}

impl From<&Error> for ExitCode {
    fn from(error: &Error) -> Self {
        ExitCode::from(error.class.exit_code())
    }
}

/// What went wrong; `{:#}` is the whole chain in one line, for a log: what, each cause, the hint.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&self.what))?;
        if f.alternate() {
            for cause in self.causes() {
                write!(f, ": {}", visible(&cause))?;
            }
            if let Some(hint) = &self.hint {
                write!(f, "; hint: {}", visible(hint))?;
            }
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Prints `error` of `program` to standard error: what, each cause and the hint on lines of their own.
pub fn print_error(program: &str, error: &Error) {
    let mut text = format!("{}: {error}\n", styled(ERROR, program));
    for cause in error.causes() {
        text += &format!("  {} {}\n", styled(LABEL, "caused by:"), visible(&cause));
    }
    if let Some(hint) = &error.hint {
        text += &format!("  {} {}\n", styled(LABEL, "hint:"), visible(hint));
    }
    print_to_stderr(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_what_why_and_what_to_do() {
        let cause = std::io::Error::other("disk on\u{a0}fire");
        let error = Error::input("cannot read data/skus.csv").cause(cause).hint("put it out");
        assert_eq!(error.to_string(), "cannot read data/skus.csv");
        assert_eq!(format!("{error:#}"), "cannot read data/skus.csv: disk on\\u{a0}fire; hint: put it out");
        assert_eq!(error.class().exit_code(), 3);
    }
}
