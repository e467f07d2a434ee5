//! All SQL of the server, and what its rows mean.
//!
//! Each answer is one statement, and each statement begins with the row of `load`: so an answer is of one load, and
//! says of which. (PostgreSQL looks up and locks the tables of a statement before it runs, and the loader publishes
//! under a lock of them all.)
//!
//! A statement is a `UNION ALL` of the parts it needs, all of one shape, with `Part` in the first column. JSON made by
//! PostgreSQL takes it twice the time. Documents are asked for by `= ANY`: one statement answers for as many products
//! as there are waiting requests, which costs PostgreSQL half of what one statement for each does.

use std::future::ready;
use std::iter;
use std::time::Duration;

use atelier_base::connect::Setting;
use futures_util::TryStreamExt as _;
use roaring::RoaringBitmap;
use tokio::sync::OnceCell;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::catalogue::existing::Existing;
use crate::catalogue::json::{Child, Feature, Photo, Product, Rows, Sku, Style};
use crate::catalogue::kind::Kind;
use crate::catalogue::load_id::LoadId;
use crate::http::route::Page;

/// What a row is. The numbers stand in the SQL below.
mod part {
    pub(super) const LOAD: i16 = 0;
    pub(super) const PRODUCT: i16 = 1;
    pub(super) const FEATURE: i16 = 2;
    pub(super) const STYLE: i16 = 3;
    pub(super) const PHOTO: i16 = 4;
    pub(super) const SKU: i16 = 5;
    pub(super) const RELATED: i16 = 6;
    /// A product of which nothing but its existence is asked for.
    pub(super) const EXISTING: i16 = 7;
}

/// A part of a statement. Its columns: part, parent's id, own id, a number, two texts; where products are read, three
/// more, which the other parts leave empty. The fewer there are, the better: PostgreSQL and we pay for each of each row.
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
/// Whatever has styles exists: the loader has checked it, and the look-up is saved.
const EXISTING_WITHOUT_STYLES: Part = Part {
    columns: "7::int2, 0, id, 0, NULL, NULL",
    from: "atelier.product WHERE id = ANY(ARRAY(SELECT asked FROM unnest($1::int[]) AS asked
        WHERE NOT EXISTS (SELECT FROM style WHERE product_id = asked)))",
};
const FEATURES: Part = Part {
    columns: "2::int2, product_id, id, 0, feature, value",
    from: "atelier.features WHERE product_id = ANY($1)",
};
/// The styles of a statement are read once, for themselves and for what hangs on them.
const WITH_STYLES: &str =
    "WITH style AS MATERIALIZED (SELECT id, product_id, name, original_price, sale_price, default_style
    FROM atelier.styles WHERE product_id = ANY($1))";
/// Both prices in one text, the second of which may be missing.
const STYLES: Part = Part {
    columns: "3::int2, product_id, id, default_style::int, name, pg_catalog.concat_ws(' ', original_price, sale_price)",
    from: "style",
};
const PHOTOS: Part = Part {
    columns: "4::int2, style_id, id, 0, thumbnail_url, url",
    from: "atelier.photos WHERE style_id = ANY(ARRAY(SELECT id FROM style))",
};
const SKUS: Part = Part {
    columns: "5::int2, style_id, id, quantity, size, NULL",
    from: "atelier.skus WHERE style_id = ANY(ARRAY(SELECT id FROM style))",
};
/// In the order of the source: rows lie in the table as they were copied.
const RELATED: Part = Part {
    columns: "6::int2, product_id, id, related_product_id, NULL, NULL",
    from: "atelier.related WHERE product_id = ANY($1) ORDER BY ctid",
};

