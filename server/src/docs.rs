//! What the API says of itself: `/openapi.json`, and `/docs`, where a person can read it and try requests in. All of it
//! is in the program: it works without the internet.

use std::io;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, VARY};
use http::{HeaderName, HeaderValue, Response};
use http_body_util::Full;
use swagger_ui_redist::{SwaggerUi, SwaggerUiStaticFile as Part};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::encoding::{self, Encoding};
use crate::respond::Body;

/// The description of the API, kept by hand; tests hold it against the answers.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The page that Swagger UI comes up in. Its own has a script inside, which [`POLICY`] would not let run.
const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Atelier product catalogue</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="stylesheet" href="/docs/index.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png" sizes="32x32">
<link rel="icon" type="image/png" href="/docs/favicon-16x16.png" sizes="16x16">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"#;

/// `validatorUrl`: it would send the description to a service on the internet.
const START: &str = r##"SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"##;

/// Nothing from elsewhere, and no script in the page. Swagger UI's own images are `data:` in its style sheet.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// It changes with the program alone.
const KEEP: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// A file that is in the program, and its compressed forms, each made when somebody first wants it: Swagger UI has
/// 1.6 MB, which takes tens of milliseconds, and most servers are never asked for it.
struct File {
    name: &'static str,
    content_type: &'static str,
    body: Bytes,
    gzip: OnceCell<Bytes>,
    brotli: OnceCell<Bytes>,
    zstd: OnceCell<Bytes>,
}

static DESCRIPTION: LazyLock<File> =
    LazyLock::new(|| File::new("openapi.json", "application/json", OPENAPI.as_bytes()));

/// What stands below `/docs/`; the page itself has the empty name.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let own = [
        File::new("", "text/html; charset=utf-8", PAGE.as_bytes()),
        File::new("start.js", "text/javascript; charset=utf-8", START.as_bytes()),
    ];
    let parts = SwaggerUi::static_files().iter().filter_map(|(part, body)| {
        let content_type = match part {
            Part::Css | Part::IndexCss => "text/css; charset=utf-8",
            Part::Js => "text/javascript; charset=utf-8",
            Part::Favicon16 | Part::Favicon32 => "image/png",
            _ => return None, // the page does without
        };
        Some(File::new(part.file_name(), content_type, body))
    });
    own.into_iter().chain(parts).collect()
});

/// `/openapi.json`
pub async fn openapi(headers: &HeaderMap) -> Response<Body> {
    DESCRIPTION.answer(headers).await
}

/// `/docs` and the files below it: Swagger UI. Nothing if there is no such file.
pub async fn file(name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let file = FILES.iter().find(|file| file.name == name)?;
    Some(file.answer(headers).await)
}

impl File {
    fn new(name: &'static str, content_type: &'static str, body: &'static [u8]) -> File {
        File {
            name,
            content_type,
            body: Bytes::from_static(body),
            gzip: OnceCell::new(),
            brotli: OnceCell::new(),
            zstd: OnceCell::new(),
        }
    }

    async fn answer(&'static self, headers: &HeaderMap) -> Response<Body> {
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
        headers.insert(CACHE_CONTROL, KEEP);
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        headers
            .insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
        response
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_files_that_are_there_and_nothing_on_the_internet() {
        let named: Vec<&str> = PAGE.split('"').filter_map(|text| text.strip_prefix("/docs/")).collect();
        let known: Vec<&str> = FILES.iter().map(|file| file.name).filter(|name| !name.is_empty()).collect();
        assert_eq!(named.len(), known.len(), "{named:?} {known:?}");
        assert!(named.iter().all(|name| known.contains(name)), "{named:?} {known:?}");
        for text in [PAGE, START] {
            assert!(!text.contains("//"), "{text}");
        }
    }
}
