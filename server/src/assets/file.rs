//! Files that are in the program: what a browser is sent besides JSON. They change with the program alone.

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
use crate::http::respond::Body;

const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// What the files of one page have in common.
pub struct Terms {
    /// `Content-Security-Policy`
    pub policy: HeaderValue,
    /// `Cache-Control`
    pub keep: HeaderValue,
}

/// The files of one page.
pub struct Files(pub Vec<File>);

impl Files {
    /// The answer to `GET` of one of them. Nothing if there is no such file.
    pub async fn answer(&'static self, name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let file = self.0.iter().find(|file| file.name == name)?;
        Some(file.answer(headers).await)
    }
}

/// A page whose links begin with a slash, with all of them below `base`.
pub fn below(base: &str, html: &str) -> String {
    html.replace("=\"/", &format!("=\"{base}/"))
}

/// A file that is in the program, and its compressed forms, each made when somebody first wants it: Swagger UI has
/// 1.6 MB, which takes tens of milliseconds, and most servers are never asked for it.
pub struct File {
    /// Its path behind that of the page. The page itself has the empty name.
    pub name: &'static str,
    content_type: &'static str,
    body: Bytes,
    terms: &'static Terms,
    /// Of the content, so that it is the same from every server of a kind.
    digest: OnceLock<String>,
    gzip: OnceCell<Bytes>,
    brotli: OnceCell<Bytes>,
    zstd: OnceCell<Bytes>,
}

impl File {
    /// A file of this content.
    pub fn new(
        name: &'static str,
        content_type: &'static str,
        body: impl Into<Bytes>,
        terms: &'static Terms,
    ) -> File {
        File {
            name,
            content_type,
            body: body.into(),
            terms,
            digest: OnceLock::new(),
            gzip: OnceCell::new(),
            brotli: OnceCell::new(),
            zstd: OnceCell::new(),
        }
    }

    /// The answer to `GET`: the file as the client likes it coded, or 304 if it has it.
    pub async fn answer(&'static self, headers: &HeaderMap) -> Response<Body> {
        let digest = self.digest.get_or_init(|| format!("{:032x}", xxh3_128(&self.body)));
        let mut tags = headers.get_all(IF_NONE_MATCH).iter();
        if tags.any(|tags| tags == "*" || etag::opaque(tags).any(|tag| tag == digest)) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            self.describe(response.headers_mut(), digest);
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
        self.describe(headers, digest);
        headers.insert(CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    /// What a 200 and its 304 have in common. The policy too: a browser takes it from a 304 if there is one.
    fn describe(&self, headers: &mut HeaderMap, digest: &str) {
        headers.insert(ETAG, etag::weak(digest));
        headers.insert(CACHE_CONTROL, self.terms.keep.clone());
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(CONTENT_SECURITY_POLICY, self.terms.policy.clone());
    }

    /// The file in this coding, where it is worth it.
    async fn encoded(&'static self, encoding: Encoding) -> Option<Bytes> {
        let worth_it = self.body.len() >= encoding::MIN_BYTES && self.content_type != "image/png";
        let kept = match encoding {
            Encoding::Identity => return None,
            _ if !worth_it => return None,
            Encoding::Gzip => &self.gzip,
            Encoding::Brotli => &self.brotli,
            Encoding::Zstd => &self.zstd,
        };
        // Once, however many ask for it at the same time.
        let make = async || {
            let encoded =
                spawn_blocking(move || encoding.encode(&self.body)).await.map_err(io::Error::other)?;
            encoded.map(Bytes::from)
        };
        kept.get_or_try_init(make).await.ok().cloned()
    }
}
