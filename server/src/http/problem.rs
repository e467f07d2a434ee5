//! Errors as clients see them: `application/problem+json`, RFC 9457. Messages of the database are not part of them; those
//! go to the log. No I/O.

use http::{Method, StatusCode};
use serde::Serialize;

/// The value of `Allow` for every resource.
pub(crate) const ALLOWED_METHODS: &str = "GET, HEAD, OPTIONS";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// 4xx or 5xx.
    pub status: StatusCode,
    /// What is wrong with the request, and what would be right.
    pub detail: String,
}

/// The members of RFC 9457, section 3.1, in its order. `about:blank` means that `title` is the name of the status.
#[derive(Serialize)]
struct Members<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into() }
    }

    /// 503.
    pub(crate) fn unavailable(detail: &'static str) -> Problem {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Problem {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn no_such_path(base: &str) -> Problem {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is nothing at this path; see {base}/docs or {base}/openapi.json"),
        )
    }

    pub(crate) fn no_such_product(id: i32) -> Problem {
        Self::new(StatusCode::NOT_FOUND, format!("no product has the id {id}"))
    }

    pub(crate) fn method_not_allowed(method: &Method) -> Problem {
        // Any token is a valid method, even one of a thousand letters.
        let method = if method.as_str().len() <= 20 { method.as_str() } else { "this method" };
        let detail = format!("{method} is not allowed here: this API is read-only, with {ALLOWED_METHODS}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    pub(crate) fn target_too_long(limit: usize) -> Problem {
        Self::new(StatusCode::URI_TOO_LONG, format!("the request's target has more than {limit} bytes"))
    }

    pub(crate) fn headers_too_large(limit: usize) -> Problem {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("the request's headers have more than {limit} bytes"),
        )
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let members = Members {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Unknown"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        // Cannot fail: there are only strings and a number.
        serde_json::to_vec(&members).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_members_of_the_standard() {
        let body = Problem::no_such_product(7).to_json();
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"no product has the id 7"}"#
        );
    }
}
