//! Values → the rows of PostgreSQL's binary COPY format (manual, "COPY", "Binary Format"). No I/O.

use memchr::memchr;

use crate::rows::value::Value;

/// What a binary COPY begins with: signature, flags, length of the header extension.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Its end.
pub const TRAILER: &[u8] = &(-1i16).to_be_bytes();

/// Appends one row: its values, then its `position` if the table has one.
#[inline]
pub fn row(values: &[Value<'_>], position: Option<u32>, out: &mut Vec<u8>) {
    let columns = values.len() + usize::from(position.is_some());
    // No table has as many columns as i16 holds.
    out.extend_from_slice(&(columns as i16).to_be_bytes());
    for value in values {
        match *value {
            Value::Null => out.extend_from_slice(&(-1i32).to_be_bytes()),
            Value::Integer(integer) => int4(integer.to_be_bytes(), out),
            Value::Boolean(boolean) => out.extend_from_slice(&[0, 0, 0, 1, u8::from(boolean)]),
            Value::Cents(cents) => numeric(cents, out),
            Value::Text(text) => {
                length(text.len(), out);
                out.extend_from_slice(text);
            }
            Value::Escaped(text) => unescaped(text, out),
        }
    }
    if let Some(position) = position {
        int4(position.to_be_bytes(), out);
    }
}

#[inline]
fn int4(bytes: [u8; 4], out: &mut Vec<u8>) {
    let [a, b, c, d] = bytes;
    out.extend_from_slice(&[0, 0, 0, 4, a, b, c, d]);
}

/// Of a field. Records are at most 1 MiB long, so it fits.
#[inline]
fn length(bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes as u32).to_be_bytes());
}

/// `numeric` with two decimals: digits to base 10,000 from the highest down, none of them trailing zeros; the
/// weight is the power of the first one. See `numeric_send` in PostgreSQL's `numeric.c`, which writes the same
/// bytes, so that a row that is read back has the same digest.
fn numeric(cents: u64, out: &mut Vec<u8>) {
    let whole = cents / 100;
    let digits = [whole / 100_000_000, whole / 10_000 % 10_000, whole % 10_000, cents % 100 * 100];
    let first = digits.iter().position(|&digit| digit != 0).unwrap_or(4);
    let last = digits.iter().rposition(|&digit| digit != 0).map_or(4, |last| last + 1);
    let significant = &digits[first..last];
    let weight = if significant.is_empty() { 0 } else { 2 - first as i16 };
    length(8 + 2 * significant.len(), out);
    out.extend_from_slice(&(significant.len() as i16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 2]); // sign: positive; two decimals
    for &digit in significant {
        out.extend_from_slice(&(digit as i16).to_be_bytes());
    }
}

/// Text in which every quote is doubled: writes it once.
#[cold]
fn unescaped(text: &[u8], out: &mut Vec<u8>) {
    let length_at = out.len();
    length(0, out);
    let start = out.len();
    let mut rest = text;
    while let Some(quote) = memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=quote]);
        rest = rest.get(quote + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    let bytes = (out.len() - start) as u32;
    out[length_at..start].copy_from_slice(&bytes.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected bytes are what PostgreSQL 15 sends for `select …::numeric(12,2)` in binary.
    #[test]
    fn numeric_is_what_postgresql_sends() {
        let cases: &[(u64, &[i16])] = &[
            (0, &[0, 0, 0, 2]),
            (1, &[1, -1, 0, 2, 100]),
            (14_000, &[1, 0, 0, 2, 140]),
            (14_050, &[2, 0, 0, 2, 140, 5000]),
            (1_000_000, &[1, 1, 0, 2, 1]),
            (1_000_001, &[3, 1, 0, 2, 1, 0, 100]),
            (50_000_000_000, &[1, 2, 0, 2, 5]),
            (999_999_999_999, &[4, 2, 0, 2, 99, 9999, 9999, 9900]),
        ];
        for (cents, expected) in cases {
            let mut out = Vec::new();
            numeric(*cents, &mut out);
            let mut wanted = ((expected.len() * 2) as u32).to_be_bytes().to_vec();
            wanted.extend(expected.iter().flat_map(|word| word.to_be_bytes()));
            assert_eq!(out, wanted, "{cents}");
        }
    }

    #[test]
    fn a_row_is_counted_and_every_field_has_its_length() {
        let mut out = Vec::new();
        row(
            &[
                Value::Integer(-2),
                Value::Null,
                Value::Boolean(true),
                Value::Text(b"XS"),
                Value::Escaped(b"6\"\" x\"\""),
            ],
            Some(7),
            &mut out,
        );
        let expected = b"\0\x06\0\0\0\x04\xff\xff\xff\xfe\xff\xff\xff\xff\0\0\0\x01\x01\0\0\0\x02XS\0\0\0\x056\" x\"\0\0\0\x04\0\0\0\x07";
        assert_eq!(out, expected);
    }
}
