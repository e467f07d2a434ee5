//! The table `load` of a catalogue: one row, which says what was loaded and when. It is written, read and decoded here
//! only, so this module alone knows which load is published.

use std::collections::BTreeMap;
use std::error;
use std::fmt::Debug;

use atelier_base::connect::Target;
use atelier_base::error::{Error, Result};
use atelier_base::tables::TableId;
use enum_map::EnumMap;
use postgres_types::{FromSql, Json, Type};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::names::{PREVIOUS, PUBLISHED, STAGING};
use crate::database::session::Session;

/// The condition that `c`, of `pg_class`, is the table `load` of a catalogue. With other columns it is another program's.
pub(crate) const IS_LOAD: &str = "
    c.relname = 'load' AND c.relkind = 'r' AND 5 = (
        SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND (a.attname, a.atttypid) IN (
            ('load_id', 'uuid'::regtype), ('started_at', 'timestamptz'::regtype),
            ('finished_at', 'timestamptz'::regtype), ('version', 'text'::regtype), ('tables', 'jsonb'::regtype)))";

#[derive(Debug)]
pub(crate) struct LoadRecord {
    pub(crate) load_id: Uuid,
    /// In the time zone of the session, which is the database's.
    pub(crate) finished: String,
    pub(crate) seconds: f64,
    /// Of atelier-etl.
    pub(crate) version: String,
    pub(crate) tables: EnumMap<TableId, TableRecord>,
}

/// What the load's report said of a table. Another version of atelier-etl may have written something else: a field that is
/// missing or of another type has its default, whatever the others are.
#[derive(Debug, Default)]
pub(crate) struct TableRecord {
    /// Size of the file.
    pub(crate) bytes: u64,
    /// Of the file.
    pub(crate) digest: String,
    pub(crate) read: u64,
    pub(crate) loaded: Option<u64>,
    /// By code.
    pub(crate) rejected: BTreeMap<String, u64>,
    /// Of the loaded rows.
    pub(crate) content_digest: Option<String>,
}

/// Writes the record of the staged load, which took `seconds` so far. `tables` are the reports of its tables by name.
pub(crate) async fn write(
    session: &Session,
    load_id: Uuid,
    seconds: f64,
    tables: &(impl Serialize + Debug + Sync),
) -> Result<()> {
    let insert = format!(
        "INSERT INTO {STAGING}.load (load_id, started_at, finished_at, version, tables)
         VALUES ($1, clock_timestamp() - make_interval(secs => $2), clock_timestamp(), $3, $4)"
    );
    let version = env!("CARGO_PKG_VERSION");
    let result = session.client.execute(&insert, &[&load_id, &seconds, &version, &Json(tables)]).await;
    result.map(drop).map_err(|error| session.failed("cannot write the table load", &error))
}

/// The published load, if there is one.
pub(crate) async fn published(session: &Session) -> Result<Option<LoadRecord>> {
    read(session, PUBLISHED).await
}

/// The published load. It is an error if there is none in `target`.
pub(crate) async fn require_published(session: &Session, target: &Target) -> Result<LoadRecord> {
    published(session).await?.ok_or_else(|| {
        Error::database(format!("no load is published in {target}"))
            .hint("load a catalogue with atelier-etl load, or name another database in --database-url")
    })
}

/// The load that `rollback` would publish. It is an error if there is none in `target`.
pub(crate) async fn require_previous(session: &Session, target: &Target) -> Result<LoadRecord> {
    read(session, PREVIOUS).await?.ok_or_else(|| {
        Error::database(format!("no previous load is kept in {target}"))
            .hint("load the files that you want; load --keep-previous keeps the catalogue that it replaces")
    })
}

/// The record in `schema`. None if there is no catalogue, or an empty one.
async fn read(session: &Session, schema: &str) -> Result<Option<LoadRecord>> {
    let failed = |error: &tokio_postgres::Error| {
        session.failed(format!("cannot read the load in the schema {schema}"), error)
    };
    let exists = format!(
        "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND {IS_LOAD}"
    );
    let exists = session.client.query_opt(&exists, &[&schema]).await.map_err(|error| failed(&error))?;
    if exists.is_none() {
        return Ok(None);
    }
    let load = format!(
        "SELECT load_id, to_char(finished_at, 'YYYY-MM-DD HH24:MI:SS TZ'),
                extract(epoch FROM finished_at - started_at)::float8, version, tables
         FROM {schema}.load"
    );
    let row = session.client.query_opt(&load, &[]).await.map_err(|error| failed(&error))?;
    Ok(row.as_ref().map(LoadRecord::decode))
}

impl LoadRecord {
    fn decode(row: &Row) -> LoadRecord {
        let TableRecords(tables) = row.get(4);
        LoadRecord {
            load_id: row.get(0),
            finished: row.get(1),
            seconds: row.get(2),
            version: row.get(3),
            tables,
        }
    }
}

/// The column `tables`.
struct TableRecords(EnumMap<TableId, TableRecord>);

impl FromSql<'_> for TableRecords {
    fn from_sql(kind: &Type, raw: &[u8]) -> Result<TableRecords, Box<dyn error::Error + Sync + Send>> {
        // serde_json cannot read all of jsonb: not numbers beyond f64, nor more than 127 levels.
        let tables = Json::<Value>::from_sql(kind, raw).map_or(Value::Null, |Json(tables)| tables);
        let record = |table: TableId| TableRecord::decode(&tables[table.table().name]);
        Ok(TableRecords(EnumMap::from_fn(record)))
    }

    fn accepts(kind: &Type) -> bool {
        <Json<Value> as FromSql>::accepts(kind)
    }
}

impl TableRecord {
    fn decode(record: &Value) -> TableRecord {
        fn field<T: DeserializeOwned + Default>(record: &Value, name: &str) -> T {
            T::deserialize(&record[name]).unwrap_or_default()
        }
        TableRecord {
            bytes: field(record, "bytes"),
            digest: field(record, "digest"),
            read: field(record, "read"),
            loaded: field(record, "loaded"),
            rejected: field(record, "rejected"),
            content_digest: field(record, "content_digest"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(json: &str) -> EnumMap<TableId, TableRecord> {
        // The version of jsonb's binary format.
        let raw = [&[1], json.as_bytes()].concat();
        TableRecords::from_sql(&Type::JSONB, &raw).unwrap().0
    }

    #[test]
    fn a_field_of_another_type_leaves_the_others() {
        let json = r#"{"skus": {"bytes": "many", "digest": "ab", "read": 3, "loaded": 2, "rejected": [1]}}"#;
        let skus = &records(json)[TableId::Skus];
        assert_eq!((skus.bytes, skus.digest.as_str(), skus.read, skus.loaded), (0, "ab", 3, Some(2)));
        assert_eq!((skus.rejected.len(), &skus.content_digest), (0, &None));
        assert_eq!(records(json)[TableId::Photos].loaded, None);
    }

    #[test]
    fn json_that_cannot_be_read_is_as_if_missing() {
        let deep = format!("{{\"skus\": {}1{}}}", "[".repeat(200), "]".repeat(200));
        for json in ["{\"skus\": {\"loaded\": 1e400}}", &deep, "[]", "null"] {
            assert_eq!(records(json)[TableId::Skus].loaded, None, "{json}");
        }
    }
}
