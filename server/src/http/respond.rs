//! A request → its response: from the cache if it can be, from the database if it must be.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::Full;
use tokio::time::timeout;

use crate::catalogue::cache::{Entry, Guard, Key, Lookup};
use crate::catalogue::encoding::{self, Encoding};
use crate::catalogue::load_id::LoadId;
use crate::config::Config;
use crate::database::batch::Answer;
use crate::http::headers::{Labels, SERVER_TIMING, for_all};
use crate::http::host;
use crate::http::problem::{ALLOWED, Problem, RETRY_AFTER_SECONDS, Refusal, Unavailable};
use crate::http::route::{MAX_TARGET_BYTES, Name, Page, Resource, Route, Site, route};
use crate::net::client::Client;
use crate::shared::Shared;
use crate::telemetry::limits::Limit;
use crate::worker::Worker;

/// Most bytes of headers. Browsers and proxies stay far below.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Bodies above this are compressed on a thread of their own: a millisecond or more, in which others would wait.
const LARGE_BYTES: usize = 64 * 1024;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// What a page of another site may send: `*` is everything but `Authorization` (Fetch, "CORS non-wildcard request-header
/// name"), and old browsers take it for a name. No answer depends on more of it than `If-None-Match`.
const ALLOWED_HEADERS: &str =
    "*, Authorization, Cache-Control, Content-Type, If-None-Match, X-Requested-With";

/// The body of every response.
pub type Body = Full<Bytes>;

/// Where the time went.
enum Timing {
    /// The answer was there.
    Hit,
    /// The database was asked, or somebody else was asking it.
    Miss { database: Duration, render: Duration },
}

/// Answers one request. Whatever is in the request's body is not read.
pub async fn respond<B>(worker: &Rc<Worker>, client: &Rc<Client>, request: Request<B>) -> Response<Body> {
    let begin = Instant::now();
    let shared = worker.shared;
    let _in_flight = worker.tally.begin();
    let (name, answer) = match look(&request, shared.config.site) {
        Ok(route) => (route.name(), answer(worker, client, &request, route).await),
        Err(problem) => (Name::Refused, Err(problem.into())),
    };
    client.answered(matches!(answer, Err(Refusal::Unavailable(Unavailable::Full))));
    let mut response = match answer {
        Ok(response) => response,
        // Ready: where many are refused, that must cost little.
        Err(Refusal::Unavailable(Unavailable::Full)) => worker.full.clone(),
        Err(refusal) => for_all(refuse(&refusal.into()), &shared.config),
    };
    if shared.is_stopping() && request.version() < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    worker.tally.answered(name, response.status(), begin.elapsed());
    tracing::debug!(method = %request.method(), target = %request.uri(), status = response.status().as_u16(), "answered");
    response
}

/// What the request asks for, if it is of a size that is looked at.
fn look<B>(request: &Request<B>, site: Site) -> Result<Route, Problem> {
    let uri = request.uri();
    if uri.path_and_query().map_or(0, |target| target.as_str().len()) > MAX_TARGET_BYTES {
        return Err(Problem::target_too_long(MAX_TARGET_BYTES));
    }
    let size =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
    if request.headers().iter().map(size).sum::<usize>() > MAX_HEADER_BYTES {
        return Err(Problem::headers_too_large(MAX_HEADER_BYTES));
    }
    check_host(request)?;
    route(site, request.method(), uri.path(), uri.query())
}

/// RFC 9112, section 3.2: without `Host`, or with two, or with one that is none, nobody knows whom a request is for.
/// HTTP/2 has `:authority` in its place (RFC 9113, section 8.3.1), and an absolute target names the host once more.
fn check_host<B>(request: &Request<B>) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let is_missing = host.is_none()
        && match request.version() {
            Version::HTTP_2 => authority.is_none(),
            version => version == Version::HTTP_11,
        };
    if is_missing || another.is_some() {
        return Err(Problem::bad_request("a request has one header Host"));
    }
    let both = host.map(HeaderValue::as_bytes).zip(authority);
    if request.version() == Version::HTTP_2
        && both.is_some_and(|(host, authority)| !host.eq_ignore_ascii_case(authority))
    {
        return Err(Problem::bad_request("a request has one host, in Host and in :authority the same"));
    }
    let mut named = host.map(HeaderValue::as_bytes).into_iter().chain(authority);
    if !named.all(host::is_valid) {
        return Err(Problem::bad_request(
            "the header Host must be a host, or a host and a port: shop.example:3000",
        ));
    }
    Ok(())
}

async fn answer<B>(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    request: &Request<B>,
    route: Route,
) -> Result<Response<Body>, Refusal> {
    let headers = request.headers();
    let Shared { config, page, docs, description, .. } = worker.shared;
    let response = match route {
        Route::Resource(resource) => return answer_resource(worker, client, headers, resource).await,
        Route::OpenApi => Some(description.answer(headers).await),
        Route::Docs(file) => docs.answer(&file, headers).await,
        Route::Page(file) => page.answer(&file, headers).await,
        Route::Options => Some(options()),
    };
    let response = response.ok_or_else(|| Problem::no_such_path(config.site.base))?;
    Ok(for_all(response, config))
}

