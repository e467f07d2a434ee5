//! The answer to a request for a resource: from the cache, or through the database.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::catalogue::cache::{Entry, FillGuard, Key, Lookup};
use crate::catalogue::encoding::{self, Encoding};
use crate::catalogue::load_id::LoadId;
use crate::catalogue::resource::Resource;
use crate::database::flow::Flow;
use crate::database::pending::Answer;
use crate::database::unavailable::Unavailable;
use crate::shared::Shared;
use crate::telemetry::limits::Limit;
use crate::worker::Worker;

/// Larger bodies are compressed on a thread of their own: it takes a millisecond or more, during which this thread could
/// not answer other requests.
const LARGE_BODY_BYTES: usize = 64 * 1024;

/// For `Server-Timing`.
pub(crate) enum Timing {
    Hit,
    /// This request, or another one for the same answer, queried the database.
    Miss {
        database: Duration,
        render: Duration,
    },
}

pub(crate) struct EncodedAnswer {
    pub(crate) entry: Entry,
    pub(crate) load: LoadId,
    pub(crate) encoding: Encoding,
    pub(crate) timing: Timing,
}

/// An answer that is not encoded.
struct PlainAnswer {
    entry: Entry,
    load: LoadId,
    timing: Timing,
}

/// Answers in the encoding that the client wants, unless the body is too small for that or cannot be encoded.
pub(crate) async fn fetch_encoded(
    worker: &Rc<Worker>,
    flow: &Rc<Flow>,
    load: LoadId,
    resource: &Resource,
    wanted: Encoding,
) -> Result<EncodedAnswer, Unavailable> {
    let shared = worker.shared;
    let key = |load, encoding| Key { load, resource: resource.clone(), encoding };
    if wanted != Encoding::Identity
        && let Some(entry) = shared.cache.peek(&key(load, wanted))
    {
        worker.counters.record_hit();
        return Ok(EncodedAnswer { entry, load, encoding: wanted, timing: Timing::Hit });
    }
    let PlainAnswer { entry, load, timing } =
        fetch_plain(worker, flow, key(load, Encoding::Identity)).await?;
    let (entry, encoding) = match &entry.body {
        Some(body) if wanted != Encoding::Identity && body.len() >= encoding::MIN_BYTES => {
            encode(shared, key(load, wanted), entry).await
        }
        _ => (entry, Encoding::Identity),
    };
    Ok(EncodedAnswer { entry, load, encoding, timing })
}

async fn fetch_plain(worker: &Rc<Worker>, flow: &Rc<Flow>, key: Key) -> Result<PlainAnswer, Unavailable> {
    let shared = worker.shared;
    if let Some(entry) = shared.cache.peek(&key) {
        worker.counters.record_hit();
        return Ok(PlainAnswer { entry, load: key.load, timing: Timing::Hit });
    }
    if worker.pool.would_refuse(flow, &key.resource) {
        return Err(Unavailable::Overloaded);
    }
    if !shared.cache.has_room() {
        shared.metrics.limits.record(Limit::Bodies);
        return Err(Unavailable::Overloaded);
    }
    let answer = wait_or_query(worker, flow, key);
    timeout(shared.config.request_timeout, answer).await.unwrap_or(Err(Unavailable::TimedOut))
}

/// Waits for another request that queries the same answer, or queries it.
async fn wait_or_query(worker: &Rc<Worker>, flow: &Rc<Flow>, key: Key) -> Result<PlainAnswer, Unavailable> {
    let shared = worker.shared;
    let begin = Instant::now();
    let guard = match shared.cache.get(&key).await {
        Lookup::Hit(entry) => {
            worker.counters.record_hit();
            let timing = Timing::Miss { database: begin.elapsed(), render: Duration::ZERO };
            return Ok(PlainAnswer { entry, load: key.load, timing });
        }
        Lookup::Miss(guard) => guard,
    };
    if let Some(load) = shared.published.other_load(key.load)
        && let Some(entry) = shared.cache.peek(&Key { load, ..key.clone() })
    {
        worker.counters.record_hit();
        return Ok(PlainAnswer { entry, load, timing: Timing::Hit });
    }
    worker.counters.record_miss();
    // A task of its own: other requests may wait for the answer even if this client disconnects.
    let query = tokio::task::spawn_local(query(Rc::clone(worker), Rc::clone(flow), key, guard));
    query.await.unwrap_or(Err(Unavailable::Failed))
}

/// Queries the database and puts the answer into the cache.
async fn query(
    worker: Rc<Worker>,
    flow: Rc<Flow>,
    key: Key,
    guard: Option<FillGuard<'static>>,
) -> Result<PlainAnswer, Unavailable> {
    let Answer { load, body, total, database, render } =
        worker.pool.request(&flow, key.resource.clone()).await?;
    let entry = Entry { body, total };
    if load == key.load {
        if let Some(guard) = guard {
            guard.fill(entry.clone());
        }
    } else {
        // Published a moment ago, or a standby is ahead or behind: the answer counts for the load that it is from.
        worker.shared.record_other_load(key.load, load);
        worker.shared.cache.put(Key { load, ..key }, entry.clone());
    }
    Ok(PlainAnswer { entry, load, timing: Timing::Miss { database, render } })
}

/// Encodes an answer and puts it into the cache. Returns it plain if that fails, or if so many bodies are being encoded
/// that other requests would have to wait.
async fn encode(shared: &'static Shared, key: Key, plain: Entry) -> (Entry, Encoding) {
    let encoding = key.encoding;
    let Some(body) = plain.body.clone() else { return (plain, Encoding::Identity) };
    let guard = match shared.cache.get(&key).await {
        Lookup::Hit(encoded) => return (encoded, encoding),
        Lookup::Miss(guard) => guard,
    };
    let encoded = if body.len() > LARGE_BODY_BYTES {
        let Ok(permit) = shared.encoders.try_acquire() else { return (plain, Encoding::Identity) };
        let encoded = tokio::task::spawn_blocking(move || {
            let _permit = permit; // held until the end, even if the request is cancelled
            encoding.encode(&body)
        });
        encoded.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
    } else {
        encoding.encode(&body)
    };
    match encoded {
        Ok(encoded) => {
            let entry = Entry { body: Some(shared.cache.body(encoded)), total: plain.total };
            if let Some(guard) = guard {
                guard.fill(entry.clone());
            }
            (entry, encoding)
        }
        Err(error) => {
            tracing::error!(%error, ?encoding, "cannot encode a body");
            (plain, Encoding::Identity)
        }
    }
}