/// One statement of these parts.
fn union(parts: &[&Part]) -> String {
    let wide = parts.iter().any(|part| part.columns == PRODUCT_COLUMNS);
    let select = |part: &&Part| {
        let padding = if wide && part.columns != PRODUCT_COLUMNS { PADDING } else { "" };
        format!("(SELECT {}{padding} FROM {})", part.columns, part.from)
    };
    parts.iter().map(select).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Of every connection. The generic plan is the right one for every parameter, and asking for it saves planning each
/// execution to find that out.
pub fn settings(statement_timeout: Duration) -> [Setting; 5] {
    [
        // Functions that others have made are not taken for PostgreSQL's own.
        ("search_path", "pg_catalog".to_owned()),
        ("plan_cache_mode", "force_generic_plan".to_owned()),
        ("jit", "off".to_owned()),
        ("default_transaction_read_only", "on".to_owned()),
        ("statement_timeout", statement_timeout.as_millis().to_string()),
    ]
}

/// The process that a session is.
pub(crate) const BACKEND: &str = "SELECT pg_backend_pid()";

/// Under which names this very statement is prepared in a session.
pub(crate) const NAMES_OF_THIS: &str = "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'SELECT name FROM pg_prepared_statements WHERE %'";

/// The statements of one connection. All but the first are prepared when they are first run: preparing takes the same
/// locks as running does, and so waits for the same, and a table that is missing concerns only those who read it.
pub struct Statements {
    load: Statement,
    of: [OnceCell<Statement>; Kind::ALL.len()],
}

impl Statements {
    /// Prepares what every connection needs. A catalogue or a right that is missing shows here.
    pub async fn begin(client: &Client) -> Result<Statements, tokio_postgres::Error> {
        let load = client.prepare("SELECT load_id::text FROM atelier.load").await?;
        Ok(Statements { load, of: Default::default() })
    }

    /// Prepares all the others too. A table, a column or a right that is missing shows here; what is locked is left out.
    pub async fn prepare_all(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        for kind in Kind::ALL {
            match self.of(client, kind).await {
                Err(error) if !is_refused(&error) && error.code().is_some() => {}
                prepared => drop(prepared?),
            }
        }
        Ok(())
    }

    async fn of(&self, client: &Client, kind: Kind) -> Result<&Statement, tokio_postgres::Error> {
        self.of[kind as usize].get_or_try_init(|| async { client.prepare(&sql(kind)).await }).await
    }
}

fn sql(kind: Kind) -> String {
    match kind {
        Kind::Page => union(&[&LOAD_AND_TOTAL, &PAGE]),
        Kind::Products => union(&[&LOAD, &PRODUCTS]),
        Kind::Product => union(&[&LOAD, &PRODUCTS, &FEATURES]),
        Kind::Styles => {
            let parts = [&LOAD, &EXISTING_WITHOUT_STYLES, &STYLES, &PHOTOS, &SKUS];
            format!("{WITH_STYLES} {}", union(&parts))
        }
        Kind::Related => union(&[&LOAD, &EXISTING, &RELATED]),
        Kind::Profile => {
            let parts = [&LOAD, &PRODUCTS, &FEATURES, &STYLES, &PHOTOS, &SKUS, &RELATED];
            format!("{WITH_STYLES} {}", union(&parts))
        }
    }
}

/// Why a statement gave no answer.
#[derive(Debug)]
pub enum Failure {
    /// PostgreSQL's, or the connection's.
    Database(tokio_postgres::Error),
    /// The tables are there, but no load is published in them.
    NotPublished,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Database(error)
    }
}

/// What a statement found: of one load.
pub struct Found {
    /// The load.
    pub load: LoadId,
    /// Products in all, where the statement counts them: [`page`].
    pub total: i32,
    rows: Vec<Row>,
}

/// The published load, or nothing if none is.
pub async fn load(client: &Client, statements: &Statements) -> Result<Option<LoadId>, Failure> {
    let row = client.query_opt(&statements.load, &[]).await?;
    row.map(|row| load_id(&row, 0)).transpose()
}

/// The products of the published load, if it is the same before and behind.
pub async fn existing(client: &Client, statements: &Statements) -> Result<Existing, Failure> {
    let before = load(client, statements).await?;
    let rows = client.query_raw("SELECT id FROM atelier.product", iter::empty::<i32>()).await?;
    let ids = rows.try_fold(RoaringBitmap::new(), |mut ids, row| {
        ids.insert(row.get::<_, i32>(0).unsigned_abs());
        ready(Ok(ids))
    });
    let ids = ids.await?;
    match before {
        Some(before) if load(client, statements).await? == Some(before) => Ok(Existing { load: before, ids }),
        _ => Err(Failure::NotPublished),
    }
}

