//! The tables: file names, columns, what the columns hold, parents. A test compares them with the tables that
//! `schema.sql` creates.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use enum_map::Enum;

/// Of file names. The first bytes of a file tell how it is compressed.
const EXTENSIONS: [&str; 3] = ["csv", "csv.gz", "csv.zst"];

/// In order of dependence: parents before children.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableId {
    Product,
    Features,
    Styles,
    Photos,
    Skus,
    Related,
}

/// What a column holds, and so how its field is read, checked and encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// The row's own id: an integer from 1 to 2,147,483,647, unique in its file.
    Id,
    /// The id of a row in the parent table.
    Parent(TableId),
    /// An `int` of PostgreSQL: 32 bits, signed.
    Integer,
    /// UTF-8 text without NUL.
    Text {
        /// May be the empty string.
        empty: bool,
        /// May be the bare word `null`, or empty without quotes.
        null: bool,
    },
    /// `numeric(12,2)`, not negative.
    Price {
        /// May be the bare word `null`, or empty.
        null: bool,
    },
    /// `0`, `1`, `t`, `f`, `true` or `false`.
    Boolean,
}

/// A column of a CSV file and of its table.
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    /// Its names in a CSV header, the usual one first.
    pub headers: &'static [&'static str],
    pub kind: ColumnKind,
}

/// A table and the file it comes from.
#[derive(Debug)]
pub struct Table {
    pub id: TableId,
    /// Also of its reject file.
    pub name: &'static str,
    /// File names without extension, the usual one first.
    pub stems: &'static [&'static str],
    /// The columns in the usual order of the file, which is the order they are encoded in.
    pub columns: &'static [Column],
    /// Whether the table has a column `position`, which is in no file: the rank of the row's id, from 1. It is encoded last.
    pub ranked: bool,
    /// Relative time to read its rows: in `verify` of a million products, in tenths of a second.
    pub read_cost: u32,
}

const TEXT: ColumnKind = ColumnKind::Text { empty: false, null: false };
const TEXT_OR_EMPTY: ColumnKind = ColumnKind::Text { empty: true, null: false };
const PRICE: ColumnKind = ColumnKind::Price { null: false };

