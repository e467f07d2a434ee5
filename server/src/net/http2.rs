//! A connection of HTTP/2: many requests at a time, each answered as one of HTTP/1.1 is.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::CONTENT_LENGTH;
use http::{Method, Response};
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::http::respond::{Body, MAX_HEADER_BYTES, respond};
use crate::http::route::MAX_TARGET_BYTES;
use crate::net::activity::{LOOK, Sending, Verdict};
use crate::net::socket::Socket;
use crate::net::stream::Stream;
use crate::shared::Phase;
use crate::worker::Worker;

/// Requests of one client at a time.
const MAX_STREAMS: u32 = 100;

/// What is kept of an answer that the client does not take yet, besides the body, which is counted where it is.
const SEND_BUFFER_BYTES: usize = 16 * 1024;

/// Of what a client may send that has nobody who reads it: bodies of requests.
const WINDOW_BYTES: u32 = 16 * 1024;

/// Between two looks at a connection without requests.
const LOOK_AT_IDLE: Duration = Duration::from_secs(1);

/// How long a client without requests has to hear that there will be no others.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub async fn serve<S: Stream>(worker: &Rc<Worker>, socket: Socket<S>) {
    let config = &worker.shared.config;
    let activity = Rc::clone(&socket.activity);
    activity.multiplex();
    let service = {
        let activity = Rc::clone(&activity);
        let worker = Rc::clone(worker);
        service_fn(move |request: Request<Incoming>| {
            let answering = activity.begin_answer(&request);
            let (activity, worker) = (Rc::clone(&activity), Rc::clone(&worker));
            async move {
                let is_head = request.method() == Method::HEAD;
                let mut response = respond(&worker, &activity.client, request).await;
                if is_head {
                    leave_body_out(&mut response);
                }
                let bytes = response.body().size_hint().lower();
                let sending = activity.begin_sending(usize::try_from(bytes).unwrap_or(usize::MAX));
                drop(answering);
                Ok::<_, Infallible>(response.map(|body| OnItsWay { body, sending: Some(sending) }))
            }
        })
    };
    let mut http = http2::Builder::new(Local);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size((MAX_TARGET_BYTES + MAX_HEADER_BYTES) as u32)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .initial_stream_window_size(WINDOW_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    let mut phase = worker.shared.phase();
    let (mut idle, mut ending) = (Duration::ZERO, false);
    loop {
        // Who is idle is looked at less often.
        let nap = if idle > Duration::ZERO && !ending { LOOK_AT_IDLE } else { LOOK };
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            _ = phase.wait_for(|phase| *phase != Phase::Serving), if !ending => idle = config.idle_timeout,
            () = sleep(nap) => match activity.look(nap, config.client_timeout) {
                Verdict::Busy => idle = Duration::ZERO,
                Verdict::Idle => idle += nap,
                Verdict::TooSlow(why) => return worker.close_slow(&activity, why),
            }
        }
        let patience = if activity.has_asked() { config.idle_timeout } else { config.client_timeout };
        if ending && idle >= GOODBYE {
            return;
        }
        if !ending && idle >= patience {
            // Requests in flight are answered, and the client is told that there will be no others.
            connection.as_mut().graceful_shutdown();
            (idle, ending) = (Duration::ZERO, true);
        }
    }
}

/// The answer to HEAD. With HTTP/1.1 hyper sees to it.
fn leave_body_out(response: &mut Response<Body>) {
    let length = std::mem::take(response.body_mut()).size_hint().exact().filter(|length| *length > 0);
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
}

/// Runs what hyper makes of a connection on the connection's own thread.
#[derive(Clone)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

/// A body that is noted until the client has made room for all of it: h2 keeps it that long.
struct OnItsWay {
    body: Body,
    sending: Option<Sending>,
}

/// What it consists of.
struct Piece {
    bytes: Bytes,
    _sending: Option<Sending>,
}

impl HttpBody for OnItsWay {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // There is one.
        let sending = self.sending.take();
        Poll::Ready(
            frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| Piece { bytes, _sending: sending }))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Buf for Piece {
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
