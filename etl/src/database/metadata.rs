//! What a catalogue says of itself: the row of its table `load`, as [`crate::database::publish::sign`] wrote it.

use atelier_base::connect::Target;
use atelier_base::error::{Error, Result};
use serde_json::Value;

use crate::database::publish::IS_LOAD;
use crate::database::session::Session;

/// The row of the table `load`.
#[derive(Debug)]
pub struct Signature {
    /// Id of the load.
    pub load_id: String,
    /// When it had loaded everything.
    pub finished: String,
    /// How many seconds that took.
    pub seconds: String,
    /// Version of atelier-etl.
    pub version: String,
    /// By table: what [`crate::output::report::TableReport`] says.
    pub tables: Value,
}

impl Signature {
    /// Reads it from `schema`; none if there is no such catalogue, or if it is one that nobody has loaded. A table
    /// `load` with other columns is somebody else's.
    pub async fn read(session: &Session, schema: &str) -> Result<Option<Signature>> {
        let failed = |error: &tokio_postgres::Error| {
            session.failed(format!("cannot read what is in the schema {schema}"), error)
        };
        let there = format!(
            "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND {IS_LOAD}"
        );
        let there = session.client.query_opt(&there, &[&schema]).await.map_err(|error| failed(&error))?;
        if there.is_none() {
            return Ok(None);
        }
        let load = format!(
            "SELECT load_id::text, to_char(finished_at, 'YYYY-MM-DD HH24:MI:SS TZ'),
                    round(extract(epoch FROM finished_at - started_at), 1)::text, version, tables::text
             FROM {schema}.load"
        );
        let row = session.client.query_opt(&load, &[]).await.map_err(|error| failed(&error))?;
        Ok(row.map(|row| Signature {
            load_id: row.get(0),
            finished: row.get(1),
            seconds: row.get(2),
            version: row.get(3),
            tables: serde_json::from_str(row.get(4)).unwrap_or_default(),
        }))
    }
}

/// There is no published catalogue to work on.
pub fn nothing_published(target: &Target) -> Error {
    Error::database(format!("no load is published in {target}"))
        .hint("load a catalogue with atelier-etl load, or name another database in --database-url")
}