/// A page of products, and how many there are in all.
pub async fn page(client: &Client, statements: &Statements, page: Page) -> Result<Found, Failure> {
    let before = page.page.saturating_sub(1).saturating_mul(page.count);
    let through = before.saturating_add(page.count);
    find(client, statements, Kind::Page, &[&before, &through]).await
}

/// Products by their ids, or whatever another kind takes of them.
pub async fn products(
    client: &Client,
    statements: &Statements,
    kind: Kind,
    ids: &[i32],
) -> Result<Found, Failure> {
    find(client, statements, kind, &[&ids]).await
}

/// Runs the statement of a kind where it reads nothing: it fails if the database does not run it.
pub async fn probe(
    client: &Client,
    statements: &Statements,
    kind: Kind,
) -> Result<(), tokio_postgres::Error> {
    let statement = statements.of(client, kind).await?;
    let nothing: &[i32] = &[];
    let parameters: &[&(dyn ToSql + Sync)] = if kind == Kind::Page { &[&0, &0] } else { &[&nothing] };
    client.query(statement, parameters).await.map(drop)
}

/// Whether the database does not run a statement, now or next time. Not so if it was ended, as one that waits for a
/// lock, or if the database stops, or is full, or the connection was lost.
pub fn is_refused(error: &tokio_postgres::Error) -> bool {
    let passes = ["08", "40", "53", "55", "57"];
    error.code().is_some_and(|code| !passes.iter().any(|class| code.code().starts_with(class)))
}

async fn find(
    client: &Client,
    statements: &Statements,
    kind: Kind,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Found, Failure> {
    let statement = statements.of(client, kind).await?;
    let rows = client.query(statement, parameters).await?;
    let label = rows.iter().find(|row| row.get::<_, i16>(0) == part::LOAD).ok_or(Failure::NotPublished)?;
    Ok(Found { load: load_id(label, 4)?, total: label.get(3), rows })
}

fn load_id(row: &Row, column: usize) -> Result<LoadId, Failure> {
    LoadId::parse(row.get(column)).ok_or(Failure::NotPublished)
}

impl Found {
    /// The rows, sorted into their tables and into order.
    pub fn rows(&self, compat: bool) -> Rows<'_> {
        let mut rows = Rows { compat, ..Rows::default() };
        for row in &self.rows {
            let (parent, id) = (row.get(1), row.get(2));
            match row.get::<_, i16>(0) {
                part::PRODUCT => rows.products.push(Product {
                    id,
                    name: row.get(4),
                    slogan: row.get(5),
                    description: row.get(6),
                    category: row.get(7),
                    default_price: row.get(8),
                }),
                part::FEATURE => {
                    let row = Feature { feature: row.get(4), value: row.get(5) };
                    rows.features.push(Child { parent, id, row });
                }
                part::STYLE => {
                    let prices: &str = row.get(5);
                    let (original_price, sale_price) = prices
                        .split_once(' ')
                        .map_or((prices, None), |(original, sale)| (original, Some(sale)));
                    let default_style = row.get::<_, i32>(3) != 0;
                    let row = Style { name: row.get(4), original_price, sale_price, default_style };
                    rows.styles.push(Child { parent, id, row });
                }
                part::PHOTO => {
                    let row = Photo { thumbnail_url: row.get(4), url: row.get(5) };
                    rows.photos.push(Child { parent, id, row });
                }
                part::SKU => {
                    let row = Sku { quantity: row.get(3), size: row.get(4) };
                    rows.skus.push(Child { parent, id, row });
                }
                part::EXISTING => rows.products.push(Product { id, ..Product::default() }),
                part::RELATED => rows.related.push(Child { parent, id, row: row.get(3) }),
                _ => {} // the row of `load`
            }
        }
        rows.sort();
        rows
    }
}
