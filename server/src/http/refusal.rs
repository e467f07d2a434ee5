//! Requests that are not answered: the reason as a response.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::config::Config;
use crate::database::unavailable::Unavailable;
use crate::http::body::Body;
use crate::http::headers::with_common_headers;
use crate::http::problem::{ALLOWED_METHODS, Problem};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// When a client that got a 503 may try again, in seconds. Once the database is back, reconnecting takes less.
const RETRY_AFTER_SECONDS: u32 = 1;

pub(crate) enum Refusal {
    /// The request itself is wrong.
    Problem(Problem),
    /// There is no answer at the moment.
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

impl Refusal {
    pub(crate) fn response(self, config: &Config) -> Response<Body> {
        let problem = match self {
            Refusal::Problem(problem) => problem,
            Refusal::Unavailable(unavailable) => Problem::unavailable(detail(unavailable)),
        };
        let mut response = Response::new(Full::new(problem.to_json().into()));
        *response.status_mut() = problem.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match problem.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED_METHODS));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        with_common_headers(response, config)
    }
}

fn detail(unavailable: Unavailable) -> &'static str {
    match unavailable {
        Unavailable::Disconnected => "the database cannot be reached at the moment",
        Unavailable::Overloaded => "the server has more requests than it can answer at the moment",
        Unavailable::TimedOut => "the answer took too long",
        Unavailable::NotPublished => "no catalogue is published yet",
        Unavailable::Failed => "the database could not answer",
    }
}
