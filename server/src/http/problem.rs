//! What a client is told when there is no answer: `application/problem+json`, RFC 9457. It holds nothing of the
//! database's own words; those are for the log. No I/O.

use http::{Method, StatusCode};
use serde::Serialize;

/// Methods that every resource knows, as in `Allow`.
pub const ALLOWED: &str = "GET, HEAD, OPTIONS";

/// Seconds after which a client that met a 503 may ask again. Reconnecting takes less, once the database is back.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status, of the classes 4xx and 5xx.
    pub status: StatusCode,
    /// What is wrong with this request, and what would be right.
    pub detail: String,
}

/// Why there is no answer now, but perhaps soon. Each is a 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No connection to the database.
    Away,
    /// Too many requests wait already.
    Full,
    /// It took too long.
    TimedOut,
    /// There are no data.
    NotPublished,
    /// The database refused or failed.
    Failed,
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Problem {
        let detail = match unavailable {
            Unavailable::Away => "the database cannot be reached at the moment",
            Unavailable::Full => "the server has more requests than it can answer at the moment",
            Unavailable::TimedOut => "the answer took too long",
            Unavailable::NotPublished => "no catalogue is published yet",
            Unavailable::Failed => "the database could not answer",
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

/// Why a request is not answered.
pub enum Refusal {
    /// For its own sake.
    Problem(Problem),
    /// There is no answer now.
    Unavailable(Unavailable),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal::Problem(problem)
    }
}

impl From<Unavailable> for Refusal {
    fn from(unavailable: Unavailable) -> Refusal {
        Refusal::Unavailable(unavailable)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Problem(problem) => problem,
            Refusal::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

/// The members of RFC 9457, section 3.1, in its order. `about:blank` says that `title` is the status's own.
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

    /// 400: a parameter is not what it must be.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: no such path. `base` is what all begin with.
    pub fn no_such_path(base: &str) -> Problem {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is nothing at this path; {base}/docs and {base}/openapi.json say what there is"),
        )
    }

    /// 404: no such product.
    pub fn no_such_product(id: i32) -> Problem {
        Self::new(StatusCode::NOT_FOUND, format!("no product has the id {id}"))
    }

    /// 405: the API is read-only.
    pub fn method_not_allowed(method: &Method) -> Problem {
        // Any token is a method, also one of a thousand letters.
        let method = if method.as_str().len() <= 20 { method.as_str() } else { "this method" };
        let detail = format!("{method} is not allowed here: this API is read-only, with {ALLOWED}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    /// 414: the target is longer than `limit` bytes.
    pub fn target_too_long(limit: usize) -> Problem {
        Self::new(StatusCode::URI_TOO_LONG, format!("the request's target has more than {limit} bytes"))
    }

    /// 431: the headers take more than `limit` bytes together.
    pub fn headers_too_large(limit: usize) -> Problem {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("the request's headers have more than {limit} bytes"),
        )
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        let members = Members {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Unknown"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        // Strings and a number: there is nothing in them that could fail.
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
