//! The table `load` of a catalogue: one row, which says what was loaded and when. It is written, read and decoded here
//! only, so this module alone knows which load is published.

use std::collections::BTreeMap;
use std::fmt::Debug;

use atelier_base::connect::Target;
use atelier_base::error::{Error, Result};
use atelier_base::tables::TableId;
use enum_map::EnumMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
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

/// What the load's report said of a table. Another version of atelier-etl may have written something else: what is missing
/// has its default, and equals nothing that was loaded.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TableRecord {
    /// Size of the file.
    pub(crate) bytes: u64,
    /// Of the file.
    pub(crate) digest: String,
    pub(crate) read: u64,
    pub(crate) loaded: u64,
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
        let Json(tables): Json<Value> = row.get(4);
        LoadRecord {
            load_id: row.get(0),
            finished: row.get(1),
            seconds: row.get(2),
            version: row.get(3),
            tables: EnumMap::from_fn(|table: TableId| {
                TableRecord::deserialize(&tables[table.table().name]).unwrap_or_default()
            }),
        }
    }
}
