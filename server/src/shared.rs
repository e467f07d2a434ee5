//! What all threads share: settings, cache, counters, and what is known of the database, the load and the server's life.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, watch};

use crate::assets::docs;
use crate::assets::file::{File, Files};
use crate::assets::page;
use crate::catalogue::cache::Cache;
use crate::catalogue::existing::Existing;
use crate::catalogue::kind::{Kind, Kinds};
use crate::catalogue::load_id::LoadId;
use crate::config::Config;
use crate::http::route::Resource;
use crate::telemetry::metrics::Metrics;

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It answers.
    Serving,
    /// It was told to stop: it takes no new connections, and ends each behind its next answer.
    Draining,
    /// Connections without a request in flight are closed.
    Closing,
}

/// What all threads share. There is one of it, for the life of the process.
pub struct Shared {
    /// As resolved.
    pub config: Config,
    /// Finished answers.
    pub cache: Cache,
    /// Counters.
    pub metrics: Metrics,
    /// The page at `/`.
    pub page: Files,
    /// The page at `/docs`.
    pub docs: Files,
    /// `/openapi.json`
    pub description: File,
    /// Somebody has seen another load than the published one: look at once.
    pub look: Notify,
    /// Places for large bodies that are being encoded: they take a core for milliseconds.
    pub encoders: Semaphore,
    phase: watch::Sender<Phase>,
    stopping: AtomicBool,
    load: RwLock<Option<LoadId>>,
    existing: RwLock<Option<Existing>>,
    /// How often `load` has changed.
    changes: AtomicU64,
    /// When last an answer was from another load than the published one.
    other: RwLock<Option<Other>>,
    /// Workers that have a connection to the database.
    connected: watch::Sender<usize>,
    database_answers: AtomicBool,
    /// What the database does not run the statement of, as far as is known.
    refused: RwLock<Kinds>,
    /// It has refused to run another one.
    suspicion: AtomicBool,
}

/// How long an answer from another load stands for those that are asked for meanwhile: until all have heard of it, or
/// a standby has caught up.
const OTHER_LOAD: Duration = Duration::from_millis(500);

/// An answer was from another load than the published one.
#[derive(Clone, Copy)]
struct Other {
    published: LoadId,
    met: LoadId,
    at: Instant,
}

