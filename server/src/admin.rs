//! The port for those who run the server: `/livez`, `/readyz` and `/metrics`.

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
use crate::net::listen::ACCEPT_PAUSE;
use crate::net::listener::{Incoming, Listener};
use crate::net::stream::Plain;
use crate::shared::Shared;
use crate::telemetry::exposition::Format;
use crate::telemetry::limits::Limit;

/// Methods that every path knows, as in `Allow`.
const ALLOWED: &str = "GET, HEAD";

/// Of each connection. hyper takes no less.
const BUFFER_BYTES: usize = 8 * 1024;

/// Serves as long as the process lives, also while it stops: that is when somebody wants to know.
pub async fn serve(shared: &'static Shared, listener: Listener) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await.and_then(Incoming::open) {
            Ok(stream) => {
                open.retain(|task| !task.is_finished());
                if open.len() >= ADMIN_CONNECTIONS
                    && let Some(longest) = open.pop_front()
                {
                    longest.abort();
                    shared.metrics.limits.bite(Limit::AdminConnections);
                }
                open.push_back(spawn_local(converse(shared, stream)).abort_handle());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(shared: &'static Shared, stream: Plain) {
    let service = service_fn(async |request: Request<_>| Ok::<_, Infallible>(respond(shared, &request)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(shared.config.idle_timeout).max_buf_size(BUFFER_BYTES);
    // However it ends, there is nobody else to tell.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// First the path (404), then the method (405), as on the public port.
fn respond<B>(shared: &Shared, request: &Request<B>) -> Response<Full<Bytes>> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut content_type = "text/plain; charset=utf-8";
    let (status, body) = match request.uri().path() {
        "/livez" | "/readyz" | "/metrics" if !reads => {
            (StatusCode::METHOD_NOT_ALLOWED, format!("only {ALLOWED}\n"))
        }
        "/livez" => (StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => match shared.readiness() {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        },
        "/metrics" => {
            let format = Format::negotiate(request.headers());
            content_type = format.content_type();
            (StatusCode::OK, format.write(shared.metrics.text(&shared.cache)))
        }
        _ => (StatusCode::NOT_FOUND, "here are /livez, /readyz and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static(ALLOWED));
    }
    response
}
