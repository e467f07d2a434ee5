//! What all threads share, composed of parts that each know one thing.

use std::borrow::Cow;

use tokio::sync::Semaphore;

use crate::assets::Assets;
use crate::catalogue::cache::Cache;
use crate::catalogue::load_id::LoadId;
use crate::catalogue::published::Published;
use crate::config::Config;
use crate::database::status::DatabaseStatus;
use crate::life::Life;
use crate::telemetry::metrics::Metrics;

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) life: Life,
    pub(crate) published: Published,
    pub(crate) database: DatabaseStatus,
    pub(crate) cache: Cache,
    pub(crate) assets: Assets,
    pub(crate) metrics: Metrics,
    /// Permits to encode large bodies: each takes a core for milliseconds.
    pub(crate) encoders: Semaphore,
}

impl Shared {
    /// Lives as long as the process.
    pub(crate) fn new(config: Config) -> &'static Shared {
        Box::leak(Box::new(Shared {
            life: Life::new(),
            published: Published::default(),
            database: DatabaseStatus::default(),
            cache: Cache::new(config.cache_bytes),
            assets: Assets::new(config.site.base),
            metrics: Metrics::new(config.threads),
            encoders: Semaphore::new(config.threads),
            config,
        }))
    }

    /// The database has answered which load is published.
    pub(crate) fn set_load(&self, load: Option<LoadId>) {
        self.database.set_up(true);
        if self.published.load() == load {
            return;
        }
        match load {
            Some(load_id) => tracing::info!(%load_id, "serving a load"),
            None => tracing::warn!("no load is published"),
        }
        self.metrics.set_load(load);
        self.published.set_load(load);
    }

    /// An answer came from a load other than the published one, which may be a newer one.
    pub(crate) fn record_other_load(&self, published: LoadId, seen: LoadId) {
        self.published.record_other_load(published, seen);
        self.database.check_soon();
    }

    /// Whether requests should be sent here, or why not.
    pub(crate) fn readiness(&self) -> Result<(), Cow<'static, str>> {
        let failing = self.database.failing();
        if self.life.is_stopping() {
            Err("stopping".into())
        } else if !self.database.is_up() {
            Err("the database does not answer".into())
        } else if self.database.connected_workers() < self.config.threads {
            Err("not all threads are connected to the database".into())
        } else if self.published.load().is_none() {
            Err("no load is published".into())
        } else if !failing.is_empty() {
            let routes: Vec<&str> = failing.iter().map(|kind| kind.label().as_str()).collect();
            Err(format!("the database cannot answer {}", routes.join(" ")).into())
        } else {
            Ok(())
        }
    }
}
