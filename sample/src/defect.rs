//! The defects by their codes, as the loader, its reports and the manifest name them, and what a correct loader does about
//! each. Which rows have them is in `plan`, how they look in bytes in `damage`.

use enum_map::Enum;

/// Declared apart from `atelier_etl::rows::defect`: the loader is checked against the manifest, so the manifest must not
/// come from the loader's own code.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
pub(crate) enum Defect {
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

impl Defect {
    /// As in reports and in the manifest.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Defect::UnterminatedQuote => "unterminated_quote",
            Defect::PriceFormat => "price_format",
            Defect::Spacing => "spacing",
            Defect::FieldCount => "field_count",
            Defect::BadQuote => "bad_quote",
            Defect::BadInteger => "bad_integer",
            Defect::BadPrice => "bad_price",
            Defect::BadBoolean => "bad_boolean",
            Defect::MissingValue => "missing_value",
            Defect::BadEncoding => "bad_encoding",
            Defect::DuplicateId => "duplicate_id",
            Defect::Orphan => "orphan",
            Defect::RecordTooLong => "record_too_long",
        }
    }

    /// Whether a row with this defect is loaded, repaired.
    pub(crate) fn is_repaired(self) -> bool {
        matches!(self, Defect::UnterminatedQuote | Defect::PriceFormat | Defect::Spacing)
    }

    /// Whether the id of a row with this defect is missing from the database. A duplicate is a row of its
    /// own: the one it repeats is loaded.
    pub(crate) fn loses_id(self) -> bool {
        !self.is_repaired() && self != Defect::DuplicateId
    }
}
