//! The names of what can be wrong with a row, and the counts of it. The codes are public: reject files, the
//! report and `manifest.json` use them.

use std::collections::BTreeMap;

/// A defect with a code that stands in files and reports.
pub trait Code: Copy + 'static {
    /// Every defect of this kind, in the order of their numbers.
    const ALL: &'static [Self];
    /// Its place in [`Code::ALL`].
    fn number(self) -> usize;
    /// Its public name.
    fn code(self) -> &'static str;
}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$case_doc])* $case,)* }

        impl Code for $name {
            const ALL: &'static [Self] = &[$($name::$case,)*];
            fn number(self) -> usize {
                self as usize
            }
            fn code(self) -> &'static str {
                match self { $($name::$case => $code,)* }
            }
        }
    };
}

codes! {
    /// What was mended in a row that was then loaded.
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

/// How many rows have each defect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    numbers: [u64; 10],
}

impl Counts {
    /// One more row with `code`.
    pub fn add(&mut self, code: impl Code) {
        self.numbers[code.number()] += 1;
    }

    /// Adds the counts of another part of the same file.
    pub fn merge(&mut self, other: &Counts) {
        for (mine, theirs) in self.numbers.iter_mut().zip(&other.numbers) {
            *mine += theirs;
        }
    }

    /// Rows with `code`.
    pub fn get(&self, code: impl Code) -> u64 {
        self.numbers[code.number()]
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.numbers.iter().sum()
    }

    /// Code → rows, without the zeros. `C` says which kind of defect was counted.
    pub fn by_code<C: Code>(&self) -> BTreeMap<&'static str, u64> {
        C::ALL.iter().map(|&code| (code.code(), self.get(code))).filter(|&(_, count)| count > 0).collect()
    }
}

/// A row that is not loaded, with everything needed to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Number of its first line, from 1.
    pub line: u64,
    /// Position of its first byte in the uncompressed file.
    pub offset: u64,
    /// The column at fault, or empty where it is the row as a whole.
    pub column: &'static str,
    /// Why.
    pub fault: Fault,
    /// The same for people, with the value.
    pub message: String,
    /// The record as it stands in the file, without its line end; cut at 1 MiB.
    pub raw: Vec<u8>,
}

/// A row that was mended and loaded, or a header that was mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// What was mended.
    pub repair: Repair,
    /// Number of its first line, from 1.
    pub line: u64,
    /// The beginning of the record, or its end where that is what was mended.
    pub excerpt: String,
}
