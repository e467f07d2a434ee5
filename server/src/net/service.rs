//! hyper's service for one connection, of either version of HTTP.

use std::convert::Infallible;
use std::rc::Rc;

use http::{Method, Request, Response};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::service::{Service, service_fn};

use crate::http::body::Body;
use crate::http::respond::respond;
use crate::net::activity::Activity;
use crate::worker::Worker;

/// A response, before hyper gets it.
pub(crate) struct FinishedResponse {
    pub(crate) response: Response<Body>,
    pub(crate) is_head: bool,
}

/// Answers requests and records them. `finish` makes what hyper gets; until it has, the request counts as being answered.
pub(crate) fn service<B: HttpBody + 'static>(
    worker: Rc<Worker>,
    activity: Rc<Activity>,
    finish: impl Fn(&Rc<Activity>, FinishedResponse) -> Response<B> + Copy + 'static,
) -> impl Service<
    Request<Incoming>,
    Response = Response<B>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<B>, Infallible>> + 'static,
> {
    service_fn(move |request: Request<Incoming>| {
        let answering = activity.begin_answer(&request);
        let (activity, worker) = (Rc::clone(&activity), Rc::clone(&worker));
        async move {
            let is_head = request.method() == Method::HEAD;
            let response = respond(&worker, &activity.flow, request).await;
            let response = finish(&activity, FinishedResponse { response, is_head });
            drop(answering);
            Ok(response)
        }
    })
}
