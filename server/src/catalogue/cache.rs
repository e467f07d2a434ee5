//! Finished bodies, plain and compressed. Their bytes are bounded, and each is made once, no matter how many requests ask
//! for it at the same time.
//!
//! The load is part of the key: a new load makes all entries of the old one unreachable, and they are evicted over time.
//! Bodies that are being sent count too. Without a bound on all bodies of the process, clients that request much and
//! read slowly could exhaust its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::{Cache as Entries, DefaultLifecycle, PlaceholderGuard};

use crate::catalogue::encoding::Encoding;
use crate::catalogue::load_id::LoadId;
use crate::catalogue::resource::Resource;

/// Estimated memory of an entry besides its body: key, value and bookkeeping.
const ENTRY_BYTES: u64 = 256;

/// To size the table of entries, which grows if bodies are smaller.
const TYPICAL_BODY_BYTES: u64 = 4 * 1024;

/// For bodies that are not in the cache, yet or any more: tens of thousands of typical ones, or some 150 of the largest
/// page.
const IN_FLIGHT_BYTES: usize = 64 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) load: LoadId,
    pub(crate) resource: Resource,
    pub(crate) encoding: Encoding,
}

/// A finished answer.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// `None` if there is no such product.
    pub(crate) body: Option<Bytes>,
    /// The number of all products, if the answer is a page.
    pub(crate) total: Option<i32>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Entry> for Weight {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        let ids = if let Resource::Products(ids) = &key.resource { size_of_val::<[i32]>(ids) } else { 0 };
        ENTRY_BYTES + (ids + entry.body.as_ref().map_or(0, Bytes::len)) as u64
    }
}

type Hasher = quick_cache::DefaultHashBuilder;
type Lifecycle = DefaultLifecycle<Key, Entry>;

/// The right to make an entry. Other requests for it wait; if this is dropped without an entry, one of them gets the right.
pub(crate) struct FillGuard<'a>(PlaceholderGuard<'a, Key, Entry, Weight, Hasher, Lifecycle>);

impl FillGuard<'_> {
    pub(crate) fn fill(self, entry: Entry) {
        // Fails if `put` was faster, with an answer from the same load and so the same one.
        let _ = self.0.insert(entry);
    }
}

pub(crate) struct Cache {
    /// `None` if its size is zero.
    entries: Option<Entries<Key, Entry, Weight, Hasher, Lifecycle>>,
    live: Arc<AtomicUsize>,
    live_limit: usize,
}

pub(crate) enum Lookup<'a> {
    Hit(Entry),
    /// The caller makes the entry; without a guard if nothing is cached.
    Miss(Option<FillGuard<'a>>),
}

/// A body whose bytes are counted as live until its last user drops it.
struct LiveBody {
    body: Vec<u8>,
    live: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for LiveBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for LiveBody {
    fn drop(&mut self) {
        self.live.fetch_sub(self.body.len(), Ordering::Relaxed);
    }
}

impl Cache {
    /// A cache of at most `bytes`; with zero bytes it keeps nothing, and each request makes its own answer.
    pub(crate) fn new(bytes: u64) -> Cache {
        let entries = (bytes > 0).then(|| {
            let typical = usize::try_from(bytes / TYPICAL_BODY_BYTES).unwrap_or(usize::MAX).max(16);
            Entries::with(typical, bytes, Weight, Hasher::default(), Lifecycle::default())
        });
        let live_limit = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(IN_FLIGHT_BYTES);
        Cache { entries, live: Arc::default(), live_limit }
    }

    /// Does not wait for an entry that is being made.
    pub(crate) fn peek(&self, key: &Key) -> Option<Entry> {
        self.entries.as_ref()?.get(key)
    }

    /// Waits for an entry that is being made.
    pub(crate) async fn get(&self, key: &Key) -> Lookup<'_> {
        let Some(entries) = &self.entries else { return Lookup::Miss(None) };
        match entries.get_value_or_guard_async(key).await {
            Ok(entry) => Lookup::Hit(entry),
            Err(guard) => Lookup::Miss(Some(FillGuard(guard))),
        }
    }

