//! Finished bodies, plain and compressed, bounded in bytes and made once however many ask for one at the same time.
//!
//! A key holds the load: a new load makes all entries of the old one unreachable, and they are evicted as others come
//! in. Bodies that are on their way to a client count too: all bodies of the process together are bounded, or
//! clients that ask for much and read slowly would take all its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::{Cache as Entries, DefaultLifecycle, PlaceholderGuard};

use crate::catalogue::encoding::Encoding;
use crate::catalogue::load_id::LoadId;
use crate::http::route::Resource;

/// What an entry takes besides its body: key, value and their places in the cache. An estimate.
const ENTRY_BYTES: u64 = 256;

/// To size the table of entries, which grows if they are smaller.
const USUAL_BODY_BYTES: u64 = 4 * 1024;

/// For bodies that are in no cache, yet or any more: ten thousands of usual ones, or some 150 of the largest page.
const IN_FLIGHT_BYTES: usize = 64 << 20;

/// What an answer depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The load it is from.
    pub load: LoadId,
    /// What was asked for.
    pub resource: Resource,
    /// How it is coded.
    pub encoding: Encoding,
}

/// A finished answer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The body, or nothing if there is no such product.
    pub body: Option<Bytes>,
    /// Products in all, where the answer is a page.
    pub total: Option<i32>,
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

/// The right to make the entry that others wait for. Dropped without an entry, it passes to one of them.
pub struct Guard<'a>(PlaceholderGuard<'a, Key, Entry, Weight, Hasher, Lifecycle>);

impl Guard<'_> {
    /// Puts the entry there, for those who wait and those who come.
    pub fn fill(self, entry: Entry) {
        // It fails if `put` has been there meanwhile, with an answer from the same load, and so the same.
        let _ = self.0.insert(entry);
    }
}

/// The cache.
pub struct Cache {
    /// Nothing where the bound is zero.
    entries: Option<Entries<Key, Entry, Weight, Hasher, Lifecycle>>,
    live: Arc<AtomicUsize>,
    live_limit: usize,
}

/// What [`Cache::get`] gives.
pub enum Lookup<'a> {
    /// It was there, or somebody else has just made it.
    Hit(Entry),
    /// It is for the caller to make.
    Miss(Option<Guard<'a>>),
}

/// A body that takes its bytes back from the account when its last user lets go of it.
struct Counted {
    body: Vec<u8>,
    live: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.fetch_sub(self.body.len(), Ordering::Relaxed);
    }
}

impl Cache {
    /// A cache of at most `bytes`; of zero bytes, one that keeps nothing and lets everybody make their own.
    pub fn new(bytes: u64) -> Cache {
        let entries = (bytes > 0).then(|| {
            let usual = usize::try_from(bytes / USUAL_BODY_BYTES).unwrap_or(usize::MAX).max(16);
            Entries::with(usual, bytes, Weight, Hasher::default(), Lifecycle::default())
        });
        let live_limit = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(IN_FLIGHT_BYTES);
        Cache { entries, live: Arc::default(), live_limit }
    }

    /// What is there now.
    pub fn peek(&self, key: &Key) -> Option<Entry> {
        self.entries.as_ref()?.get(key)
    }

    /// What is there, after waiting for whoever makes it; or the right to make it.
    pub async fn get(&self, key: &Key) -> Lookup<'_> {
        let Some(entries) = &self.entries else { return Lookup::Miss(None) };
        match entries.get_value_or_guard_async(key).await {
            Ok(entry) => Lookup::Hit(entry),
            Err(guard) => Lookup::Miss(Some(Guard(guard))),
        }
    }

    /// Puts an entry there that nobody has the right to make.
    pub fn put(&self, key: Key, entry: Entry) {
        if let Some(entries) = &self.entries {
            entries.insert(key, entry);
        }
    }

    /// Makes a body of bytes that are finished.
    pub fn body(&self, mut body: Vec<u8>) -> Bytes {
        body.shrink_to_fit();
        self.live.fetch_add(body.len(), Ordering::Relaxed);
        Bytes::from_owner(Counted { body, live: Arc::clone(&self.live) })
    }

    /// Whether there is room for further bodies.
    pub fn has_room(&self) -> bool {
        self.live.load(Ordering::Relaxed) < self.live_limit
    }

    /// Bytes of what is cached.
    pub fn bytes(&self) -> u64 {
        self.entries.as_ref().map_or(0, |entries| entries.weight())
    }

    /// Bytes of all bodies, cached or on their way to a client.
    pub fn live_bytes(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::route::Document;

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
    async fn it_stays_within_its_bound_and_frees_what_it_evicts() {
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
    async fn an_entry_is_made_once_however_many_ask() {
        let cache = Cache::new(1 << 20);
        let made = AtomicUsize::new(0);
        let ask = || async {
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
        for entry in futures_util::future::join_all((0..50).map(|_| ask())).await {
            assert_eq!(entry.body.as_deref(), Some(&b"[1]"[..]));
        }
        assert_eq!(made.into_inner(), 1);
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_it_to_the_next() {
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
    async fn bodies_count_until_the_last_user_lets_go() {
        let cache = Cache::new(0);
        assert!(matches!(cache.get(&key(1)).await, Lookup::Miss(None)));
        let body = cache.body(vec![0; IN_FLIGHT_BYTES]);
        let on_its_way = body.slice(10..20);
        drop(body);
        assert!(!cache.has_room());
        drop(on_its_way);
        assert!(cache.has_room());
        assert_eq!(cache.live_bytes(), 0);
    }
}
