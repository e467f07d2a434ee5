//! The page at `/`: the catalogue and its products in a browser, from the public API alone. Its files stand in
//! `server/page` as they are sent: nothing is built, and nothing but photos is loaded from elsewhere.

use http::header::HeaderValue;

use crate::assets::file::{File, Files, Terms, below};

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

/// The page, which has the empty name, and the files below `/page/`. Scripts find the API from where they are themselves.
pub fn files(base: &str) -> Files {
    let html =
        File::new("", "text/html; charset=utf-8", below(base, include_str!("../../page/index.html")), &TERMS);
    let css = |name, body: &'static str| File::new(name, "text/css; charset=utf-8", body, &TERMS);
    let js = |name, body: &'static str| File::new(name, "text/javascript; charset=utf-8", body, &TERMS);
    Files(vec![
        html,
        File::new("icon.svg", "image/svg+xml", include_str!("../../page/icon.svg"), &TERMS),
        css("page.css", include_str!("../../page/page.css")),
        css("log.css", include_str!("../../page/log.css")),
        css("product.css", include_str!("../../page/product.css")),
        js("main.js", include_str!("../../page/main.js")),
        js("api.js", include_str!("../../page/api.js")),
        js("catalogue.js", include_str!("../../page/catalogue.js")),
        js("dom.js", include_str!("../../page/dom.js")),
        js("gallery.js", include_str!("../../page/gallery.js")),
        js("log.js", include_str!("../../page/log.js")),
        js("notice.js", include_str!("../../page/notice.js")),
        js("places.js", include_str!("../../page/places.js")),
        js("product.js", include_str!("../../page/product.js")),
        js("text.js", include_str!("../../page/text.js")),
    ])
}