    /// Adds an entry without a guard.
    pub(crate) fn put(&self, key: Key, entry: Entry) {
        if let Some(entries) = &self.entries {
            entries.insert(key, entry);
        }
    }

    /// Turns finished bytes into a body whose memory is counted.
    pub(crate) fn body(&self, mut body: Vec<u8>) -> Bytes {
        body.shrink_to_fit();
        self.live.fetch_add(body.len(), Ordering::Relaxed);
        Bytes::from_owner(LiveBody { body, live: Arc::clone(&self.live) })
    }

    /// Whether further bodies may be made.
    pub(crate) fn has_room(&self) -> bool {
        self.live.load(Ordering::Relaxed) < self.live_limit
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries.as_ref().map_or(0, |entries| entries.weight())
    }

    /// Bytes of all bodies, cached or being sent.
    pub(crate) fn live_bytes(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::resource::Document;

    fn key(id: i32) -> Key {
        let load = LoadId::parse("01a203b5-40f4-70cd-9b33-f881d2ef1c77").unwrap();
        Key { load, resource: Resource::Document(Document::Styles, id), encoding: Encoding::Identity }
    }

    async fn fill(cache: &Cache, id: i32, bytes: usize) {
        if let Lookup::Miss(Some(guard)) = cache.get(&key(id)).await {
            guard.fill(Entry { body: Some(cache.body(vec![0; bytes])), total: None });
        }
    }

    #[tokio::test]
    async fn size_stays_below_the_bound_and_evicted_bodies_are_freed() {
        let bound = 1 << 20;
        let cache = Cache::new(bound);
        for id in 1..=2000 {
            fill(&cache, id, 4000).await;
            assert!(cache.bytes() <= bound, "{}", cache.bytes());
        }
        assert!(cache.bytes() > bound / 2, "{}", cache.bytes());
        assert!(cache.live_bytes() as u64 <= bound, "{}", cache.live_bytes());
    }

    #[tokio::test]
    async fn an_entry_is_made_once_for_concurrent_requests() {
        let cache = Cache::new(1 << 20);
        let made = AtomicUsize::new(0);
        let request = || async {
            match cache.get(&key(1)).await {
                Lookup::Hit(entry) => entry,
                Lookup::Miss(guard) => {
                    tokio::task::yield_now().await;
                    made.fetch_add(1, Ordering::Relaxed);
                    let entry = Entry { body: Some(cache.body(b"[1]".to_vec())), total: None };
                    guard.unwrap().fill(entry.clone());
                    entry
                }
            }
        };
        for entry in futures_util::future::join_all((0..50).map(|_| request())).await {
            assert_eq!(entry.body.as_deref(), Some(&b"[1]"[..]));
        }
        assert_eq!(made.into_inner(), 1);
    }

    #[tokio::test]
    async fn a_dropped_guard_passes_to_the_next_request() {
        let cache = Cache::new(1 << 20);
        let Lookup::Miss(first) = cache.get(&key(1)).await else { panic!("an entry in an empty cache") };
        let (second, ()) =
            tokio::join!(async { matches!(cache.get(&key(1)).await, Lookup::Miss(Some(_))) }, async {
                tokio::task::yield_now().await;
                drop(first);
            });
        assert!(second);
    }

    #[tokio::test]
    async fn bodies_count_until_the_last_clone_is_dropped() {
        let cache = Cache::new(0);
        assert!(matches!(cache.get(&key(1)).await, Lookup::Miss(None)));
        let body = cache.body(vec![0; IN_FLIGHT_BYTES]);
        let slice = body.slice(10..20);
        drop(body);
        assert!(!cache.has_room());
        drop(slice);
        assert!(cache.has_room());
        assert_eq!(cache.live_bytes(), 0);
    }
}
