//! The statements of `schema.sql`, by table and by when the loader runs them.

use atelier_base::tables::Table;

const SCHEMA: &str = include_str!("../../../schema.sql");

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Statements {
    /// Creates the empty table.
    pub(crate) create: String,
    /// Keys and indexes, to be built after the rows are copied.
    pub(crate) after: Vec<String>,
}

pub(crate) fn statements(table: &Table) -> Statements {
    statements_of(table.name)
}

pub(crate) fn load_table() -> Statements {
    statements_of("load")
}

/// Every declared column: table, name, type.
pub(crate) fn columns() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for statement in split(SCHEMA) {
        let Some(table) = statement.strip_prefix("CREATE TABLE ") else { continue };
        let name = table.split_whitespace().next().unwrap_or_default();
        for line in table.lines().skip(1) {
            if let [column, kind, ..] = line.split_whitespace().collect::<Vec<_>>()[..]
                && line.starts_with(' ')
            {
                found.push((name.to_owned(), column.to_owned(), kind.trim_end_matches(',').to_owned()));
            }
        }
    }
    found
}

/// The names of all keys. That of the table `load` is PostgreSQL's default.
pub(crate) fn keys() -> Vec<String> {
    let named = split(SCHEMA).into_iter().filter_map(|statement| {
        let words: Vec<&str> = statement.split_whitespace().take(6).collect();
        match words[..] {
            ["ALTER", "TABLE", _, "ADD", "CONSTRAINT", name] => Some(name.to_owned()),
            _ => None,
        }
    });
    named.chain(["load_pkey".to_owned()]).collect()
}

fn statements_of(table: &str) -> Statements {
    let mut found = Statements::default();
    for statement in split(SCHEMA) {
        let words: Vec<&str> = statement.split_whitespace().take(7).collect();
        let about = match words[..] {
            ["CREATE", "TABLE", name, ..] => {
                if name == table {
                    found.create.clone_from(&statement);
                }
                continue;
            }
            ["ALTER", "TABLE", name, ..]
            | ["CREATE", "INDEX", _, "ON", name, ..]
            | ["CREATE", "UNIQUE", "INDEX", _, "ON", name, ..] => name,
            _ => continue,
        };
        if about == table {
            found.after.push(statement);
        }
    }
    found
}

/// Statements without comments; each ends with a semicolon at a line's end.
fn split(sql: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut statement = String::new();
    for line in sql.lines() {
        let code = line.split_once("--").map_or(line, |(code, _)| code).trim_end();
        if code.is_empty() {
            continue;
        }
        match code.strip_suffix(';') {
            Some(last) => {
                statement.push_str(last);
                statements.push(std::mem::take(&mut statement));
            }
            None => {
                statement.push_str(code);
                statement.push('\n');
            }
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_base::tables::TABLES;

    #[test]
    fn each_statement_of_the_file_belongs_to_one_table() {
        let mut sorted = 0;
        for statements in TABLES.iter().map(statements).chain([load_table()]) {
            assert!(statements.create.starts_with("CREATE TABLE"));
            sorted += 1 + statements.after.len();
        }
        // Two are for psql alone: CREATE SCHEMA and SET search_path.
        assert_eq!(sorted + 2, split(SCHEMA).len());
        assert_eq!(statements(&TABLES[0]).after.len(), 2);
    }

    #[test]
    fn columns_and_keys_are_those_of_the_tables() {
        let columns = columns();
        for table in &TABLES {
            let of_table = columns.iter().filter(|(name, ..)| name == table.name);
            assert_eq!(of_table.count(), table.columns.len() + usize::from(table.ranked), "{}", table.name);
        }
        let kind = |table: &str, column: &str| {
            columns.iter().find(|(t, c, _)| t == table && c == column).map(|(.., kind)| kind.as_str())
        };
        assert_eq!(kind("load", "load_id"), Some("uuid"));
        assert_eq!(kind("product", "default_price"), Some("numeric(12,2)"));
        assert_eq!(kind("features", "value"), Some("text"));
        // Of each table and of load, and the positions of product.
        assert_eq!(keys().len(), TABLES.len() + 2);
        for table in &TABLES {
            assert!(!statements(table).after.is_empty(), "{} has no key", table.name);
        }
    }
}
