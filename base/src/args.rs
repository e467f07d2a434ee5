//! Command-line arguments, parsed by clap, with our own messages where those of clap name Rust types.

use std::fmt::Display;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::process;
use std::str::FromStr;

use clap::Parser;

use crate::connect::without_passwords;
use crate::visible::visible;

/// Exit code of an invalid command line, the same as clap's.
const USAGE: i32 = 2;

/// Parses the command line. Errors are printed as by clap, except that invisible characters are escaped and passwords are
/// removed: a connection string may be in the wrong place.
pub fn parse<P: Parser>() -> P {
    P::try_parse().unwrap_or_else(|error| {
        let text = error.to_string();
        let lines: Vec<_> = text.lines().map(visible).collect();
        let shown = without_passwords(&lines.join("\n"));
        let code = match error.use_stderr() && shown != text.trim_end() {
            true => {
                eprintln!("{shown}");
                USAGE
            }
            // The help is printed here too. That it cannot be written is a failure, unless its reader has closed the pipe.
            false => match error.print() {
                Err(failed) if failed.kind() != ErrorKind::BrokenPipe => USAGE,
                _ => error.exit_code(),
            },
        };
        process::exit(code)
    })
}

/// A value parser for a number in `range`. The messages of clap's own ones name invalid digits and Rust ranges.
pub fn number<N>(
    range: RangeInclusive<N>,
) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static
where
    N: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("give a number from {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_their_range() {
        let read = number(1..=64_u16);
        assert_eq!([read("1"), read("64")], [Ok(1), Ok(64)]);
        for text in ["0", "65", "two", "", "-1", "1.5", " 1", "70000"] {
            assert_eq!(read(text), Err("give a number from 1 to 64".to_owned()), "{text}");
        }
    }
}