const fn column(name: &'static str, headers: &'static [&'static str], kind: ColumnKind) -> Column {
    Column { name, headers, kind }
}

const ID: Column = column("id", &["id"], ColumnKind::Id);
const STYLE_ID: Column = column("style_id", &["styleId", "style_id"], ColumnKind::Parent(TableId::Styles));

/// Parents before children.
pub static TABLES: [Table; TableId::LENGTH] = [
    Table {
        id: TableId::Product,
        name: "product",
        stems: &["product", "products"],
        columns: &[
            ID,
            column("name", &["name"], TEXT),
            column("slogan", &["slogan"], TEXT_OR_EMPTY),
            column("description", &["description"], TEXT_OR_EMPTY),
            column("category", &["category"], TEXT_OR_EMPTY),
            column("default_price", &["default_price", "defaultPrice"], PRICE),
        ],
        ranked: true,
        read_cost: 9,
    },
    Table {
        id: TableId::Features,
        name: "features",
        stems: &["features", "feature"],
        columns: &[
            ID,
            column("product_id", &["product_id", "productId"], ColumnKind::Parent(TableId::Product)),
            column("feature", &["feature"], TEXT),
            column("value", &["value"], ColumnKind::Text { empty: false, null: true }),
        ],
        ranked: false,
        read_cost: 7,
    },
    Table {
        id: TableId::Styles,
        name: "styles",
        stems: &["styles", "style"],
        columns: &[
            ID,
            column("product_id", &["productId", "product_id"], ColumnKind::Parent(TableId::Product)),
            column("name", &["name"], TEXT),
            column("sale_price", &["sale_price", "salePrice"], ColumnKind::Price { null: true }),
            column("original_price", &["original_price", "originalPrice"], PRICE),
            column("default_style", &["default_style", "defaultStyle", "default?"], ColumnKind::Boolean),
        ],
        ranked: false,
        read_cost: 6,
    },
    Table {
        id: TableId::Photos,
        name: "photos",
        stems: &["photos", "photo"],
        columns: &[
            ID,
            STYLE_ID,
            column("url", &["url"], TEXT),
            column("thumbnail_url", &["thumbnail_url", "thumbnailUrl"], TEXT_OR_EMPTY),
        ],
        ranked: false,
        read_cost: 37,
    },
    Table {
        id: TableId::Skus,
        name: "skus",
        stems: &["skus", "sku"],
        columns: &[
            ID,
            STYLE_ID,
            column("size", &["size"], TEXT),
            column("quantity", &["quantity"], ColumnKind::Integer),
        ],
        ranked: false,
        read_cost: 31,
    },
    Table {
        id: TableId::Related,
        name: "related",
        stems: &["related"],
        columns: &[
            ID,
            column(
                "product_id",
                &["current_product_id", "product_id", "productId"],
                ColumnKind::Parent(TableId::Product),
            ),
            column(
                "related_product_id",
                &["related_product_id", "relatedProductId"],
                ColumnKind::Parent(TableId::Product),
            ),
        ],
        ranked: false,
        read_cost: 10,
    },
];

/// The most columns that a table has, without `position`.
pub const MAX_COLUMNS: usize = {
    let (mut most, mut table) = (0, 0);
    // There are no iterators in a constant.
    while table < TABLES.len() {
        if TABLES[table].columns.len() > most {
            most = TABLES[table].columns.len();
        }
        table += 1;
    }
    most
};

impl Column {
    /// Whether `name` in a CSV header is this column.
    pub fn is_named(&self, name: &str) -> bool {
        self.headers.iter().any(|header| header.eq_ignore_ascii_case(name))
    }
}

/// Of a ranked table.
const POSITION: &str = "position";

/// The order in which to read tables: those that take longest first, so that the lanes end together.
pub fn longest_first() -> impl Iterator<Item = TableId> {
    let mut tables: Vec<&Table> = TABLES.iter().collect();
    tables.sort_by_key(|table| Reverse(table.read_cost));
    tables.into_iter().map(|table| table.id)
}

/// The tables that others point at, parents before children.
pub fn parent_tables() -> impl Iterator<Item = TableId> {
    TABLES.iter().map(|table| table.id).filter(|table| table.is_parent())
}

impl TableId {
    /// Whether another table points at this one.
    pub fn is_parent(self) -> bool {
        TABLES.iter().any(|table| table.parents().any(|parent| parent == self))
    }

    pub fn table(self) -> &'static Table {
        &TABLES[self.into_usize()]
    }
}

impl Table {
    /// The files in `directory` that may be the table's, the usual name first.
    pub fn paths(&self, directory: &Path) -> impl Iterator<Item = PathBuf> {
        let names = |stem| EXTENSIONS.map(|extension| directory.join(format!("{stem}.{extension}")));
        self.stems.iter().flat_map(names)
    }

    /// The usual header of the file.
    pub fn header(&self) -> String {
        self.columns.iter().map(|column| column.headers[0]).collect::<Vec<_>>().join(",")
    }

    /// Whether the table has a column of this `name` that is computed, not read.
    pub fn derives(&self, name: &str) -> bool {
        self.ranked && name.eq_ignore_ascii_case(POSITION)
    }

    /// The names of the columns in the order in which they are encoded, for COPY.
    pub fn encoded_columns(&self) -> String {
        let names = self.columns.iter().map(|column| column.name).chain(self.ranked.then_some(POSITION));
        names.collect::<Vec<_>>().join(", ")
    }

    /// The tables that this one points at, once for each column.
    pub fn parents(&self) -> impl Iterator<Item = TableId> {
        self.columns.iter().filter_map(|column| match column.kind {
            ColumnKind::Parent(parent) => Some(parent),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_at_their_index_and_after_their_parents() {
        for (index, table) in TABLES.iter().enumerate() {
            assert_eq!(table.id.into_usize(), index, "{}", table.name);
            assert!(table.parents().all(|parent| parent < table.id), "{}", table.name);
        }
    }
}
