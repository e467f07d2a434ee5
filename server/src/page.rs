//! The page at `/`: the catalogue and its products in a browser, from the public API alone. Its files stand in
//! `server/page` as they are sent: nothing is built, and nothing but photos is loaded from elsewhere.

use std::sync::LazyLock;

use http::Response;
use http::header::{HeaderMap, HeaderValue};

use crate::files::{File, Terms};
use crate::respond::Body;

/// Scripts and styles from here alone, and none in the page; photos from wherever the catalogue says, if that is
/// encrypted. `require-trusted-types-for` lets no text become HTML: the page makes elements, and data is their text.
///
/// A browser asks each time whether it has the right file. An hour of an old page with a new script would be broken.
static TERMS: Terms = Terms {
    policy: HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    keep: HeaderValue::from_static("public, no-cache"),
};

/// The page, and what stands below `/page/`.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let html = File::new("", "text/html; charset=utf-8", include_bytes!("../page/index.html"), &TERMS);
    let css = |name, body| File::new(name, "text/css; charset=utf-8", body, &TERMS);
    let js = |name, body| File::new(name, "text/javascript; charset=utf-8", body, &TERMS);
    vec![
        html,
        File::new("icon.svg", "image/svg+xml", include_bytes!("../page/icon.svg"), &TERMS),
        css("page.css", include_bytes!("../page/page.css")),
        css("log.css", include_bytes!("../page/log.css")),
        css("product.css", include_bytes!("../page/product.css")),
        js("main.js", include_bytes!("../page/main.js")),
        js("api.js", include_bytes!("../page/api.js")),
        js("catalogue.js", include_bytes!("../page/catalogue.js")),
        js("dom.js", include_bytes!("../page/dom.js")),
        js("gallery.js", include_bytes!("../page/gallery.js")),
        js("log.js", include_bytes!("../page/log.js")),
        js("notice.js", include_bytes!("../page/notice.js")),
        js("places.js", include_bytes!("../page/places.js")),
        js("product.js", include_bytes!("../page/product.js")),
        js("text.js", include_bytes!("../page/text.js")),
    ]
});

/// `/`, or a file below `/page/`. Nothing if there is no such file.
pub async fn file(name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let file = FILES.iter().find(|file| file.name == name)?;
    Some(file.answer(headers).await)
}