/// A resource of the catalogue.
async fn answer_resource(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    headers: &HeaderMap,
    resource: Resource,
) -> Result<Response<Body>, Refusal> {
    let shared = worker.shared;
    // Before anything is asked of the database: an old body never gets a new label.
    let nothing = || if shared.has_database() { Unavailable::NotPublished } else { Unavailable::Away };
    let labels = worker.labels().ok_or_else(nothing)?;
    let if_none_match = || headers.get_all(header::IF_NONE_MATCH).iter();
    let is_current = |labels: &Labels| {
        if_none_match().any(|tags| tags == labels.etag() || tags == "*" || labels.match_any(tags))
    };
    // A condition is looked at where the answer without it would be 200 (RFC 9110, section 13.2.1).
    if is_current(&labels) && shared.exists(labels.load, &resource) == Some(true) {
        return Ok(labels.not_modified());
    }
    let wanted = Encoding::negotiate(headers);
    let found = find(worker, client, labels.load, &resource, wanted).await?;
    let product = resource.product().unwrap_or_default();
    let body = found.entry.body.ok_or_else(|| Problem::no_such_product(product))?;
    // Published a moment ago, or on a standby that is ahead or behind.
    let labels =
        if found.load == labels.load { labels } else { Rc::new(Labels::new(&shared.config, found.load)) };
    if is_current(&labels) {
        return Ok(labels.not_modified());
    }

    let mut response = labels.ok(body);
    let headers = response.headers_mut();
    if let Some(encoding) = found.encoding.header() {
        headers.insert(header::CONTENT_ENCODING, encoding);
    }
    if let (Resource::Page(page), Some(total)) = (&resource, found.entry.total) {
        headers.insert(TOTAL_COUNT, HeaderValue::from(total));
        headers.insert(header::LINK, links(shared.config.site.base, *page, total));
    }
    if let Timing::Miss { database, render } = found.timing {
        headers.insert(SERVER_TIMING, miss(database, render));
    }
    Ok(response)
}

/// An answer, the load that it is from, how it is coded, and where it came from.
struct Found {
    entry: Entry,
    load: LoadId,
    encoding: Encoding,
    timing: Timing,
}

/// Finds the answer as the client wants it: ready, or as it is and then encoded.
async fn find(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    load: LoadId,
    resource: &Resource,
    wanted: Encoding,
) -> Result<Found, Unavailable> {
    let shared = worker.shared;
    let key = |load, encoding| Key { load, resource: resource.clone(), encoding };
    if wanted != Encoding::Identity
        && let Some(entry) = shared.cache.peek(&key(load, wanted))
    {
        worker.tally.hit();
        return Ok(Found { entry, load, encoding: wanted, timing: Timing::Hit });
    }
    let (entry, load, timing) = fetch(worker, client, key(load, Encoding::Identity)).await?;
    let (entry, encoding) = match &entry.body {
        Some(body) if wanted != Encoding::Identity && body.len() >= encoding::MIN_BYTES => {
            encode(shared, key(load, wanted), entry).await
        }
        _ => (entry, Encoding::Identity),
    };
    Ok(Found { entry, load, encoding, timing })
}

/// The answer as it is, the load that it is from, and where it came from.
async fn fetch(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    key: Key,
) -> Result<(Entry, LoadId, Timing), Unavailable> {
    let shared = worker.shared;
    if let Some(entry) = shared.cache.peek(&key) {
        worker.tally.hit();
        return Ok((entry, key.load, Timing::Hit));
    }
    if worker.database.refuses(client, &key.resource) {
        return Err(Unavailable::Full);
    }
    if !shared.cache.has_room() {
        shared.metrics.limits.bite(Limit::Bodies);
        return Err(Unavailable::Full);
    }
    let waited_for = async {
        let begin = Instant::now();
        let guard = match shared.cache.get(&key).await {
            Lookup::Hit(entry) => {
                worker.tally.hit();
                let timing = Timing::Miss { database: begin.elapsed(), render: Duration::ZERO };
                return Ok((entry, key.load, timing));
            }
            Lookup::Miss(guard) => guard,
        };
        if let Some(load) = shared.met(key.load)
            && let Some(entry) = shared.cache.peek(&Key { load, ..key.clone() })
        {
            worker.tally.hit();
            return Ok((entry, load, Timing::Hit));
        }
        worker.tally.miss();
        // A task of its own: a client that goes away cancels nothing that others wait for too.
        let made = tokio::task::spawn_local(make(Rc::clone(worker), Rc::clone(client), key, guard));
        made.await.unwrap_or(Err(Unavailable::Failed))
    };
    timeout(shared.config.request_timeout, waited_for).await.unwrap_or(Err(Unavailable::TimedOut))
}

