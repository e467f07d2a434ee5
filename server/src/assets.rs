//! Files that are part of the program: the page for browsers, and the description of the API.

pub mod docs;
pub(crate) mod file;
pub(crate) mod files;
pub(crate) mod page;
