//! `status`: what is published.

use std::fmt::Write as _;

use atelier_base::error::Result;
use atelier_base::terminal::{DIM, ERROR, LABEL, SUCCESS, WARNING, styled};
use tokio_postgres::Row;

use crate::database::metadata::Signature;
use crate::database::publish::{self, PREVIOUS, PUBLISHED, STAGING};
use crate::database::session::Session;
use crate::options::Database;
use crate::output::report::grouped;
use atelier_base::tables::TABLES;

/// Describes the published catalogue for people.
pub async fn status(database: &Database) -> Result<String> {
    let session = Session::connect_within(&database.target, "atelier-etl status", database.patience).await?;
    let session = session.to_try_again("ask again").to_read(&database.target);
    let query = async |sql: &str| {
        let rows = session.client.query(sql, &[]).await;
        rows.map_err(|error| session.failed("cannot read what is published", &error))
    };
    let schemas = publish::found(&session).await?;
    let there = |schema: &str| schemas.iter().any(|(found, is_catalogue)| found == schema && *is_catalogue);

    let mut text = String::new();
    match Signature::read(&session, PUBLISHED).await? {
        None => {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "no load is published in {}", database.target);
        }
        Some(published) => {
            let sizes = format!(
                "SELECT c.relname::text, pg_table_size(c.oid), pg_indexes_size(c.oid)
                 FROM pg_class c WHERE c.relnamespace = '{PUBLISHED}'::regnamespace AND c.relkind = 'r'"
            );
            text += &describe(&published, &query(&sizes).await?);
        }
    }
    let kept =
        if there(PREVIOUS) { format!("kept, as the schema {PREVIOUS}") } else { "not kept".to_owned() };
    let _ = writeln!(text, "{} {kept}", label("previous"));
    if there(STAGING) {
        let what = format!("the schema {STAGING} is there: a load is running, or has died");
        let _ = writeln!(
            text,
            "{} {}\n{:10}the next load clears it",
            label("staging"),
            styled(WARNING, what),
            ""
        );
    }
    for (schema, _) in schemas.iter().filter(|(_, is_catalogue)| !is_catalogue) {
        let what = format!("the schema {schema} is not a catalogue of atelier-etl: a load says what to do");
        let _ = writeln!(text, "{} {}", label("schema"), styled(WARNING, what));
    }
    Ok(text)
}

/// What stands in front of a value.
fn label(name: &str) -> String {
    styled(LABEL, format_args!("{name:<9}"))
}

/// The published load and its tables; `sizes` are name, bytes of the rows and bytes of the indexes.
fn describe(published: &Signature, sizes: &[Row]) -> String {
    let Signature { load_id, finished, seconds, version, tables } = published;
    let mut text = format!(
        "{} {}\n{} {finished}, after {seconds} s, by atelier-etl {version}\n",
        label("load"),
        styled(SUCCESS, load_id),
        label("finished")
    );
    let header = format!("{:<9}{:>12}{:>10}{:>12}{:>12}", "table", "rows", "rejected", "rows MB", "index MB");
    text += &(styled(LABEL, header) + "\n");
    let mut line = |name, rows, rejected, bytes: [i64; 2]| {
        let [of_rows, of_indexes] = bytes.map(|bytes| bytes as f64 / 1e6);
        let (name, style) =
            (styled(LABEL, format_args!("{name:<9}")), if rejected == 0 { DIM } else { ERROR });
        let (rows, rejected) = (grouped(rows), styled(style, format_args!("{:>10}", grouped(rejected))));
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name}{rows:>12}{rejected}{of_rows:>12.1}{of_indexes:>12.1}");
    };
    let mut total = (0, 0, [0, 0]);
    for table in &TABLES {
        let report = &tables[table.name];
        let rows = report["loaded"].as_u64().unwrap_or_default();
        let rejected = report["rejected"].as_object().into_iter().flatten();
        let rejected = rejected.filter_map(|(_, rows)| rows.as_u64()).sum();
        let size = sizes.iter().find(|row| row.get::<_, String>(0) == table.name);
        let bytes = [1, 2].map(|column| size.map_or(0, |row| row.get(column)));
        line(table.name, rows, rejected, bytes);
        total = (total.0 + rows, total.1 + rejected, [total.2[0] + bytes[0], total.2[1] + bytes[1]]);
    }
    line("total", total.0, total.1, total.2);
    text
}
