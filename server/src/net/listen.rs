//! From the first port that is opened to the last connection that is closed.
//!
//! One thread, the process's first, accepts connections and hands them to the workers in turn. Were each worker to
//! listen for itself (`SO_REUSEPORT`), the kernel would spread them by a hash of their addresses: of 16 connections, as
//! a proxy opens, the busier of two listeners got 10 in the median of 200 trials and 12 in every tenth; of 64, 34 and 39.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atelier_base::error::{Error, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::database::watch::Watch;
use crate::net::activation::Sockets;
use crate::net::connection::PARKED_BYTES;
use crate::net::listener::{Incoming, Listener};
use crate::net::stream::Noted;
use crate::net::{connection, systemd};
use crate::shared::{Phase, Shared};
use crate::telemetry::limits::{Limit, Limits};
use crate::telemetry::metrics::Counted;
use crate::worker::Worker;
use crate::{admin, reload};

/// After SIGTERM a connection stays open for its next request, which is answered with `Connection: close`: if it was
/// closed at once, a request that is on its way would be lost. It stays this long, or half the grace time.
const LINGER: Duration = Duration::from_secs(1);

/// How long the start waits for the workers' connections, where the database is known to be there.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// A fraction of all connections: so many give way together, so that finding them costs little.
const GIVING_WAY: usize = 512;

/// How long a new connection waits for one that gives way, before it is looked for another.
const GIVE_WAY_PAUSE: Duration = Duration::from_millis(250);

/// When no connection can be accepted, for want of open files say.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs the server until SIGTERM or Ctrl-C.
pub fn run(config: Config) -> Result<()> {
    let sockets = Sockets::take()?;
    let runtime = runtime().map_err(|error| cannot_start(error, "cannot start"))?;
    let served = LocalSet::new().block_on(&runtime, serve(config, sockets));
    // A look-up of the database's name may still hang on a thread of its own: it is not waited for.
    runtime.shutdown_background();
    served
}

async fn serve(config: Config, sockets: Sockets) -> Result<()> {
    let mut signals = Signals::catch().map_err(|error| cannot_start(error, "cannot catch signals"))?;
    let hangup = signal(SignalKind::hangup()).map_err(|error| cannot_start(error, "cannot catch signals"))?;
    // Then ports: one that is taken is known before anything else is done.
    let public = Listener::open(sockets.api, &config.listen, "--listen")?;
    let admin = Listener::open(sockets.admin, &config.admin_listen, "--admin-listen")?;
    let (address, admin_address) = (public.address(), admin.address());
    let shared = Shared::new(config);
    let workers = Workers::start(shared)?;
    spawn_local(admin::serve(shared, admin));
    spawn_local(reload::on_hangup(shared, hangup));

    // A database that is there is looked at before the first request. One that is not is waited for, and requests that
    // come meanwhile are told so.
    let watch = tokio::select! {
        watch = Watch::begin(shared) => watch?,
        () = signals.caught() => return Ok(()),
    };
    if shared.has_database() {
        let _ = timeout(CONNECT_PATIENCE, shared.workers_are_connected()).await;
    }
    let accepting = spawn_local(accept(shared, public, Rc::clone(&workers)));
    let (threads, tls) = (shared.config.threads, shared.config.tls.is_some());
    tracing::info!(%address, admin = %admin_address, threads, tls, "listening");
    spawn_local(systemd::tell_ready(shared));
    tokio::select! {
        failed = watch.run() => failed?,
        () = signals.caught() => {}
    }

    tracing::info!("stopping: requests in flight finish, connections are closed");
    let begin = Instant::now();
    let grace = shared.config.shutdown_grace;
    shared.enter(Phase::Draining);
    systemd::tell_stopping(grace);
    let _ = accepting.await;
    let idle = timeout(LINGER.min(grace / 2), workers.wait_until_idle()).await;
    shared.enter(Phase::Closing);
    if idle.is_err()
        && timeout(grace.saturating_sub(begin.elapsed()), workers.wait_until_idle()).await.is_err()
    {
        tracing::warn!(
            connections = workers.connections(),
            "still open at the end of the grace time, cut off"
        );
    }
    tracing::info!("stopped");
    Ok(())
}

/// What the accepting thread has for a worker.
enum Errand {
    /// A client's connection, and its right to be there.
    Serve(Incoming, OwnedSemaphorePermit),
    /// Connections that are idle are to give way to new ones. The answer is how many do.
    GiveWay(usize, oneshot::Sender<usize>),
}

