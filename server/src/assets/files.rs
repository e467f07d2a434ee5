//! All files that are served.

use crate::assets::file::{File, Files};
use crate::assets::{docs, page};

pub(crate) struct Assets {
    /// The page for browsers, at `/` and below `/page/`.
    pub(crate) page: Files,
    /// `/docs`
    pub(crate) docs: Files,
    /// `/openapi.json`
    pub(crate) openapi: File,
}

impl Assets {
    pub(crate) fn new(base: &str) -> Assets {
        Assets { page: page::files(base), docs: docs::files(base), openapi: docs::openapi(base) }
    }
}
