//! Accepts connections and hands them to the workers in turn, on the first thread of the process.
//!
//! If each worker had a listener of its own (`SO_REUSEPORT`), the kernel would distribute connections by a hash of their
//! addresses: of 16 connections, as a proxy opens them, the busier of two listeners got 10 in the median of 200 trials and 12
//! in every tenth; of 64, 34 and 39.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::life::Phase;
use crate::net::connection::{self, PARKED_BYTES};
use crate::net::listener::{ACCEPT_RETRY_PAUSE, AcceptedSocket, Listener};
use crate::net::stream::TrackedStream;
use crate::shared::Shared;
use crate::telemetry::limits::{Limit, Limits};
use crate::telemetry::metrics::GaugeGuard;
use crate::worker::Worker;

/// After SIGTERM a connection stays open for one more request, which is answered with `Connection: close`: closing it
/// immediately could lose a request that is being sent. It stays open this long, or for half of `--shutdown-grace`.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(1);

/// `--max-connections` divided by this is how many idle connections are closed together, so that finding them costs little.
const CLOSE_DIVISOR: usize = 512;

/// How long a new connection waits for one to be closed before more are closed.
const CLOSE_WAIT: Duration = Duration::from_millis(250);

/// What the accepting thread sends to a worker.
enum Message {
    Serve(AcceptedSocket, OwnedSemaphorePermit),
    /// Close up to so many idle connections. The answer is how many were.
    CloseIdle(usize, oneshot::Sender<usize>),
}

/// The threads that answer requests.
pub(crate) struct Workers {
    queues: Vec<UnboundedSender<Message>>,
    /// One for each connection that may be open; so they bound the queues too.
    permits: Arc<Semaphore>,
    max_connections: usize,
}

impl Workers {
    pub(crate) fn start(shared: &'static Shared) -> io::Result<Rc<Workers>> {
        let mut queues = Vec::new();
        for number in 0..shared.config.threads {
            let (queue, messages) = unbounded_channel();
            let runtime = runtime()?;
            let work = move || LocalSet::new().block_on(&runtime, work(shared, number, messages));
            std::thread::Builder::new().name(format!("worker {}", number + 1)).spawn(work)?;
            queues.push(queue);
        }
        let max_connections = shared.config.max_connections;
        Ok(Rc::new(Workers { queues, permits: Arc::new(Semaphore::new(max_connections)), max_connections }))
    }

    /// The number of open connections.
    pub(crate) fn connections(&self) -> usize {
        self.max_connections - self.permits.available_permits()
    }

    /// Waits until all connections are closed.
    pub(crate) async fn wait_until_closed(&self) {
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        let _ = self.permits.acquire_many(all).await; // the semaphore is never closed
    }

    /// Waits until one more connection may be open. If necessary, closes idle connections, those of the worker that is next
    /// before those of others.
    async fn permit(&self, next: usize, limits: &Limits) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return permit;
            }
            if !self.close_idle(next).await {
                limits.record(Limit::Connections);
            }
            // If none was closed, it takes until a request is answered, or a client is too slow.
            let permit = timeout(CLOSE_WAIT, Arc::clone(&self.permits).acquire_owned()).await;
            if let Ok(Ok(permit)) = permit {
                return permit;
            }
        }
    }

    /// Returns whether a connection was closed.
    async fn close_idle(&self, next: usize) -> bool {
        let count = (self.max_connections / CLOSE_DIVISOR).max(1);
        for number in (0..self.queues.len()).map(|offset| (next + offset) % self.queues.len()) {
            let (answer, closed) = oneshot::channel();
            let _ = self.queues[number].send(Message::CloseIdle(count, answer));
            if closed.await.unwrap_or(0) > 0 {
                return true;
            }
        }
        false
    }
}

/// One worker, until the process ends.
async fn work(shared: &'static Shared, number: usize, mut messages: UnboundedReceiver<Message>) {
    let worker = Rc::new(Worker::new(shared, number));
    while let Some(message) = messages.recv().await {
        match message {
            Message::Serve(socket, permit) => serve(&worker, socket, permit),
            Message::CloseIdle(count, answer) => {
                let _ = answer.send(worker.connections.close_idle(count));
            }
        }
    }
}

/// Serves one connection in the background.
fn serve(worker: &Rc<Worker>, socket: AcceptedSocket, permit: OwnedSemaphorePermit) {
    let stream = match socket.into_stream() {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a connection was lost after it was accepted"),
    };
    let registration = worker.connections.open(PARKED_BYTES);
    let id = registration.id;
    let task = spawn_local({
        let worker = Rc::clone(worker);
        async move {
            let _open = GaugeGuard::new(&worker.shared.metrics.connections);
            let activity = Rc::clone(&registration.activity);
            let stream = TrackedStream::new(stream, &activity);
            match &worker.shared.config.tls {
                None => connection::serve(worker, stream, activity).await,
                // Boxed: a plain connection does not reserve the space for it.
                Some(tls) => {
                    Box::pin(connection::serve_tls(worker, &tls.load_full(), stream, activity)).await;
                }
            }
            drop((registration, permit));
        }
    });
    worker.connections.set_task(id, task.abort_handle());
}

/// Accepts connections until the server stops, and then those that are in the kernel's backlog.
pub(crate) async fn accept(shared: &'static Shared, listener: Listener, workers: Rc<Workers>) {
    let (mut phase, mut stopping) = (shared.life.phase(), shared.life.phase());
    let mut next = 0;
    let hand_over = |socket, permit, next: &mut usize| {
        let _ = workers.queues[*next].send(Message::Serve(socket, permit)); // workers never end
        *next = (*next + 1) % workers.queues.len();
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => break,
        };
        match accepted {
            Ok(socket) => {
                // Only now: without a new connection, no other one has to be closed.
                let stopped = async {
                    let _ = stopping.wait_for(|phase| *phase != Phase::Serving).await;
                    sleep(DRAIN_TIME).await;
                };
                tokio::select! {
                    permit = workers.permit(next, &shared.metrics.limits) => hand_over(socket, permit, &mut next),
                    () = stopped => break,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_RETRY_PAUSE).await;
            }
        }
    }
    let Ok(mut backlog) = listener.close() else { return };
    while let Ok(permit) = Arc::clone(&workers.permits).try_acquire_owned()
        && let Some(socket) = backlog.next()
    {
        hand_over(socket, permit, &mut next);
    }
}

/// A runtime of one thread.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
