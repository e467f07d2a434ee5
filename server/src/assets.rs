//! Files that are part of the program: the page for browsers, and the description of the API.

pub mod docs;
pub(crate) mod file;
pub(crate) mod page;

use crate::assets::file::{File, Files};

/// All files that are served.
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