/// The threads that answer requests.
struct Workers {
    queues: Vec<UnboundedSender<Errand>>,
    /// One for each connection there may be; they bound the queues too.
    permits: Arc<Semaphore>,
    max_connections: usize,
}

impl Workers {
    fn start(shared: &'static Shared) -> Result<Rc<Workers>> {
        let mut queues = Vec::new();
        for number in 0..shared.config.threads {
            let (queue, errands) = unbounded_channel();
            let started = runtime().and_then(|runtime| {
                let work = move || LocalSet::new().block_on(&runtime, work(shared, number, errands));
                std::thread::Builder::new().name(format!("worker {}", number + 1)).spawn(work)
            });
            started.map_err(|error| cannot_start(error, "cannot start as many --threads"))?;
            queues.push(queue);
        }
        let max_connections = shared.config.max_connections;
        Ok(Rc::new(Workers { queues, permits: Arc::new(Semaphore::new(max_connections)), max_connections }))
    }

    /// Connections that are open.
    fn connections(&self) -> usize {
        self.max_connections - self.permits.available_permits()
    }

    async fn wait_until_idle(&self) {
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        let _ = self.permits.acquire_many(all).await; // never closed
    }

    /// The right to one more connection to the worker whose turn it is. Where there are as many as there may be, idle
    /// ones give way: its own before others'.
    async fn permit(&self, turn: usize, limits: &Limits) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return permit;
            }
            let mut give_way = false;
            for number in (0..self.queues.len()).map(|next| (turn + next) % self.queues.len()) {
                let (answer, answered) = oneshot::channel();
                let count = (self.max_connections / GIVING_WAY).max(1);
                let _ = self.queues[number].send(Errand::GiveWay(count, answer));
                give_way = answered.await.unwrap_or(0) > 0;
                if give_way {
                    break;
                }
            }
            if !give_way {
                limits.bite(Limit::Connections);
            }
            // Soon, where one gives way. Else, once a request is answered, or begins to take too long.
            let acquired = timeout(GIVE_WAY_PAUSE, Arc::clone(&self.permits).acquire_owned()).await;
            if let Ok(Ok(permit)) = acquired {
                return permit;
            }
        }
    }
}

/// One worker, until the process ends.
async fn work(shared: &'static Shared, number: usize, mut errands: UnboundedReceiver<Errand>) {
    let worker = Rc::new(Worker::new(shared, number));
    while let Some(errand) = errands.recv().await {
        let (stream, permit) = match errand {
            Errand::Serve(stream, permit) => (stream, permit),
            Errand::GiveWay(count, answer) => {
                let _ = answer.send(worker.connections.give_way(count));
                continue;
            }
        };
        let stream = match stream.open() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was accepted and lost");
                continue;
            }
        };
        let place = worker.connections.open(PARKED_BYTES);
        let number = place.number();
        let task = spawn_local({
            let worker = Rc::clone(&worker);
            async move {
                let _open = Counted::new(&worker.shared.metrics.connections);
                let activity = Rc::clone(&place.activity);
                let stream = Noted::new(stream, &activity);
                match &worker.shared.config.tls {
                    None => connection::serve(worker, stream, activity).await,
                    // Boxed: a plain connection does not keep the room for it.
                    Some(tls) => {
                        Box::pin(connection::serve_tls(worker, &tls.load_full(), stream, activity)).await
                    }
                }
                drop((place, permit));
            }
        });
        worker.connections.ends_with(number, task.abort_handle());
    }
}

/// Accepts connections until the server stops, and then those that the kernel has accepted already.
async fn accept(shared: &'static Shared, listener: Listener, workers: Rc<Workers>) {
    let (mut phase, mut stopping) = (shared.phase(), shared.phase());
    let mut turn = 0;
    let hand_over = |stream, permit, turn: &mut usize| {
        let _ = workers.queues[*turn].send(Errand::Serve(stream, permit)); // workers live as long as the process
        *turn = (*turn + 1) % workers.queues.len();
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => break,
        };
        match accepted {
            Ok(stream) => {
                // Behind the connection: as long as nobody waits, nobody has to give way.
                let stopped = async {
                    let _ = stopping.wait_for(|phase| *phase != Phase::Serving).await;
                    sleep(LINGER).await;
                };
                tokio::select! {
                    permit = workers.permit(turn, &shared.metrics.limits) => hand_over(stream, permit, &mut turn),
                    () = stopped => break,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let Ok(mut waiting) = listener.close() else { return };
    while let Ok(permit) = Arc::clone(&workers.permits).try_acquire_owned()
        && let Some(stream) = waiting.next()
    {
        hand_over(stream, permit, &mut turn);
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
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
