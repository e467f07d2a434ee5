//! `--max-rejects`: how many rows of a file may be rejected, as a number or as an exact share.

use std::fmt;

use atelier_base::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    /// At most this many.
    Rows(u64),
    /// At most this share, in millionths of a per cent. An integer, so that 29 of 100 rows are not more than 29 %.
    Share(u32),
}

/// Of a per cent: six decimals of `--max-rejects` count.
const MILLIONTHS: u32 = 1_000_000;

impl Limit {
    /// Reads `250` or `0.5%`.
    pub(crate) fn parse(text: &str) -> Result<Limit> {
        let limit = match text.strip_suffix('%') {
            Some(percent) => millionths(percent.trim()).map(Limit::Share),
            None => text.parse().ok().map(Limit::Rows),
        };
        limit.ok_or_else(|| {
            Error::usage(format!(
                "--max-rejects {text:?} is neither a number of rows nor a share from 0% to 100%"
            ))
            .hint("give a number of rows such as 250, or a share of a file's rows such as 0.5%")
        })
    }

    /// Whether `rejected` of `read` rows are more than allowed.
    pub(crate) fn is_exceeded(self, read: u64, rejected: u64) -> bool {
        match self {
            Limit::Rows(most) => rejected > most,
            Limit::Share(share) => {
                u128::from(rejected) * 100 * u128::from(MILLIONTHS) > u128::from(read) * u128::from(share)
            }
        }
    }
}

/// `29` or `0.5` per cent in [`MILLIONTHS`], up to 100.
fn millionths(percent: &str) -> Option<u32> {
    let (whole, decimals) = percent.split_once('.').unwrap_or((percent, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !(digits(whole) && digits(decimals) && decimals.len() <= 6) {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let decimals: u32 = format!("{decimals:0<6}").parse().ok()?;
    whole.checked_mul(MILLIONTHS)?.checked_add(decimals).filter(|share| *share <= 100 * MILLIONTHS)
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Rows(most) => write!(f, "{most}"),
            // Below 2^53, where a number and its shortest decimals are the same.
            Limit::Share(share) => write!(f, "{} %", f64::from(*share) / f64::from(MILLIONTHS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(Limit::parse("250").unwrap(), Limit::Rows(250));
        assert_eq!(Limit::parse("0.5%").unwrap(), Limit::Share(500_000));
        for wrong in ["", "-1", "101%", "100.000001%", "%", ".5%", "1.%", "1e1%", "0.0000001%", "1.5", "many"]
        {
            assert_eq!(Limit::parse(wrong).unwrap_err().class().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        // The limit, how it is shown, rows, the most rejects.
        let cases = [
            ("0", "0", 10, 0),
            ("4", "4", 19, 4),
            ("0%", "0 %", 10, 0),
            ("1%", "1 %", 100, 1),
            ("1%", "1 %", 199, 1),
            ("7%", "7 %", 100, 7),
            // In binary fractions, 100 times 0.29 is less than 29.
            ("29%", "29 %", 100, 29),
            ("28.999999%", "28.999999 %", 100, 28),
            ("0.57%", "0.57 %", 10_000, 57),
            ("0.1 %", "0.1 %", 27_000_000_000, 27_000_000),
            ("100%", "100 %", 3, 3),
        ];
        for (text, shown, read, most) in cases {
            let limit = Limit::parse(text).unwrap();
            assert_eq!(limit.to_string(), shown);
            assert!(!limit.is_exceeded(read, most), "{text} of {read}");
            assert!(limit.is_exceeded(read, most + 1), "{text} of {read}");
        }
    }
}