impl Shared {
    /// Everything empty. It stays until the process ends.
    pub fn new(config: Config) -> &'static Shared {
        Box::leak(Box::new(Shared {
            cache: Cache::new(config.cache_bytes),
            metrics: Metrics::new(config.threads),
            page: page::files(config.site.base),
            docs: docs::files(config.site.base),
            description: docs::description(config.site.base),
            look: Notify::new(),
            encoders: Semaphore::new(config.threads),
            phase: watch::Sender::new(Phase::Serving),
            stopping: AtomicBool::new(false),
            load: RwLock::default(),
            existing: RwLock::default(),
            changes: AtomicU64::new(0),
            other: RwLock::default(),
            connected: watch::Sender::new(0),
            database_answers: AtomicBool::new(false),
            refused: RwLock::default(),
            suspicion: AtomicBool::new(false),
            config,
        }))
    }

    /// The published load, as it was at most a second ago; nothing if none is, or none was seen yet.
    pub fn load(&self) -> Option<LoadId> {
        *self.load.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database said which load is published.
    pub fn publish(&self, id: Option<LoadId>) {
        self.database_answers.store(true, Ordering::Relaxed);
        if self.load() == id {
            return;
        }
        if let Some(id) = id {
            tracing::info!(load_id = %id, "serving a load");
            self.metrics.serve(id);
        } else {
            tracing::warn!("no load is published");
            self.metrics.serve_nothing();
        }
        *self.load.write().unwrap_or_else(PoisonError::into_inner) = id;
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The products of a load were read.
    pub fn know(&self, existing: Existing) {
        *self.existing.write().unwrap_or_else(PoisonError::into_inner) = Some(existing);
    }

    /// Whether `load` has an answer to this other than that there is no such product; nothing if that is not known.
    pub fn exists(&self, load: LoadId, resource: &Resource) -> Option<bool> {
        let Some(product) = resource.product() else { return Some(true) };
        let existing = self.existing.read().unwrap_or_else(PoisonError::into_inner);
        let existing = existing.as_ref().filter(|existing| existing.load == load)?;
        Some(existing.ids.contains(product.unsigned_abs()))
    }

    /// Whether the products of the published load are known.
    pub fn knows_products(&self) -> bool {
        let existing = self.existing.read().unwrap_or_else(PoisonError::into_inner);
        existing.as_ref().map(|existing| existing.load) == self.load()
    }

    /// How often the published load has changed. Whoever reads this first and [`Shared::load`] then has not missed any.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// An answer was from another load than the published one: a newer one, or one of a standby that is ahead or behind.
    pub fn meet(&self, published: LoadId, met: LoadId) {
        let other = Other { published, met, at: Instant::now() };
        *self.other.write().unwrap_or_else(PoisonError::into_inner) = Some(other);
        self.look.notify_one();
    }

    /// The load that was met a moment ago in place of the published one.
    pub fn met(&self, published: LoadId) -> Option<LoadId> {
        let other = *self.other.read().unwrap_or_else(PoisonError::into_inner);
        other
            .filter(|other| other.published == published && other.at.elapsed() < OTHER_LOAD)
            .map(|other| other.met)
    }

    /// A worker has its first connection to the database, or has lost its last.
    pub fn worker_is_connected(&self, connected: bool) {
        self.connected.send_modify(|workers| if connected { *workers += 1 } else { *workers -= 1 });
    }

    /// Waits until every worker has a connection to the database.
    pub async fn workers_are_connected(&self) {
        let mut connected = self.connected.subscribe();
        let _ = connected.wait_for(|workers| *workers >= self.config.threads).await; // never closed
    }

    /// The database did not say.
    pub fn lose_database(&self) {
        self.database_answers.store(false, Ordering::Relaxed);
    }

    /// Whether the database was there when it was last asked.
    pub fn has_database(&self) -> bool {
        self.database_answers.load(Ordering::Relaxed)
    }

    /// What the database does not run the statement of.
    pub fn refused(&self) -> Kinds {
        *self.refused.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The statements of these are not run by the database, all others are.
    pub fn refuse(&self, kinds: Kinds) {
        *self.refused.write().unwrap_or_else(PoisonError::into_inner) = kinds;
    }

    /// The database has refused to run a statement: see at once whether it does so always.
    pub fn suspect(&self, kind: Kind) {
        if !self.refused().contains(kind) {
            self.suspicion.store(true, Ordering::Relaxed);
            self.look.notify_one();
        }
    }

    /// Whether a statement was refused since this was asked last.
    pub fn take_suspicion(&self) -> bool {
        self.suspicion.swap(false, Ordering::Relaxed)
    }

    /// Whether requests should be sent here, or why not.
    pub fn readiness(&self) -> Result<(), Cow<'static, str>> {
        let refused = self.refused();
        if self.is_stopping() {
            Err("stopping".into())
        } else if !self.has_database() {
            Err("the database does not answer".into())
        } else if *self.connected.borrow() < self.config.threads {
            Err("not all threads are connected to the database".into())
        } else if self.load().is_none() {
            Err("no load is published".into())
        } else if refused != Kinds::NONE {
            let routes = Kind::ALL.into_iter().filter(|kind| refused.contains(*kind));
            let routes: Vec<&str> = routes.map(|kind| kind.name().as_str()).collect();
            Err(format!("the database cannot answer {}", routes.join(" ")).into())
        } else {
            Ok(())
        }
    }

    /// Whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// To wait for the end.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Goes on to the next phase of its life.
    pub fn enter(&self, phase: Phase) {
        self.stopping.store(phase != Phase::Serving, Ordering::Relaxed);
        self.phase.send_replace(phase);
    }
}
