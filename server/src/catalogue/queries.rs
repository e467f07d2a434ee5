//! All SQL of the server, and what its rows mean.
//!
//! Each answer comes from one statement, and each statement returns the row of `load` with it: so an answer is of one
//! load and names it. (PostgreSQL looks up and locks the tables of a statement before it runs, and the loader publishes
//! under a lock of them all.)
//!
//! A statement is a `UNION ALL` of the parts that it needs. All parts have the same columns, and the first says which
//! part a row is of. Building JSON in PostgreSQL takes twice the time. Documents are queried by `= ANY`: one statement
//! answers all waiting requests of its kind, which costs PostgreSQL half of what one statement for each would.

use std::error::Error;
use std::future::ready;
use std::iter;
use std::time::Duration;

use atelier_base::connect::Setting;
use enum_map::EnumMap;
use futures_util::TryStreamExt as _;
use postgres_types::{FromSql, ToSql, Type, accepts};
use roaring::RoaringBitmap;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, Row, Statement};

use crate::catalogue::json::{Child, Feature, Photo, Product, Rows, Sku, Style};
use crate::catalogue::load_id::LoadId;
use crate::catalogue::product_ids::ProductIds;
use crate::catalogue::query_kind::QueryKind;
use crate::catalogue::resource::{Document, ProductPage};

/// The first column of every row. The numbers are those in the SQL below.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RowKind {
    Load,
    Product,
    Feature,
    Style,
    Photo,
    Sku,
    Related,
    /// A product that is only known to exist.
    Existing,
}

impl<'a> FromSql<'a> for RowKind {
    fn from_sql(r#type: &Type, raw: &'a [u8]) -> Result<RowKind, Box<dyn Error + Sync + Send>> {
        Ok(match i16::from_sql(r#type, raw)? {
            0 => RowKind::Load,
            1 => RowKind::Product,
            2 => RowKind::Feature,
            3 => RowKind::Style,
            4 => RowKind::Photo,
            5 => RowKind::Sku,
            6 => RowKind::Related,
            7 => RowKind::Existing,
            other => return Err(format!("no kind of row has the number {other}").into()),
        })
    }

    accepts!(INT2);
}

/// Both prices of a style, in one text; the second may be missing.
struct Prices<'a> {
    original: &'a str,
    sale: Option<&'a str>,
}

impl<'a> FromSql<'a> for Prices<'a> {
    fn from_sql(r#type: &Type, raw: &'a [u8]) -> Result<Prices<'a>, Box<dyn Error + Sync + Send>> {
        let text = <&str>::from_sql(r#type, raw)?;
        let (original, sale) =
            text.split_once(' ').map_or((text, None), |(original, sale)| (original, Some(sale)));
        Ok(Prices { original, sale })
    }

    accepts!(TEXT);
}

/// A part of a statement. Its columns: kind of row, parent's id, own id, a number, two texts; if products are queried,
/// three more, which are NULL in the other parts. Each column costs PostgreSQL and us something for each row.
struct Part {
    columns: &'static str,
    from: &'static str,
}

const PADDING: &str = ", NULL, NULL, NULL";

const LOAD: Part = Part { columns: "0::int2, 0, 0, 0, load_id::text, NULL::text", from: "atelier.load" };
const LOAD_AND_TOTAL: Part = Part {
    columns: "0::int2, 0, 0, (SELECT coalesce(max(position), 0) FROM atelier.product), load_id::text, NULL::text",
    from: "atelier.load",
};
const PRODUCT_COLUMNS: &str = "1::int2, 0, id, 0, name, slogan, description, category, default_price::text";
const PRODUCTS: Part = Part { columns: PRODUCT_COLUMNS, from: "atelier.product WHERE id = ANY($1)" };
/// `position` has no gaps, so a page is a range of it, and the last page costs what the first does.
const PAGE: Part =
    Part { columns: PRODUCT_COLUMNS, from: "atelier.product WHERE position > $1 AND position <= $2" };
const EXISTING: Part =
    Part { columns: "7::int2, 0, id, 0, NULL, NULL", from: "atelier.product WHERE id = ANY($1)" };
/// A product with styles exists, since the loader has checked their parents: only the others are looked up.
const EXISTING_WITHOUT_STYLES: Part = Part {
    columns: "7::int2, 0, id, 0, NULL, NULL",
    from: "atelier.product WHERE id = ANY(ARRAY(SELECT requested FROM unnest($1::int[]) AS requested
        WHERE NOT EXISTS (SELECT FROM style WHERE product_id = requested)))",
};
const FEATURES: Part = Part {
    columns: "2::int2, product_id, id, 0, feature, value",
    from: "atelier.features WHERE product_id = ANY($1)",
};
/// The styles are read once, for themselves and for their photos and skus.
const WITH_STYLES: &str =
    "WITH style AS MATERIALIZED (SELECT id, product_id, name, original_price, sale_price, default_style
    FROM atelier.styles WHERE product_id = ANY($1))";
