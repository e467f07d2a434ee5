//! The body of every response.

use bytes::Bytes;
use http_body_util::Full;

pub(crate) type Body = Full<Bytes>;