/// Makes an entry of the cache.
async fn make(
    worker: Rc<Worker>,
    client: Rc<Client>,
    key: Key,
    guard: Option<Guard<'static>>,
) -> Result<(Entry, LoadId, Timing), Unavailable> {
    let Answer { load, body, total, database, render } =
        worker.database.ask(&client, key.resource.clone()).await?;
    let entry = Entry { body, total };
    if load == key.load {
        if let Some(guard) = guard {
            guard.fill(entry.clone());
        }
    } else {
        // Published a moment ago, or on a standby that is ahead or behind: it is answered, and kept, under its own name.
        worker.shared.meet(key.load, load);
        worker.shared.cache.put(Key { load, ..key }, entry.clone());
    }
    Ok((entry, load, Timing::Miss { database, render }))
}

/// The answer as the client wants it, kept for the next one who does. As it is, if that fails, or if so many are being
/// encoded already that others would wait for it.
async fn encode(shared: &'static Shared, key: Key, plain: Entry) -> (Entry, Encoding) {
    let encoding = key.encoding;
    let Some(body) = plain.body.clone() else { return (plain, Encoding::Identity) };
    let guard = match shared.cache.get(&key).await {
        Lookup::Hit(encoded) => return (encoded, encoding),
        Lookup::Miss(guard) => guard,
    };
    let encoded = if body.len() > LARGE_BYTES {
        let Ok(place) = shared.encoders.try_acquire() else { return (plain, Encoding::Identity) };
        let encoded = tokio::task::spawn_blocking(move || {
            let _place = place; // until it is done, whether anybody waits for it or not
            encoding.encode(&body)
        });
        let encoded = encoded.await;
        encoded.unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
    } else {
        encoding.encode(&body)
    };
    match encoded {
        Ok(encoded) => {
            let entry = Entry { body: Some(shared.cache.body(encoded)), total: plain.total };
            if let Some(guard) = guard {
                guard.fill(entry.clone());
            }
            (entry, encoding)
        }
        Err(error) => {
            tracing::error!(%error, ?encoding, "cannot encode a body");
            (plain, Encoding::Identity)
        }
    }
}

/// `OPTIONS`, which is also how a browser asks whether it may send a request from another site.
fn options() -> Response<Body> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(ALLOWED));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// What those are told for whom there is no room.
pub fn full(config: &Config) -> Response<Body> {
    for_all(refuse(&Unavailable::Full.into()), config)
}

fn refuse(problem: &Problem) -> Response<Body> {
    let mut response = Response::new(Full::new(problem.to_json().into()));
    *response.status_mut() = problem.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, PROBLEM);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match problem.status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        _ => {}
    }
    response
}

/// First, previous, next and last page, RFC 8288. Without a host, so that they are right behind any proxy.
fn links(base: &str, Page { page, count }: Page, total: i32) -> HeaderValue {
    let last = total.div_euclid(count) + i32::from(total % count > 0);
    let last = last.max(1);
    let mut links = format!("<{base}/products?page=1&count={count}>; rel=\"first\"");
    let mut add = |rel, page| {
        // Writing to a string does not fail.
        let _ = write!(links, ", <{base}/products?page={page}&count={count}>; rel=\"{rel}\"");
    };
    if page > 1 {
        add("prev", last.min(page - 1));
    }
    if page < last {
        add("next", page + 1);
    }
    add("last", last);
    HeaderValue::try_from(links).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `Server-Timing` of an answer that was made, in milliseconds.
fn miss(database: Duration, render: Duration) -> HeaderValue {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let (database, render) = (milliseconds(database), milliseconds(render));
    HeaderValue::try_from(format!("cache;desc=miss, db;dur={database:.3}, render;dur={render:.3}"))
        .unwrap_or_else(|_| HeaderValue::from_static("cache;desc=miss"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_pages_that_exist() {
        let link = |rel: &str, page: i32| format!("</shop/products?page={page}&count=5>; rel=\"{rel}\"");
        for (page, total, expected) in [
            (1, 12, vec![link("first", 1), link("next", 2), link("last", 3)]),
            (2, 12, vec![link("first", 1), link("prev", 1), link("next", 3), link("last", 3)]),
            (3, 12, vec![link("first", 1), link("prev", 2), link("last", 3)]),
            (2, 10, vec![link("first", 1), link("prev", 1), link("last", 2)]),
            (7, 12, vec![link("first", 1), link("prev", 3), link("last", 3)]),
            (1, 0, vec![link("first", 1), link("last", 1)]),
            (i32::MAX, 12, vec![link("first", 1), link("prev", 3), link("last", 3)]),
        ] {
            assert_eq!(
                links("/shop", Page { page, count: 5 }, total),
                expected.join(", "),
                "page {page} of {total}"
            );
        }
    }
}
