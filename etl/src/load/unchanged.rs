//! Whether a load would only publish once more what is published. What a catalogue holds depends on the bytes of the six
//! files and the loader's version; both are in the published table `load`. Files are read only if everything that costs
//! nothing to compare is the same.

use std::sync::Arc;

use atelier_base::error::{Error, Result};
use rayon::ThreadPool;
use rayon::prelude::*;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use crate::csv::source::Source;
use crate::database::metadata::Signature;
use crate::database::publish::PUBLISHED;
use crate::database::session::Session;
use crate::options::Input;
use atelier_base::tables::TABLES;

/// What the published table `load` says of a file.
#[derive(Debug, Deserialize)]
struct Loaded {
    bytes: u64,
    digest: String,
    read: u64,
    loaded: u64,
}

/// The published load, if these files are the ones it was made of and would be accepted again.
pub async fn published_already(session: &Session, input: &Input) -> Result<Option<Signature>> {
    let Some(published) = Signature::read(session, PUBLISHED).await? else { return Ok(None) };
    if published.version != env!("CARGO_PKG_VERSION") || !is_complete(session).await? {
        return Ok(None);
    }
    let mut digests = Vec::new();
    for (table, source) in &input.sources {
        // What another version wrote may not be readable; then it is another catalogue.
        let Ok(loaded) = Loaded::deserialize(&published.tables[table.table().name]) else { return Ok(None) };
        // A load with a stricter limit refuses the files, published or not.
        if loaded.bytes != source.bytes
            || input.max_rejects.is_exceeded(loaded.read, loaded.read.saturating_sub(loaded.loaded))
        {
            return Ok(None);
        }
        digests.push(loaded.digest);
    }
    let (sources, pool) = (input.sources.clone(), Arc::clone(&input.pool));
    let same = spawn_blocking(move || have_digests(sources.as_slice(), &digests, &pool)).await;
    let same = same.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    Ok(same.then_some(published))
}

/// Whether all tables are there: what somebody took away, a load brings back.
async fn is_complete(session: &Session) -> Result<bool> {
    let query = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relname = ANY($2) AND c.relkind = 'r'";
    let names: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    let row = session.client.query_one(query, &[&PUBLISHED, &names]).await;
    let row = row.map_err(|error| session.failed("cannot look at the published tables", &error))?;
    Ok(row.get::<_, i64>(0) == TABLES.len() as i64)
}

/// Whether the files have these digests. Reads them side by side and stops at the first that has not.
fn have_digests(sources: &[Source], digests: &[String], pool: &ThreadPool) -> Result<bool> {
    let compare = |(source, digest): (&Source, &String)| match source.digest() {
        Ok(found) if format!("{found:032x}") == *digest => Ok(()),
        Ok(_) => Err(None),
        Err(error) => Err(Some(error)),
    };
    match pool.install(|| sources.par_iter().zip(digests).try_for_each(compare)) {
        Ok(()) => Ok(true),
        Err(None) => Ok(false),
        Err(Some(error)) => Err::<bool, Error>(error),
    }
}
