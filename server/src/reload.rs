//! What is read from files, at the start and again on SIGHUP: certificate and key of the server, and all that
//! leads to the database. What is wrong is logged, and what was read before stays. Connections that are open keep what
//! they have.

use std::path::PathBuf;
use std::time::Duration;

use atelier_base::connect::Target;
use atelier_base::error::Result;
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;

use crate::catalogue::queries;
use crate::config::Config;
use crate::net::tls::Tls;
use crate::shared::Shared;

/// Where it is read from.
pub struct Sources {
    /// `--tls-cert`
    pub tls_cert: Option<PathBuf>,
    /// `--tls-key`
    pub tls_key: Option<PathBuf>,
    /// `--database-url`
    pub database_url: Option<String>,
    /// `--request-timeout`, which sessions have as a setting.
    pub request_timeout: Duration,
}

impl Sources {
    /// Nothing for plain HTTP.
    pub fn tls(&self) -> Result<Option<Tls>> {
        Tls::resolve(self.tls_cert.as_deref(), self.tls_key.as_deref())
    }

    /// The database, with the settings of our sessions.
    pub fn database(&self) -> Result<Target> {
        let target = Target::resolve(self.database_url.as_deref())?;
        Ok(target.with(&queries::settings(self.request_timeout)))
    }
}

/// Reads again at each SIGHUP.
pub async fn on_hangup(shared: &'static Shared, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        // A disk may hang: clients do not wait for it.
        let _ = spawn_blocking(|| reload(&shared.config)).await;
    }
}

fn reload(config: &Config) {
    if let Some(tls) = &config.tls {
        match config.sources.tls() {
            Ok(Some(new)) if new.is_same(&tls.load()) => {
                tracing::info!("SIGHUP: --tls-cert is the same as before");
            }
            Ok(Some(new)) => {
                tls.store(new.into());
                tracing::info!("SIGHUP: --tls-cert and --tls-key are read again, for new connections");
            }
            Ok(None) => {} // there was one at the start
            Err(error) => {
                tracing::error!("SIGHUP: certificate and key stay as they were: {error:#}");
            }
        }
    }
    match config.sources.database() {
        Ok(target) => {
            let files: Vec<_> = target.files().iter().map(|path| path.display().to_string()).collect();
            let files = if files.is_empty() { "none".to_owned() } else { files.join(", ") };
            tracing::info!(files, "SIGHUP: read again, for new connections to the database");
            config.database.store(target.into());
        }
        Err(error) => {
            tracing::error!("SIGHUP: the database's connection parameters stay as they were: {error:#}");
        }
    }
}
