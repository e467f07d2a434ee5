//! The admin port: `/livez`, `/readyz` and `/metrics`.

use std::collections::VecDeque;
use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use crate::config::ADMIN_CONNECTIONS;
use crate::net::listener::{ACCEPT_RETRY_PAUSE, AcceptedSocket, Listener};
use crate::net::stream::PlainStream;
use crate::shared::Shared;
use crate::telemetry::exposition::Format;
use crate::telemetry::limits::Limit;

/// The value of `Allow` for every path.
const ALLOWED_METHODS: &str = "GET, HEAD";

/// For each connection. hyper accepts no less.
const BUFFER_BYTES: usize = 8 * 1024;

/// Serves until the process ends, also while it is stopping.
pub(crate) async fn serve(shared: &'static Shared, listener: Listener) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await.and_then(AcceptedSocket::into_stream) {
            Ok(stream) => {
                open.retain(|task| !task.is_finished());
                if open.len() >= ADMIN_CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                    shared.metrics.limits.record(Limit::AdminConnections);
                }
                open.push_back(spawn_local(serve_connection(shared, stream)).abort_handle());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin port");
                sleep(ACCEPT_RETRY_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(shared: &'static Shared, stream: PlainStream) {
    let service = service_fn(async |request: Request<_>| Ok::<_, Infallible>(respond(shared, &request)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(shared.config.idle_timeout).max_buf_size(BUFFER_BYTES);
    // An error only concerns this client.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// The path is checked first (404), then the method (405), as on the public port.
fn respond<B>(shared: &Shared, request: &Request<B>) -> Response<Full<Bytes>> {
    let is_allowed = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut content_type = "text/plain; charset=utf-8";
    let (status, body) = match request.uri().path() {
        "/livez" | "/readyz" | "/metrics" if !is_allowed => {
            (StatusCode::METHOD_NOT_ALLOWED, format!("only {ALLOWED_METHODS}\n"))
        }
        "/livez" => (StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => match shared.readiness() {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        },
        "/metrics" => {
            let format = Format::negotiate(request.headers());
            content_type = format.content_type();
            (
                StatusCode::OK,
                format.write(shared.metrics.text(shared.cache.bytes(), shared.cache.live_bytes())),
            )
        }
        _ => (StatusCode::NOT_FOUND, "see /livez, /readyz and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static(ALLOWED_METHODS));
    }
    response
}
