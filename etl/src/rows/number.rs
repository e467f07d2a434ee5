//! Text → integers and prices. Strict: nothing is guessed.

use crate::csv::record::Form;

/// The largest price that `numeric(12,2)` holds, in cents.
const MAX_CENTS: u64 = 999_999_999_999;

/// Decimal digits with an optional minus sign, in the range of `int`.
#[inline]
pub(crate) fn integer(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let value = i64::try_from(digits_value(digits)?).ok()?;
    i32::try_from(if negative { -value } else { value }).ok()
}

/// The value of one or more digits, up to 15 of them besides leading zeros.
#[inline]
fn digits_value(digits: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 || value > 99_999_999_999_999 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    (!digits.is_empty()).then_some(value)
}

/// A price in cents, and whether its form was repaired. Reads the forms that damaged copies have, and no others. `names`
/// are those of the column, one of which may be before a price in JSON form.
#[inline]
pub(crate) fn price(text: &[u8], form: Form, names: &[&str]) -> Option<(u64, bool)> {
    match form {
        Form::Bare => match text.strip_prefix(b"$") {
            Some(amount) => Some((amount_cents(amount)?, true)),
            None => Some((amount_cents(text)?, false)),
        },
        Form::Quoted | Form::Open { escaped: false } => {
            let amount = text.trim_ascii();
            Some((amount_cents(amount.strip_prefix(b"$").unwrap_or(amount))?, true))
        }
        // "default_price": 49
        Form::Malformed => {
            let rest = text.strip_prefix(b"\"")?;
            let quote = rest.iter().position(|&byte| byte == b'"')?;
            let (name, rest) = (&rest[..quote], rest[quote + 1..].trim_ascii_start());
            let known = names.iter().any(|known| known.as_bytes() == name);
            let amount = rest.strip_prefix(b":")?.trim_ascii();
            Some((amount_cents(amount).filter(|_| known)?, true))
        }
        Form::Escaped | Form::Open { escaped: true } => None,
    }
}

/// `140`, `140.5` or `140.50` in cents.
#[inline]
fn amount_cents(text: &[u8]) -> Option<u64> {
    let (whole, cents) = match text {
        [whole @ .., b'.', tenths] => (whole, digits_value(&[*tenths, b'0'])?),
        [whole @ .., b'.', tenths, hundredths] => (whole, digits_value(&[*tenths, *hundredths])?),
        _ => (text, 0),
    };
    let total = digits_value(whole)?.checked_mul(100)? + cents;
    (total <= MAX_CENTS).then_some(total)
}
