//! Files that are part of the program and only change with it.

use std::io;
use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH,
    VARY,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use xxhash_rust::xxh3::xxh3_128;

use crate::catalogue::encoding::{self, Encoding};
use crate::catalogue::etag;
use crate::http::body::Body;

const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// Headers that the files of one page share.
pub(crate) struct Policy {
    pub(crate) content_security: HeaderValue,
    pub(crate) cache_control: HeaderValue,
}

/// The files of one page.
pub(crate) struct Files(pub Vec<File>);

impl Files {
    /// `None` if there is no such file.
    pub(crate) async fn answer(&'static self, name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let file = self.0.iter().find(|file| file.name == name)?;
        Some(file.answer(headers).await)
    }
}

/// Puts `base` in front of all links that begin with a slash.
pub(crate) fn with_base(base: &str, html: &str) -> String {
    html.replace("=\"/", &format!("=\"{base}/"))
}

/// A file and its encoded forms, each of which is made on first use: Swagger UI has 1.6 MB, which takes tens of
/// milliseconds, and most servers never serve it.
pub(crate) struct File {
    /// Its path relative to that of the page. The page itself has the empty name.
    pub(crate) name: &'static str,
    content_type: &'static str,
    body: Bytes,
    policy: &'static Policy,
    /// Of the content, so that all servers of one version have the same entity tag.
    digest: OnceLock<String>,
    gzip: OnceCell<Bytes>,
    brotli: OnceCell<Bytes>,
    zstd: OnceCell<Bytes>,
}

impl File {
    pub(crate) fn new(
        name: &'static str,
        content_type: &'static str,
        body: impl Into<Bytes>,
        policy: &'static Policy,
    ) -> File {
        File {
            name,
            content_type,
            body: body.into(),
            policy,
            digest: OnceLock::new(),
            gzip: OnceCell::new(),
            brotli: OnceCell::new(),
            zstd: OnceCell::new(),
        }
    }

    /// 200 in the encoding that the client prefers, or 304.
    pub(crate) async fn answer(&'static self, headers: &HeaderMap) -> Response<Body> {
        let digest = self.digest.get_or_init(|| format!("{:032x}", xxh3_128(&self.body)));
        let mut tags = headers.get_all(IF_NONE_MATCH).iter();
        if tags.any(|tags| tags == "*" || etag::opaque(tags).any(|tag| tag == digest)) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            self.insert_common(response.headers_mut(), digest);
            return response;
        }
        let wanted = Encoding::negotiate(headers);
        let (body, encoding) = match self.encoded(wanted).await {
            Some(body) => (body, wanted),
            None => (self.body.clone(), Encoding::Identity),
        };
        let mut response = Response::new(Full::new(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(encoding) = encoding.header() {
            headers.insert(CONTENT_ENCODING, encoding);
        }
        self.insert_common(headers, digest);
        headers.insert(CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    /// Headers of both 200 and 304. A browser uses the content security policy of a 304 if it has one.
    fn insert_common(&self, headers: &mut HeaderMap, digest: &str) {
        headers.insert(ETAG, etag::weak(digest));
        headers.insert(CACHE_CONTROL, self.policy.cache_control.clone());
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.content_security.clone());
    }

    /// `None` if encoding does not pay.
    async fn encoded(&'static self, encoding: Encoding) -> Option<Bytes> {
        let worth_it = self.body.len() >= encoding::MIN_BYTES && self.content_type != "image/png";
        let cell = match encoding {
            Encoding::Identity => return None,
            _ if !worth_it => return None,
            Encoding::Gzip => &self.gzip,
            Encoding::Brotli => &self.brotli,
            Encoding::Zstd => &self.zstd,
        };
        // Once, even for concurrent requests.
        let make = async || {
            let encoded =
                spawn_blocking(move || encoding.encode(&self.body)).await.map_err(io::Error::other)?;
            encoded.map(Bytes::from)
        };
        cell.get_or_try_init(make).await.ok().cloned()
    }
}
