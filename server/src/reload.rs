//! SIGHUP: reads the files of `Sources` again. If that fails, the error is logged and the server continues with what it
//! has. Open connections are not affected.

use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::shared::Shared;

pub(crate) async fn on_sighup(shared: &'static Shared, mut sighup: Signal) {
    while sighup.recv().await.is_some() {
        // Reading may block, on a network file system for instance.
        let _ = spawn_blocking(|| reload(&shared.config)).await;
    }
}

fn reload(config: &Config) {
    if let Some(tls) = &config.tls {
        match config.sources.tls() {
            Ok(Some(new)) if new.is_same(&tls.load()) => {
                tracing::info!("SIGHUP: --tls-cert has not changed");
            }
            Ok(Some(new)) => {
                tls.store(new.into());
                tracing::info!("SIGHUP: --tls-cert and --tls-key reloaded, for new connections");
            }
            Ok(None) => {} // impossible: there was one at the start
            Err(error) => {
                tracing::error!("SIGHUP: keeping the certificate and key: {error:#}");
            }
        }
    }
    match config.sources.database() {
        Ok(target) => {
            let files: Vec<_> = target.files().iter().map(|path| path.display().to_string()).collect();
            let files = if files.is_empty() { "none".to_owned() } else { files.join(", ") };
            tracing::info!(
                files,
                "SIGHUP: connection parameters reloaded, for new connections to the database"
            );
            config.database.store(target.into());
        }
        Err(error) => {
            tracing::error!("SIGHUP: keeping the connection parameters: {error:#}");
        }
    }
}
