//! Text → integers and prices. Strict: what is not certain is not a number.

use std::ops::Range;

use crate::record::Form;

/// The largest price that `numeric(12,2)` holds, in cents.
const MAX_CENTS: u64 = 999_999_999_999;

/// Decimal digits with an optional minus sign, in the range of `int`.
#[inline]
pub fn integer(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let value = i64::try_from(digits_value(digits)?).ok()?;
    i32::try_from(if negative { -value } else { value }).ok()
}

/// [`integer`] of `bytes[span]`. With eight bytes to look at, up to eight digits are read at once: of rows of short
/// fields, numbers are most of the work.
#[inline]
pub fn integer_at(bytes: &[u8], span: Range<usize>) -> Option<i32> {
    let text = &bytes[span.clone()];
    match bytes[span.start..].first_chunk() {
        Some(word) if (1..=8).contains(&text.len()) => {
            up_to_eight_digits(*word, text.len()).or_else(|| integer(text))
        }
        _ => integer(text),
    }
}

/// The value of the first `count` bytes, 1 to 8, if all of them are digits.
#[inline]
fn up_to_eight_digits(word: [u8; 8], count: usize) -> Option<i32> {
    const ZEROS: u64 = u64::from_le_bytes(*b"00000000");
    // The first digit is in the lowest byte. What stands behind the digits is moved out, and zeros in before them.
    let shift = 64 - 8 * count;
    let text = u64::from_le_bytes(word) << shift | ZEROS & ((1 << shift) - 1);
    let digits = text ^ ZEROS;
    // 0x76 more than 9 is 0x7f: the highest bit shows a byte that is no digit.
    if (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    // Pairs of digits, then fours in one multiplication each: 10^6 and 10^2, 10^4 and 1.
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let (even, odd) = (pairs & 0x0000_00ff_0000_00ff, pairs >> 16 & 0x0000_00ff_0000_00ff);
    let value = even.wrapping_mul(100 + (1_000_000 << 32)).wrapping_add(odd.wrapping_mul(1 + (10_000 << 32)));
    Some((value >> 32) as i32)
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

/// A price in cents, and whether its form had to be repaired. The forms that damaged copies have, and no others: a
/// number is never guessed. `names` are those of the column, one of which may stand before a price in JSON form.
#[inline]
pub fn price(text: &[u8], form: Form, names: &[&str]) -> Option<(u64, bool)> {
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
        Form::Ragged => {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn eight_digits_are_read_as_one_by_one() {
        for text in
            ["0", "7", "10", "00000001", "99999999", "12345678", "1234567", "90909090", "123456789", "-1", ""]
        {
            for behind in ["", ",", ",12345678", "9", "99999999"] {
                let bytes = format!("x{text}{behind}");
                let found = integer_at(bytes.as_bytes(), 1..1 + text.len());
                assert_eq!(found, integer(text.as_bytes()), "{bytes}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_number_is_the_same_wherever_it_stands(bytes: Vec<u8>, text in "[0-9/:,-]{0,12}|[0-9]{1,8}", behind: Vec<u8>) {
            let span = bytes.len()..bytes.len() + text.len();
            let whole = [&bytes[..], text.as_bytes(), &behind].concat();
            prop_assert_eq!(integer_at(&whole, span), integer(text.as_bytes()));
        }
    }
}
