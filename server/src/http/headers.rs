//! Headers that all answers from one load share, so that they are made once.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::catalogue::etag;
use crate::catalogue::load_id::LoadId;
use crate::config::Config;
use crate::http::body::Body;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The headers of answers from one load. Cloning a map costs less than inserting each header.
pub(crate) struct LoadHeaders {
    pub(crate) load: LoadId,
    /// The end of the entity tag: with `--compat` the answers of a load are different ones.
    suffix: &'static str,
    /// Of a 304; a 200 has them too.
    not_modified: HeaderMap,
    /// Of a 200 from the cache.
    hit: HeaderMap,
}

impl LoadHeaders {
    pub(crate) fn new(config: &Config, load: LoadId) -> LoadHeaders {
        let mut not_modified = HeaderMap::with_capacity(8);
        allow_origin(&mut not_modified, config);
        let suffix = if config.compat { "-compat" } else { "" };
        not_modified.insert(header::ETAG, etag::weak(&format!("{load}{suffix}")));
        not_modified.insert(header::CACHE_CONTROL, config.cache_control.clone());
        not_modified.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        let mut hit = not_modified.clone();
        hit.insert(header::CONTENT_TYPE, JSON);
        hit.insert(SERVER_TIMING, HeaderValue::from_static("cache;desc=hit"));
        LoadHeaders { load, suffix, not_modified, hit }
    }

    pub(crate) fn etag(&self) -> &HeaderValue {
        &self.not_modified[header::ETAG]
    }

    /// Whether a tag in `If-None-Match` is that of this load. `*` is not.
    pub(crate) fn matches(&self, if_none_match: &HeaderValue) -> bool {
        let mut loads = etag::opaque(if_none_match).filter_map(|tag| tag.strip_suffix(self.suffix));
        loads.any(|load| LoadId::parse(load) == Some(self.load))
    }

    /// 200; the caller changes `Server-Timing` unless the body is from the cache.
    pub(crate) fn ok(&self, body: Bytes) -> Response<Body> {
        let mut response = Response::new(Full::new(body));
        *response.headers_mut() = self.hit.clone();
        response
    }

    pub(crate) fn not_modified(&self) -> Response<Body> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = self.not_modified.clone();
        response
    }
}

/// Adds the headers that every response has.
pub(crate) fn with_common_headers(mut response: Response<Body>, config: &Config) -> Response<Body> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01a203b5-40f4-70cd-9b33-f881d2ef1c77";

    fn load_headers(suffix: &'static str) -> LoadHeaders {
        let load = LoadId::parse(ID).unwrap();
        LoadHeaders { load, suffix, not_modified: HeaderMap::new(), hit: HeaderMap::new() }
    }

    #[test]
    fn tags_are_compared_weakly() {
        let plain = load_headers("");
        let other = "\"01a203b5-40f4-70cd-9b33-f881d2ef1c78\"";
        let matches = |value: &str| plain.matches(&HeaderValue::from_str(value).unwrap());
        for value in [
            format!("W/\"{ID}\""),
            format!("\"{ID}\""),
            format!("{other}, W/\"{ID}\""),
            format!("\"a,b\" ,W/\"{ID}\" , {other}"),
        ] {
            assert!(matches(&value), "{value}");
        }
        let compat = format!("W/\"{ID}-compat\"");
        for value in ["", "*", "W/", "\"", "\"\"", other, ID, &compat, &format!("w/\"{ID}\"")] {
            assert!(!matches(value), "{value}");
        }
        let matches = |value: &str| load_headers("-compat").matches(&HeaderValue::from_str(value).unwrap());
        assert!(matches(&compat) && !matches(&format!("W/\"{ID}\"")));
    }
}
