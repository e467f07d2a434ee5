//! The defects by their codes, as the loader, its reports and the manifest name them, and what a correct
//! loader does about each. Which rows carry them is in `plan`, how they look in bytes in `damage`.

/// What the loader calls a defect. Stated apart from `atelier_etl::rows::defect`: the manifest is the truth that the loader is
/// checked against, so it must not come from the loader's own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    UnterminatedQuote,
    PriceFormat,
    Spacing,
    FieldCount,
    BadQuote,
    BadInteger,
    BadPrice,
    BadBoolean,
    MissingValue,
    BadEncoding,
    DuplicateId,
    Orphan,
    RecordTooLong,
}

/// Every code, in the order of [`Code`].
pub(crate) const CODES: [Code; 13] = [
    Code::UnterminatedQuote,
    Code::PriceFormat,
    Code::Spacing,
    Code::FieldCount,
    Code::BadQuote,
    Code::BadInteger,
    Code::BadPrice,
    Code::BadBoolean,
    Code::MissingValue,
    Code::BadEncoding,
    Code::DuplicateId,
    Code::Orphan,
    Code::RecordTooLong,
];

impl Code {
    /// The code as reports and the manifest write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Code::UnterminatedQuote => "unterminated_quote",
            Code::PriceFormat => "price_format",
            Code::Spacing => "spacing",
            Code::FieldCount => "field_count",
            Code::BadQuote => "bad_quote",
            Code::BadInteger => "bad_integer",
            Code::BadPrice => "bad_price",
            Code::BadBoolean => "bad_boolean",
            Code::MissingValue => "missing_value",
            Code::BadEncoding => "bad_encoding",
            Code::DuplicateId => "duplicate_id",
            Code::Orphan => "orphan",
            Code::RecordTooLong => "record_too_long",
        }
    }

    /// Whether a row with this defect is loaded all the same.
    pub(crate) fn is_repaired(self) -> bool {
        matches!(self, Code::UnterminatedQuote | Code::PriceFormat | Code::Spacing)
    }

    /// Whether the id of a row with this defect is missing from the database. A duplicate is a row of its
    /// own: the one it repeats is loaded.
    pub(crate) fn loses_id(self) -> bool {
        !self.is_repaired() && self != Code::DuplicateId
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_at_their_number() {
        assert!(CODES.iter().enumerate().all(|(index, &code)| code as usize == index));
    }
}