/// [`Prices`] saves a column.
const STYLES: Part = Part {
    columns: "3::int2, product_id, id, default_style::int, name, pg_catalog.concat_ws(' ', original_price, sale_price)",
    from: "style",
};
/// Photos and skus name their style alone: a statement with them needs [`STYLES`] too, which says of which product it is.
const PHOTOS: Part = Part {
    columns: "4::int2, style_id, id, 0, thumbnail_url, url",
    from: "atelier.photos WHERE style_id = ANY(ARRAY(SELECT id FROM style))",
};
const SKUS: Part = Part {
    columns: "5::int2, style_id, id, quantity, size, NULL",
    from: "atelier.skus WHERE style_id = ANY(ARRAY(SELECT id FROM style))",
};
/// In the order of the source file, which is the physical order of the table.
const RELATED: Part = Part {
    columns: "6::int2, product_id, id, related_product_id, NULL, NULL",
    from: "atelier.related WHERE product_id = ANY($1) ORDER BY ctid",
};

fn union(parts: &[&Part]) -> String {
    let wide = parts.iter().any(|part| part.columns == PRODUCT_COLUMNS);
    let select = |part: &&Part| {
        let padding = if wide && part.columns != PRODUCT_COLUMNS { PADDING } else { "" };
        format!("(SELECT {}{padding} FROM {})", part.columns, part.from)
    };
    parts.iter().map(select).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Settings of every session. The generic plan is good for all parameters; forcing it saves the planning that
/// PostgreSQL would do to find that out.
pub(crate) fn settings(statement_timeout: Duration) -> [Setting; 5] {
    [
        // Functions of other users must not replace those of PostgreSQL.
        ("search_path", "pg_catalog".to_owned()),
        ("plan_cache_mode", "force_generic_plan".to_owned()),
        ("jit", "off".to_owned()),
        ("default_transaction_read_only", "on".to_owned()),
        ("statement_timeout", statement_timeout.as_millis().to_string()),
    ]
}

/// Tells sessions apart.
pub(crate) const BACKEND_PID: &str = "SELECT pg_backend_pid()";

/// The names under which this very statement is prepared in the session.
pub(crate) const OWN_STATEMENT_NAMES: &str = "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'SELECT name FROM pg_prepared_statements WHERE %'";

/// The prepared statements of one connection. All but `load` are prepared when they are first run: preparing takes the
/// same locks as running, so it can wait as long, and a missing table only affects the requests that read it.
pub(crate) struct Statements {
    load: Statement,
    queries: EnumMap<QueryKind, OnceCell<Statement>>,
}

impl Statements {
    /// Prepares `load`, and so fails without a catalogue or without the privilege to read it.
    pub(crate) async fn prepare(client: &Client) -> Result<Statements, tokio_postgres::Error> {
        let load = client.prepare("SELECT load_id FROM atelier.load").await?;
        Ok(Statements { load, queries: EnumMap::default() })
    }

    /// Prepares all others, and so fails if a table, a column or a privilege is missing. Skips those that wait for a lock.
    pub(crate) async fn prepare_all(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        for kind in QueryKind::all() {
            match self.get(client, kind).await {
                Err(error) if !is_permanent(&error) && error.code().is_some() => {}
                prepared => drop(prepared?),
            }
        }
        Ok(())
    }

    async fn get(&self, client: &Client, kind: QueryKind) -> Result<&Statement, tokio_postgres::Error> {
        self.queries[kind].get_or_try_init(|| async { client.prepare(&sql(kind)).await }).await
    }
}

fn sql(kind: QueryKind) -> String {
    match kind {
        QueryKind::Page => union(&[&LOAD_AND_TOTAL, &PAGE]),
        QueryKind::Products => union(&[&LOAD, &PRODUCTS]),
        QueryKind::Document(Document::Product) => union(&[&LOAD, &PRODUCTS, &FEATURES]),
        QueryKind::Document(Document::Styles) => {
            let parts = [&LOAD, &EXISTING_WITHOUT_STYLES, &STYLES, &PHOTOS, &SKUS];
            format!("{WITH_STYLES} {}", union(&parts))
        }
        QueryKind::Document(Document::Related) => union(&[&LOAD, &EXISTING, &RELATED]),
        QueryKind::Document(Document::Profile) => {
            let parts = [&LOAD, &PRODUCTS, &FEATURES, &STYLES, &PHOTOS, &SKUS, &RELATED];
            format!("{WITH_STYLES} {}", union(&parts))
        }
    }
}

/// Why a statement has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of PostgreSQL or of the connection.
    Database(tokio_postgres::Error),
    /// The tables exist, but no load is published.
    NotPublished,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Database(error)
    }
}

