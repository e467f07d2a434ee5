//! The life of the server, from opening its ports to closing its last connection.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use atelier_base::error::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use crate::config::Config;
use crate::database::watch::Watch;
use crate::life::Phase;
use crate::net::accept::{self, DRAIN_TIME, Workers};
use crate::net::activation::ActivatedSockets;
use crate::net::listener::Listener;
use crate::net::systemd;
use crate::shared::Shared;
use crate::{admin, reload};

/// How long the start waits for the connections of the workers, if the database is up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the server until SIGTERM or Ctrl-C.
pub fn run(config: Config) -> Result<()> {
    let sockets = ActivatedSockets::take()?;
    let runtime = accept::runtime().map_err(|error| cannot_start(error, "cannot start"))?;
    let served = LocalSet::new().block_on(&runtime, serve(config, sockets));
    // Resolving the name of the database may block a thread: it is not waited for.
    runtime.shutdown_background();
    served
}

async fn serve(config: Config, sockets: ActivatedSockets) -> Result<()> {
    let mut signals = Signals::catch().map_err(|error| cannot_start(error, "cannot catch signals"))?;
    let sighup = signal(SignalKind::hangup()).map_err(|error| cannot_start(error, "cannot catch signals"))?;
    // Ports come first, since a port in use is the most likely error.
    let public = Listener::open(sockets.api, &config.listen, "--listen")?;
    let admin = Listener::open(sockets.admin, &config.admin_listen, "--admin-listen")?;
    let (address, admin_address) = (public.address(), admin.address());
    let shared = Shared::new(config);
    let workers =
        Workers::start(shared).map_err(|error| cannot_start(error, "cannot start as many --threads"))?;
    spawn_local(admin::serve(shared, admin));
    spawn_local(reload::on_sighup(shared, sighup));

    // A database that is up is checked before the first request. If it is down, requests are answered with 503 meanwhile.
    let watch = tokio::select! {
        watch = Watch::start(shared) => watch?,
        () = signals.caught() => return Ok(()),
    };
    if shared.database.is_up() {
        let _ = timeout(CONNECT_TIMEOUT, shared.database.wait_for_workers(shared.config.threads)).await;
    }
    let accepting = spawn_local(accept::accept(shared, public, Rc::clone(&workers)));
    let (threads, tls) = (shared.config.threads, shared.config.tls.is_some());
    tracing::info!(%address, admin = %admin_address, threads, tls, "listening");
    spawn_local(systemd::notify_when_ready(shared));
    tokio::select! {
        failed = watch.run() => failed?,
        () = signals.caught() => {}
    }

    tracing::info!("stopping: finishing requests in flight");
    let begin = Instant::now();
    let grace = shared.config.shutdown_grace;
    shared.life.enter(Phase::Draining);
    systemd::notify_stopping(grace);
    let _ = accepting.await;
    let drained = timeout(DRAIN_TIME.min(grace / 2), workers.wait_until_closed()).await;
    shared.life.enter(Phase::Closing);
    if drained.is_err()
        && timeout(grace.saturating_sub(begin.elapsed()), workers.wait_until_closed()).await.is_err()
    {
        let connections = workers.connections();
        tracing::warn!(connections, "closing connections that are still open after --shutdown-grace");
    }
    tracing::info!("stopped");
    Ok(())
}

fn cannot_start(error: io::Error, what: &str) -> Error {
    Error::usage(what)
        .cause(error)
        .hint("raise the limits on processes and open files (ulimit -u, ulimit -n)")
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn caught(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
