//! The names of what can be wrong with a row. The codes are public: reject files, the report and `manifest.json` use them.

use std::collections::BTreeMap;

use enum_map::{Enum, EnumArray, EnumMap};

/// A defect that has a public code.
pub trait Code: EnumArray<u64> + Copy {
    fn code(self) -> &'static str;

    /// Every defect of this kind, in order.
    fn all() -> impl Iterator<Item = Self> {
        (0..Self::LENGTH).map(Self::from_usize)
    }
}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
        pub enum $name { $($(#[$case_doc])* $case,)* }

        impl Code for $name {
            fn code(self) -> &'static str {
                match self { $($name::$case => $code,)* }
            }
        }
    };
}

codes! {
    /// What was repaired in a row that was then loaded.
    Repair {
        /// A quote that is never closed: closed at the end of its line.
        UnterminatedQuote = "unterminated_quote",
        /// A price written `"$818"`, `"586.00"` or `"default_price": 49`.
        PriceFormat = "price_format",
        /// Spaces around a field or a header name, outside its quotes, or surplus carriage returns before a line end.
        Spacing = "spacing",
    }
}

codes! {
    /// Why a row was rejected.
    Fault {
        /// Too few or too many fields.
        FieldCount = "field_count",
        /// A quote in the middle of a field, text after a closing one, or a carriage return outside quotes.
        BadQuote = "bad_quote",
        /// Not an integer, or out of the column's range.
        BadInteger = "bad_integer",
        /// Not a price, or out of the range of `numeric(12,2)`.
        BadPrice = "bad_price",
        /// Not one of the words for a boolean.
        BadBoolean = "bad_boolean",
        /// Null or empty where the column needs a value.
        MissingValue = "missing_value",
        /// Not UTF-8, or a NUL byte.
        BadEncoding = "bad_encoding",
        /// An id that an earlier row of the file already has.
        DuplicateId = "duplicate_id",
        /// The parent is not in its file, or was rejected.
        Orphan = "orphan",
        /// Longer than 1 MiB.
        RecordTooLong = "record_too_long",
    }
}

/// The repairs of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs(EnumMap<Repair, bool>);

impl Repairs {
    /// Adds `repair` if the row was `repaired` so.
    #[inline]
    pub(crate) fn add_if(&mut self, repaired: bool, repair: Repair) {
        self.0[repair] |= repaired;
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self == Repairs::default()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Repair> {
        self.0.into_iter().filter(|(_, repaired)| *repaired).map(|(repair, _)| repair)
    }
}

/// How many rows have each defect.
pub type Counts<C> = EnumMap<C, u64>;

/// Adds the counts of another part of the same file.
pub(crate) fn add_counts<C: Code>(sum: &mut Counts<C>, counts: &Counts<C>) {
    for (sum, count) in sum.values_mut().zip(counts.values()) {
        *sum += count;
    }
}

/// Code → rows, without the zeros.
pub(crate) fn by_code<C: Code>(counts: &Counts<C>) -> BTreeMap<&'static str, u64> {
    counts.iter().filter(|(_, rows)| **rows > 0).map(|(code, rows)| (code.code(), *rows)).collect()
}

/// A row that is not loaded, with everything that is needed to repair it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Number of its first line, from 1.
    pub line: u64,
    /// Position of its first byte in the uncompressed file.
    pub offset: u64,
    /// The column at fault, or empty where it is the row as a whole.
    pub column: &'static str,
    pub fault: Fault,
    /// Why, for people, with the value.
    pub message: String,
    /// The record as it is in the file, without its line end; cut at 1 MiB.
    pub raw: Vec<u8>,
}

/// A row that was repaired and loaded, or a header that was repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    pub repair: Repair,
    /// Number of its first line, from 1.
    pub line: u64,
    /// The beginning of the record, or its end where that is what was repaired.
    pub excerpt: String,
}
