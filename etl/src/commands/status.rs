//! `status`: shows what is published.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use atelier_base::error::Result;
use atelier_base::tables::TABLES;
use atelier_base::terminal::{DIM, ERROR, LABEL, SUCCESS, WARNING, styled};
use indicatif::HumanCount;

use crate::cli;
use crate::database::metadata::{self, LoadRecord};
use crate::database::names::{PREVIOUS, PUBLISHED, STAGING};
use crate::database::preflight::schemas;
use crate::database::session::Session;
use crate::options::Database;
use crate::output::stdout::print;

pub async fn run(args: &cli::Status) -> Result<()> {
    print(&status(&Database::resolve(&args.database)?).await?)
}

async fn status(database: &Database) -> Result<String> {
    let session = Session::connect_within(&database.target, "atelier-etl status", database.wait).await?;
    let session = session.with_retry_hint("run status again").for_reading(&database.target);
    let schemas = schemas(&session).await?;
    let exists = |name: &str| schemas.iter().any(|schema| schema.name == name && schema.is_catalogue);

    let mut text = match metadata::published(&session).await? {
        None => format!("no load is published in {}\n", database.target),
        Some(published) => describe(&published, &sizes(&session).await?),
    };
    let previous =
        if exists(PREVIOUS) { format!("kept, as the schema {PREVIOUS}") } else { "not kept".to_owned() };
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{} {previous}", label("previous"));
    if exists(STAGING) {
        let what = format!("the schema {STAGING} exists: a load is running or was killed");
        let _ =
            writeln!(text, "{} {}\n{:10}the next load drops it", label("staging"), styled(WARNING, what), "");
    }
    for schema in schemas.iter().filter(|schema| !schema.is_catalogue) {
        let what = format!("the schema {} is not a catalogue of atelier-etl: load refuses it", schema.name);
        let _ = writeln!(text, "{} {}", label("schema"), styled(WARNING, what));
    }
    Ok(text)
}

/// Bytes of a table.
#[derive(Clone, Copy, Default)]
struct Size {
    rows: i64,
    indexes: i64,
}

async fn sizes(session: &Session) -> Result<BTreeMap<String, Size>> {
    let query = format!(
        "SELECT c.relname::text, pg_table_size(c.oid), pg_indexes_size(c.oid)
         FROM pg_class c WHERE c.relnamespace = '{PUBLISHED}'::regnamespace AND c.relkind = 'r'"
    );
    let rows = session.client.query(&query, &[]).await;
    let rows = rows.map_err(|error| session.failed("cannot query the size of the tables", &error))?;
    Ok(rows.iter().map(|row| (row.get(0), Size { rows: row.get(1), indexes: row.get(2) })).collect())
}

fn label(name: &str) -> String {
    styled(LABEL, format_args!("{name:<9}"))
}

/// The published load and its tables.
fn describe(published: &LoadRecord, sizes: &BTreeMap<String, Size>) -> String {
    let LoadRecord { load_id, finished, seconds, version, tables } = published;
    let mut text = format!(
        "{} {}\n{} {finished}, after {seconds:.1} s, by atelier-etl {version}\n",
        label("load"),
        styled(SUCCESS, load_id),
        label("finished")
    );
    let header = format!("{:<9}{:>12}{:>10}{:>12}{:>12}", "table", "rows", "rejected", "rows MB", "index MB");
    text += &(styled(LABEL, header) + "\n");
    let mut total = Line { name: "total", ..Line::default() };
    for table in &TABLES {
        let record = &tables[table.id];
        let rejected = record.rejected.values().sum();
        let size = sizes.get(table.name).copied().unwrap_or_default();
        let rows = record.loaded.unwrap_or_default();
        Line { name: table.name, rows, rejected, size }.write(&mut text);
        total.rows += rows;
        total.rejected += rejected;
        total.size.rows += size.rows;
        total.size.indexes += size.indexes;
    }
    total.write(&mut text);
    text
}

#[derive(Default)]
struct Line {
    name: &'static str,
    rows: u64,
    rejected: u64,
    size: Size,
}

impl Line {
    fn write(&self, text: &mut String) {
        let megabytes = |bytes: i64| bytes as f64 / 1e6;
        let style = if self.rejected == 0 { DIM } else { ERROR };
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{}{:>12}{}{:>12.1}{:>12.1}",
            styled(LABEL, format_args!("{:<9}", self.name)),
            HumanCount(self.rows).to_string(),
            styled(style, format!("{:>10}", HumanCount(self.rejected).to_string())),
            megabytes(self.size.rows),
            megabytes(self.size.indexes)
        );
    }
}
