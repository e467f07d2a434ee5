//! Whether the files are published already. The content of a catalogue depends on the bytes of the six files and the
//! version of the loader, and the published table `load` has both. The files are read only if everything that is cheaper
//! to compare is equal.

use std::sync::Arc;

use atelier_base::error::Result;
use atelier_base::tables::TABLES;
use rayon::ThreadPool;
use rayon::prelude::*;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::csv::source::Source;
use crate::database::metadata;
use crate::database::names::PUBLISHED;
use crate::database::session::Session;
use crate::options::Input;

/// The id of the published load, if it was made of these files and they would be accepted again.
pub(crate) async fn published_already(session: &Session, input: &Input) -> Result<Option<Uuid>> {
    let Some(published) = metadata::published(session).await? else { return Ok(None) };
    if published.version != env!("CARGO_PKG_VERSION") || !is_complete(session).await? {
        return Ok(None);
    }
    let mut files = Vec::new();
    for (table, source) in &input.sources {
        let record = &published.tables[table];
        // A load with a stricter limit refuses the files, published or not.
        let rejected = record.read.saturating_sub(record.loaded.unwrap_or_default());
        if record.bytes != source.bytes || input.max_rejects.is_exceeded(record.read, rejected) {
            return Ok(None);
        }
        files.push((source.clone(), record.digest.clone()));
    }
    let pool = Arc::clone(&input.pool);
    let equal = spawn_blocking(move || have_digests(&files, &pool)).await;
    let equal = equal.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    Ok(equal.then_some(published.load_id))
}

/// Whether all tables exist. A load creates missing ones again.
async fn is_complete(session: &Session) -> Result<bool> {
    let query = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relname = ANY($2) AND c.relkind = 'r'";
    let names: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    let row = session.client.query_one(query, &[&PUBLISHED, &names]).await;
    let row = row.map_err(|error| session.failed("cannot query the published tables", &error))?;
    Ok(row.get::<_, i64>(0) == TABLES.len() as i64)
}

/// Whether each file has its digest. Reads them in parallel and stops at the first that differs.
fn have_digests(files: &[(Source, String)], pool: &ThreadPool) -> Result<bool> {
    let compare = |(source, digest): &(Source, String)| match source.digest() {
        Ok(found) if format!("{found:032x}") == *digest => Ok(()),
        Ok(_) => Err(None),
        Err(error) => Err(Some(error)),
    };
    match pool.install(|| files.par_iter().try_for_each(compare)) {
        Ok(()) => Ok(true),
        Err(None) => Ok(false),
        Err(Some(error)) => Err(error),
    }
}
