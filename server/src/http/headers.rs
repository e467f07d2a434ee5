//! The headers that name a load: the same for all its answers, and so made once.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::catalogue::etag;
use crate::catalogue::load_id::LoadId;
use crate::config::Config;
use crate::http::respond::Body;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Where the time went.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The headers of all answers from one load, made once: a copy costs less than putting each in its place.
pub struct Labels {
    /// The load.
    pub load: LoadId,
    /// What its tag ends in: answers of one load are not the same with `--compat`.
    form: &'static str,
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
        let form = if config.compat { "-compat" } else { "" };
        not_modified.insert(header::ETAG, etag::weak(&format!("{load}{form}")));
        not_modified.insert(header::CACHE_CONTROL, config.cache_control.clone());
        not_modified.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        let mut hit = not_modified.clone();
        hit.insert(header::CONTENT_TYPE, JSON);
        hit.insert(SERVER_TIMING, HeaderValue::from_static("cache;desc=hit"));
        Labels { load, form, not_modified, hit }
    }

    /// Its entity tag.
    pub fn etag(&self) -> &HeaderValue {
        &self.not_modified[header::ETAG]
    }

    /// Whether `If-None-Match` names it; `*` names none.
    pub fn match_any(&self, if_none_match: &HeaderValue) -> bool {
        let mut loads = etag::opaque(if_none_match).filter_map(|tag| tag.strip_suffix(self.form));
        loads.any(|load| LoadId::parse(load) == Some(self.load))
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01a203b5-40f4-70cd-9b33-f881d2ef1c77";

    fn labels(form: &'static str) -> Labels {
        let load = LoadId::parse(ID).unwrap();
        Labels { load, form, not_modified: HeaderMap::new(), hit: HeaderMap::new() }
    }

    #[test]
    fn tags_are_compared_weakly() {
        let plain = labels("");
        let other = "\"01a203b5-40f4-70cd-9b33-f881d2ef1c78\"";
        let matches = |value: &str| plain.match_any(&HeaderValue::from_str(value).unwrap());
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
        let matches = |value: &str| labels("-compat").match_any(&HeaderValue::from_str(value).unwrap());
        assert!(matches(&compat) && !matches(&format!("W/\"{ID}\"")));
    }
}
