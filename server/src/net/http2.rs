//! A connection of HTTP/2: several requests at a time, each answered like one of HTTP/1.1.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::Response;
use http::header::CONTENT_LENGTH;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::http::body::Body;
use crate::http::respond::MAX_HEADER_BYTES;
use crate::http::route::MAX_TARGET_BYTES;
use crate::life::Phase;
use crate::net::activity::{Activity, CHECK_INTERVAL, Sending, Verdict};
use crate::net::http_io::HttpIo;
use crate::net::service::{FinishedResponse, service};
use crate::net::stream::ClientStream;
use crate::worker::Worker;

/// Concurrent requests of one client.
const MAX_STREAMS: u32 = 100;

/// Part of an answer that hyper may buffer, besides the body.
const SEND_BUFFER_BYTES: usize = 16 * 1024;

/// Request bodies that a client may send. They are not read.
const WINDOW_BYTES: u32 = 16 * 1024;

/// How often a connection without requests is checked.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Time for a client without requests to receive GOAWAY.
const GOAWAY_GRACE: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(crate) async fn serve<S: ClientStream>(worker: &Rc<Worker>, io: HttpIo<S>) {
    let config = &worker.shared.config;
    let activity = Rc::clone(&io.activity);
    activity.begin_http2();
    let service = service(Rc::clone(worker), Rc::clone(&activity), track_body);
    let mut http = http2::Builder::new(LocalExecutor);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size((MAX_TARGET_BYTES + MAX_HEADER_BYTES) as u32)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .initial_stream_window_size(WINDOW_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), service));
    let mut phase = worker.shared.life.phase();
    let (mut idle, mut is_ending) = (Duration::ZERO, false);
    loop {
        let interval = if idle > Duration::ZERO && !is_ending { IDLE_CHECK_INTERVAL } else { CHECK_INTERVAL };
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            _ = phase.wait_for(|phase| *phase != Phase::Serving), if !is_ending => idle = config.idle_timeout,
            () = sleep(interval) => match activity.check(interval, config.client_timeout) {
                Verdict::Busy => idle = Duration::ZERO,
                Verdict::Idle => idle += interval,
                Verdict::TooSlow(why) => return worker.connections.record_slow(&activity, why),
            }
        }
        let idle_timeout = if activity.had_request() { config.idle_timeout } else { config.client_timeout };
        if is_ending && idle >= GOAWAY_GRACE {
            return;
        }
        if !is_ending && idle >= idle_timeout {
            // Sends GOAWAY; requests in flight are answered.
            connection.as_mut().graceful_shutdown();
            (idle, is_ending) = (Duration::ZERO, true);
        }
    }
}

/// Removes the body of an answer to HEAD, which hyper only does for HTTP/1.1, and records the answer as being sent.
fn track_body(activity: &Rc<Activity>, finished: FinishedResponse) -> Response<TrackedBody> {
    let FinishedResponse { mut response, is_head } = finished;
    if is_head {
        remove_body(&mut response);
    }
    let bytes = response.body().size_hint().lower();
    let sending = activity.begin_sending(usize::try_from(bytes).unwrap_or(usize::MAX));
    response.map(|body| TrackedBody { body, sending: Some(sending) })
}

fn remove_body(response: &mut Response<Body>) {
    let length = std::mem::take(response.body_mut()).size_hint().exact().filter(|length| *length > 0);
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
}

/// Spawns hyper's tasks on the connection's own thread.
#[derive(Clone)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

/// Counts as being sent until the client has room for all of it: h2 keeps the data until then.
struct TrackedBody {
    body: Body,
    sending: Option<Sending>,
}

struct TrackedData {
    bytes: Bytes,
    _sending: Option<Sending>,
}

impl HttpBody for TrackedBody {
    type Data = TrackedData;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<TrackedData>, Infallible>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // There is only one.
        let sending = self.sending.take();
        Poll::Ready(
            frame.map(|frame| {
                frame.map(|frame| frame.map_data(|bytes| TrackedData { bytes, _sending: sending }))
            }),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Buf for TrackedData {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
