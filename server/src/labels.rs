//! The headers that name a load: the same for all its answers, and so made once.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::config::Config;
use crate::load::LoadId;
use crate::respond::Body;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Where the time went.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The headers of all answers from one load, made once: a copy costs less than putting each in its place.
pub struct Labels {
    /// The load.
    pub load: LoadId,
    /// Of a 304, and of a 200 too.
    not_modified: HeaderMap,
    /// Of a 200 from the cache.
    hit: HeaderMap,
}

impl Labels {
    /// Those of `load`.
    pub fn new(config: &Config, load: LoadId) -> Labels {
        let mut not_modified = HeaderMap::with_capacity(8);
        allow_origin(&mut not_modified, config);
        not_modified.insert(header::ETAG, load.etag());
        not_modified.insert(header::CACHE_CONTROL, config.cache_control.clone());
        not_modified.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        let mut hit = not_modified.clone();
        hit.insert(header::CONTENT_TYPE, JSON);
        hit.insert(SERVER_TIMING, HeaderValue::from_static("cache;desc=hit"));
        Labels { load, not_modified, hit }
    }

    /// Its entity tag.
    pub fn etag(&self) -> &HeaderValue {
        &self.not_modified[header::ETAG]
    }

    /// 200, from the cache unless the headers are told otherwise.
    pub fn ok(&self, body: Bytes) -> Response<Body> {
        let mut response = Response::new(Full::new(body));
        *response.headers_mut() = self.hit.clone();
        response
    }

    /// 304.
    pub fn not_modified(&self) -> Response<Body> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = self.not_modified.clone();
        response
    }
}

/// The same with the headers of all answers, of a load or not.
pub fn for_all(mut response: Response<Body>, config: &Config) -> Response<Body> {
    allow_origin(response.headers_mut(), config);
    response
}

fn allow_origin(headers: &mut HeaderMap, config: &Config) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, config.cors_origin.clone());
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("ETag, Link, Server-Timing, X-Total-Count"),
    );
}