/// The result of a statement, all from one load.
pub(crate) struct ResultSet {
    pub(crate) load: LoadId,
    /// The number of all products; only [`page`] counts them.
    pub(crate) total: i32,
    rows: Vec<Row>,
}

/// `None` if no load is published.
pub(crate) async fn load(client: &Client, statements: &Statements) -> Result<Option<LoadId>, Failure> {
    let row = client.query_opt(&statements.load, &[]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// The ids of all products. Fails if another load is published meanwhile.
pub(crate) async fn product_ids(client: &Client, statements: &Statements) -> Result<ProductIds, Failure> {
    let before = load(client, statements).await?;
    let rows = client.query_raw("SELECT id FROM atelier.product", iter::empty::<i32>()).await?;
    let ids = rows.try_fold(RoaringBitmap::new(), |mut ids, row| {
        ids.insert(row.get::<_, i32>(0).unsigned_abs());
        ready(Ok(ids))
    });
    let ids = ids.await?;
    match before {
        Some(before) if load(client, statements).await? == Some(before) => {
            Ok(ProductIds { load: before, ids })
        }
        _ => Err(Failure::NotPublished),
    }
}

pub(crate) async fn page(
    client: &Client,
    statements: &Statements,
    page: ProductPage,
) -> Result<ResultSet, Failure> {
    let before = page.page.saturating_sub(1).saturating_mul(page.count);
    let through = before.saturating_add(page.count);
    execute(client, statements, QueryKind::Page, &[&before, &through]).await
}

/// Runs a query that is by ids of products: any but [`QueryKind::Page`].
pub(crate) async fn by_ids(
    client: &Client,
    statements: &Statements,
    kind: QueryKind,
    ids: &[i32],
) -> Result<ResultSet, Failure> {
    execute(client, statements, kind, &[&ids]).await
}

/// Runs a query with parameters for which it reads no rows, to see whether the database can run it.
pub(crate) async fn probe(
    client: &Client,
    statements: &Statements,
    kind: QueryKind,
) -> Result<(), tokio_postgres::Error> {
    let statement = statements.get(client, kind).await?;
    let nothing: &[i32] = &[];
    let parameters: &[&(dyn ToSql + Sync)] = if kind == QueryKind::Page { &[&0, &0] } else { &[&nothing] };
    client.query(statement, parameters).await.map(drop)
}

/// Whether the statement would fail again: a table, a column or a privilege is missing. Not so for a statement that was
/// cancelled or waited too long for a lock, nor if the database is stopping or out of connections, nor if the connection was
/// lost.
pub(crate) fn is_permanent(error: &tokio_postgres::Error) -> bool {
    let transient = ["08", "40", "53", "55", "57"];
    error.code().is_some_and(|code| !transient.iter().any(|class| code.code().starts_with(class)))
}

async fn execute(
    client: &Client,
    statements: &Statements,
    kind: QueryKind,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<ResultSet, Failure> {
    let statement = statements.get(client, kind).await?;
    let rows = client.query(statement, parameters).await?;
    let load =
        rows.iter().find(|row| row.get::<_, RowKind>(0) == RowKind::Load).ok_or(Failure::NotPublished)?;
    Ok(ResultSet { load: load.try_get(4)?, total: load.get(3), rows })
}

impl ResultSet {
    /// The rows by table, sorted.
    pub(crate) fn rows(&self, compat: bool) -> Rows<'_> {
        let mut rows = Rows { compat, ..Rows::default() };
        for row in &self.rows {
            let (parent, id) = (row.get(1), row.get(2));
            match row.get(0) {
                RowKind::Product => rows.products.push(Product {
                    id,
                    name: row.get(4),
                    slogan: row.get(5),
                    description: row.get(6),
                    category: row.get(7),
                    default_price: row.get(8),
                }),
                RowKind::Feature => {
                    let row = Feature { feature: row.get(4), value: row.get(5) };
                    rows.features.push(Child { parent, id, row });
                }
                RowKind::Style => {
                    let prices: Prices<'_> = row.get(5);
                    let row = Style {
                        name: row.get(4),
                        original_price: prices.original,
                        sale_price: prices.sale,
                        default_style: row.get::<_, i32>(3) != 0,
                    };
                    rows.styles.push(Child { parent, id, row });
                }
                RowKind::Photo => {
                    let row = Photo { thumbnail_url: row.get(4), url: row.get(5) };
                    rows.photos.push(Child { parent, id, row });
                }
                RowKind::Sku => {
                    let row = Sku { quantity: row.get(3), size: row.get(4) };
                    rows.skus.push(Child { parent, id, row });
                }
                RowKind::Existing => rows.products.push(Product { id, ..Product::default() }),
                RowKind::Related => rows.related.push(Child { parent, id, row: row.get(3) }),
                RowKind::Load => {}
            }
        }
        rows.sort();
        rows
    }
}
