//! Everything that can stop a program: what went wrong, where, and what to do next. An error keeps its
//! cause and is printed once, by `main`. The variants of [`Class`] are the exit codes.

use std::error::Error as StdError;
use std::fmt;
use std::process::ExitCode;

use anstyle::Style;

use crate::terminal::{LABEL, styled};
use crate::visible::visible;

type Cause = Box<dyn StdError + Send + Sync>;

/// Why a program stopped. One variant for each exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The command line asks for something that cannot be: exit 2.
    Usage,
    /// The files cannot be read, or hold what is not accepted: exit 3.
    Input,
    /// The database cannot be reached, refused, or failed: exit 4.
    Database,
    /// What was written is not what was read: exit 5.
    Mismatch,
    /// Ctrl-C or SIGTERM: exit 130.
    Interrupted,
}

impl Class {
    /// The process's exit code.
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

/// An error as a person needs it: what and where (`what`), why (`cause`), what to do (`hint`).
#[derive(Debug)]
pub struct Error {
    class: Class,
    what: String,
    hint: Option<String>,
    cause: Option<Cause>,
}

/// The result of everything that can stop a program.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `class`; `what` says what went wrong and where.
    pub fn new(class: Class, what: impl Into<String>) -> Self {
        Error { class, what: what.into(), hint: None, cause: None }
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

    /// The user asked to stop.
    pub fn interrupted() -> Self {
        Self::new(Class::Interrupted, "interrupted")
    }

    /// Adds what the reader should do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the error that led to this one.
    pub fn cause(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The whole chain in one line, for a log or a list.
    pub fn in_a_line(&self) -> String {
        self.to_string().replace("\n  ", "; ")
    }

    /// Which kind of failure this is.
    pub fn class(&self) -> Class {
        self.class
    }
}

impl From<&Error> for ExitCode {
    fn from(error: &Error) -> Self {
        ExitCode::from(error.class.exit_code())
    }
}

/// The whole chain in one text, one thing a line: what, each cause, what to do; `{:#}` is in colour.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = |text| styled(if f.alternate() { LABEL } else { Style::new() }, text);
        let (because, to_do) = (label("because:"), label("to do:"));
        f.write_str(&visible(&self.what))?;
        let mut cause: Option<&dyn StdError> = self.cause.as_deref().map(|cause| cause as _);
        let mut said = self.what.clone();
        while let Some(error) = cause {
            // Many libraries repeat their source in their own message.
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, "\n  {because} {}", visible(&text))?;
                said = text;
            }
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  {to_do} {}", visible(hint))?;
        }
        Ok(())
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_why_and_what_to_do() {
        let cause = std::io::Error::other("disk on\u{a0}fire");
        let error = Error::input("cannot read data/skus.csv").cause(cause).hint("put it out");
        assert_eq!(
            error.to_string(),
            "cannot read data/skus.csv\n  because: disk on\\u{a0}fire\n  to do: put it out"
        );
        assert_eq!(
            error.in_a_line(),
            "cannot read data/skus.csv; because: disk on\\u{a0}fire; to do: put it out"
        );
        assert_eq!(error.class().exit_code(), 3);
    }
}
