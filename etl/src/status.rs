//! `status`: what is published.

use std::fmt::Write as _;

use atelier_base::error::Result;

use crate::options::Database;
use crate::publish::{PREVIOUS, PUBLISHED, STAGING};
use crate::report::grouped;
use crate::session::Session;
use crate::signature::Signature;
use crate::tables::TABLES;

/// Describes the published catalogue for people.
pub async fn status(database: &Database) -> Result<String> {
    let session = Session::connect_within(&database.target, "atelier-etl status", database.patience).await?;
    let session = session.to_try_again("ask again").to_read();
    let query = async |sql: &str| {
        let rows = session.client.query(sql, &[]).await;
        rows.map_err(|error| session.failed("cannot read what is published", &error))
    };
    let schemas =
        format!("SELECT nspname::text FROM pg_namespace WHERE nspname IN ('{PREVIOUS}', '{STAGING}')");
    let schemas: Vec<String> = query(&schemas).await?.iter().map(|row| row.get(0)).collect();
    let there = |schema: &str| schemas.iter().any(|found| found == schema);

    let mut text = String::new();
    // Writing into a String cannot fail.
    match Signature::read(&session, PUBLISHED).await? {
        None => {
            let _ = writeln!(text, "no load is published in {}", database.target.describe());
        }
        Some(Signature { load_id, finished, seconds, version, tables: reports }) => {
            let _ = writeln!(text, "load      {load_id}");
            let _ = writeln!(text, "finished  {finished}, after {seconds} s, by atelier-etl {version}");
            let sizes = query(&format!(
                "SELECT c.relname::text, pg_table_size(c.oid), pg_indexes_size(c.oid)
                 FROM pg_class c WHERE c.relnamespace = '{PUBLISHED}'::regnamespace AND c.relkind = 'r'"
            ))
            .await?;
            let _ = writeln!(
                text,
                "{:<9}{:>12}{:>10}{:>12}{:>12}",
                "table", "rows", "rejected", "rows MB", "index MB"
            );
            for table in &TABLES {
                let report = &reports[table.name];
                let rejected: u64 = report["rejected"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(_, rows)| rows.as_u64())
                    .sum();
                let size = sizes.iter().find(|row| row.get::<_, String>(0) == table.name);
                let megabytes = |index| size.map_or(0.0, |row| row.get::<_, i64>(index) as f64 / 1e6);
                let rows = grouped(report["loaded"].as_u64().unwrap_or_default());
                let _ = writeln!(
                    text,
                    "{:<9}{rows:>12}{:>10}{:>12.1}{:>12.1}",
                    table.name,
                    grouped(rejected),
                    megabytes(1),
                    megabytes(2)
                );
            }
        }
    }
    let kept = if there(PREVIOUS) { "kept, as the schema atelier_previous" } else { "not kept" };
    let _ = writeln!(text, "previous  {kept}");
    if there(STAGING) {
        let _ = writeln!(
            text,
            "staging   a load is running or died: the schema {STAGING} is there; the next load clears it"
        );
    }
    Ok(text)
}
