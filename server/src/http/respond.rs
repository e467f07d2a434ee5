//! A request → its response.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::Full;

use crate::catalogue::encoding::Encoding;
use crate::catalogue::query_kind::QueryKind;
use crate::catalogue::resource::{ProductPage, Resource};
use crate::database::flow::Flow;
use crate::database::unavailable::Unavailable;
use crate::http::answer::{self, Timing};
use crate::http::body::Body;
use crate::http::headers::{LoadHeaders, SERVER_TIMING, with_common_headers};
use crate::http::host;
use crate::http::problem::{ALLOWED_METHODS, Problem};
use crate::http::refusal::Refusal;
use crate::http::route::{MAX_TARGET_BYTES, Route, Site, route};
use crate::telemetry::route_label::RouteLabel;
use crate::worker::Worker;

/// Most bytes of headers. Browsers and proxies stay far below.
pub(crate) const MAX_HEADER_BYTES: usize = 16 * 1024;

const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// For preflight requests. `*` means everything but `Authorization` (Fetch, "CORS non-wildcard request-header name"), and
/// old browsers take it for a name, so common headers are listed too. Answers depend on none of them but `If-None-Match`.
const ALLOWED_HEADERS: &str =
    "*, Authorization, Cache-Control, Content-Type, If-None-Match, X-Requested-With";

/// Answers one request. Does not read its body.
pub(crate) async fn respond<B>(worker: &Rc<Worker>, flow: &Rc<Flow>, request: Request<B>) -> Response<Body> {
    let begin = Instant::now();
    let shared = worker.shared;
    let _in_flight = worker.counters.start_request();
    let (label, answer) = match parse(&request, shared.config.site) {
        Ok(route) => (label(&route), answer_route(worker, flow, &request, route).await),
        Err(problem) => (RouteLabel::Refused, Err(problem.into())),
    };
    flow.record_answer(matches!(answer, Err(Refusal::Unavailable(Unavailable::Overloaded))));
    let mut response = match answer {
        Ok(response) => response,
        // Prepared, since refusing must cost little under overload.
        Err(Refusal::Unavailable(Unavailable::Overloaded)) => worker.overloaded.clone(),
        Err(refusal) => refusal.response(&shared.config),
    };
    if shared.life.is_stopping() && request.version() < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    worker.counters.record_answer(label, response.status(), begin.elapsed());
    tracing::debug!(method = %request.method(), target = %request.uri(), status = response.status().as_u16(), "answered");
    response
}

/// Checks sizes and the host, then routes.
fn parse<B>(request: &Request<B>, site: Site) -> Result<Route, Problem> {
    let uri = request.uri();
    if uri.path_and_query().map_or(0, |target| target.as_str().len()) > MAX_TARGET_BYTES {
        return Err(Problem::target_too_long(MAX_TARGET_BYTES));
    }
    let size =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
    if request.headers().iter().map(size).sum::<usize>() > MAX_HEADER_BYTES {
        return Err(Problem::headers_too_large(MAX_HEADER_BYTES));
    }
    host::check(request)?;
    route(site, request.method(), uri.path(), uri.query())
}

/// What a request is counted under.
fn label(route: &Route) -> RouteLabel {
    match route {
        Route::Resource(resource) => QueryKind::of(resource).label(),
        Route::OpenApi | Route::Docs(_) => RouteLabel::Docs,
        Route::WebPage(_) => RouteLabel::WebPage,
        Route::Options => RouteLabel::Options,
    }
}

async fn answer_route<B>(
    worker: &Rc<Worker>,
    flow: &Rc<Flow>,
    request: &Request<B>,
    route: Route,
) -> Result<Response<Body>, Refusal> {
    let headers = request.headers();
    let (config, assets) = (&worker.shared.config, &worker.shared.assets);
    let response = match route {
        Route::Resource(resource) => return answer_resource(worker, flow, headers, resource).await,
        Route::OpenApi => Some(assets.openapi.answer(headers).await),
        Route::Docs(file) => assets.docs.answer(&file, headers).await,
        Route::WebPage(file) => assets.page.answer(&file, headers).await,
        Route::Options => Some(options()),
    };
    let response = response.ok_or_else(|| Problem::no_such_path(config.site.base))?;
    Ok(with_common_headers(response, config))
}

async fn answer_resource(
    worker: &Rc<Worker>,
    flow: &Rc<Flow>,
    headers: &HeaderMap,
    resource: Resource,
) -> Result<Response<Body>, Refusal> {
    let shared = worker.shared;
    let no_load =
        || if shared.database.is_up() { Unavailable::NotPublished } else { Unavailable::Disconnected };
    // Read before the database is queried: an old body must never get the headers of a new load.
    let load_headers = worker.load_headers().ok_or_else(no_load)?;
    let if_none_match = || headers.get_all(header::IF_NONE_MATCH).iter();
    let is_current = |current: &LoadHeaders| {
        if_none_match().any(|tags| tags == current.etag() || tags == "*" || current.matches(tags))
    };
    // A condition is evaluated only if the answer without it would be 200 (RFC 9110, section 13.2.1).
    if is_current(&load_headers) && shared.published.exists(load_headers.load, &resource) == Some(true) {
        return Ok(load_headers.not_modified());
    }
    let wanted = Encoding::negotiate(headers);
    let answer = answer::fetch_encoded(worker, flow, load_headers.load, &resource, wanted).await?;
    let product = resource.product().unwrap_or_default();
    let body = answer.entry.body.ok_or_else(|| Problem::no_such_product(product))?;
    // Another load was published a moment ago, or a standby is ahead or behind.
    let load_headers = if answer.load == load_headers.load {
        load_headers
    } else {
        Rc::new(LoadHeaders::new(&shared.config, answer.load))
    };
    if is_current(&load_headers) {
        return Ok(load_headers.not_modified());
    }

    let mut response = load_headers.ok(body);
    let headers = response.headers_mut();
    if let Some(encoding) = answer.encoding.header() {
        headers.insert(header::CONTENT_ENCODING, encoding);
    }
    if let (Resource::Page(page), Some(total)) = (&resource, answer.entry.total) {
        headers.insert(TOTAL_COUNT, HeaderValue::from(total));
        headers.insert(header::LINK, links(shared.config.site.base, *page, total));
    }
    if let Timing::Miss { database, render } = answer.timing {
        headers.insert(SERVER_TIMING, server_timing_of_miss(database, render));
    }
    Ok(response)
}

/// `OPTIONS`, and with it CORS preflight.
fn options() -> Response<Body> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED_METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(ALLOWED_METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// `Link` with the first, previous, next and last page (RFC 8288). Without a host, so that it is correct behind any proxy.
fn links(base: &str, ProductPage { page, count }: ProductPage, total: i32) -> HeaderValue {
    let last = total.div_euclid(count) + i32::from(total % count > 0);
    let last = last.max(1);
    let mut links = format!("<{base}/products?page=1&count={count}>; rel=\"first\"");
    let mut add = |rel, page| {
        // Writing to a string cannot fail.
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

/// In milliseconds.
fn server_timing_of_miss(database: Duration, render: Duration) -> HeaderValue {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let (database, render) = (milliseconds(database), milliseconds(render));
    HeaderValue::try_from(format!("cache;desc=miss, db;dur={database:.3}, render;dur={render:.3}"))
        .unwrap_or_else(|_| HeaderValue::from_static("cache;desc=miss"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_existing_pages() {
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
                links("/shop", ProductPage { page, count: 5 }, total),
                expected.join(", "),
                "page {page} of {total}"
            );
        }
    }
}
