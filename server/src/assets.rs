//! Files that are part of the program: the page, and the description of the API.

pub mod docs;
pub mod file;
pub mod page;
