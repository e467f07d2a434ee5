//! `schema.sql`, `tables.rs` and the database after a load agree on the tables.

use std::path::Path;
use std::process::Command;

use atelier_base::tables::{ColumnKind, TABLES};
use atelier_testing::{Database, Rows, Server};

use crate::catalogue::{example, load};

fn columns(database: &Database<'_>) -> Rows {
    database.query(
        "SELECT table_name, column_name, ordinal_position, data_type, is_nullable, numeric_precision, numeric_scale,
                column_default, collation_name
         FROM information_schema.columns WHERE table_schema = 'atelier' ORDER BY table_name, ordinal_position",
    )
}

fn indexes(database: &Database<'_>) -> Rows {
    database.query(
        "SELECT tablename, indexname, indexdef, indisvalid, indisready, indisunique, indisprimary, conname, contype,
                array_to_string(t.reloptions, ',')
         FROM pg_indexes
         JOIN pg_index ON indexrelid = format('%I.%I', schemaname, indexname)::regclass
         JOIN pg_class t ON t.oid = indrelid
         LEFT JOIN pg_constraint ON conindid = indexrelid
         WHERE schemaname = 'atelier' ORDER BY tablename, indexname",
    )
}

#[test]
fn a_load_creates_what_schema_sql_creates() {
    let server = Server::shared();
    let (by_psql, by_load) = (server.database(), server.database());
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema.sql");
    let output = Command::new(server.bin().join("psql"))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &by_psql.url(), "-f"])
        .arg(schema)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    load(&by_load, &example(), &["--max-rejects", "50%"]).succeeded();

    assert_eq!(columns(&by_psql), columns(&by_load));
    assert_eq!(indexes(&by_psql), indexes(&by_load));
    let valid = indexes(&by_load).iter().filter(|row| row[3].as_deref() == Some("t")).count();
    assert_eq!(valid, TABLES.len() + 2, "a key for each table and load, and the positions of product");
}

#[test]
fn the_tables_of_the_loader_are_those_of_the_database() {
    let database = Server::shared().database();
    load(&database, &example(), &["--max-rejects", "50%"]).succeeded();

    let tables = database.query(
        "SELECT table_name FROM information_schema.tables
         WHERE table_schema = 'atelier' AND table_name <> 'load' ORDER BY table_name",
    );
    let mut declared: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    declared.sort_unstable();
    assert_eq!(tables, declared.iter().map(|name| vec![Some((*name).to_owned())]).collect::<Rows>());

    for table in &TABLES {
        let mut declared: Vec<String> = table
            .columns
            .iter()
            .map(|column| {
                let (kind, null) = match column.kind {
                    ColumnKind::Id | ColumnKind::Parent(_) | ColumnKind::Integer => ("integer 32 0", false),
                    ColumnKind::Text { null, .. } => ("text ∅ ∅", null),
                    ColumnKind::Price { null } => ("numeric 12 2", null),
                    ColumnKind::Boolean => ("boolean ∅ ∅", false),
                };
                format!("{} {kind} {}", column.name, if null { "YES" } else { "NO" })
            })
            .chain(table.ranked.then(|| "position integer 32 0 NO".to_owned()))
            .collect();
        declared.sort_unstable();
        let found = database.query(&format!(
            "SELECT concat_ws(' ', column_name, data_type, coalesce(numeric_precision::text, '∅'),
                              coalesce(numeric_scale::text, '∅'), is_nullable)
             FROM information_schema.columns WHERE table_schema = 'atelier' AND table_name = '{}'
             ORDER BY column_name COLLATE \"C\"",
            table.name
        ));
        let found: Vec<&str> = found.iter().map(|row| row[0].as_deref().unwrap()).collect();
        assert_eq!(found, declared, "{}", table.name);
    }
}
