//! The page at `/`, which shows the catalogue in a browser and only uses the public API. Its files are those in
//! `server/page`, without a build step. Only photos are loaded from other origins.

use http::header::HeaderValue;

use crate::assets::file::{File, Files, Policy, with_base};

/// Scripts and styles only from this origin and not inline; photos from anywhere with HTTPS. `require-trusted-types-for`
/// prevents text from becoming HTML: the page creates elements, and data is their text.
///
/// Browsers revalidate each file, since an old page with a new script would be broken.
static POLICY: Policy = Policy {
    content_security: HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    cache_control: HeaderValue::from_static("public, no-cache"),
};

/// The page, which has the empty name, and the files below `/page/`. Scripts find the API relative to their own URL.
pub(crate) fn files(base: &str) -> Files {
    let html = File::new(
        "",
        "text/html; charset=utf-8",
        with_base(base, include_str!("../../page/index.html")),
        &POLICY,
    );
    let css = |name, body: &'static str| File::new(name, "text/css; charset=utf-8", body, &POLICY);
    let js = |name, body: &'static str| File::new(name, "text/javascript; charset=utf-8", body, &POLICY);
    Files(vec![
        html,
        File::new("icon.svg", "image/svg+xml", include_str!("../../page/icon.svg"), &POLICY),
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
