//! A batch: the requests that one statement answers.
//!
//! A batch of documents answers all waiting requests of its kind, so the busier the server is, the less a request costs
//! PostgreSQL. When the server is idle, each request is sent alone and without delay.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_postgres::Client;

use crate::catalogue::cache::Cache;
use crate::catalogue::json::Rows;
use crate::catalogue::queries::{self, Failure, ResultSet, Statements};
use crate::catalogue::query_kind::QueryKind;
use crate::catalogue::resource::Resource;
use crate::database::pending::{Answer, PendingRequest};
use crate::database::unavailable::Unavailable;

/// Not empty; all requests are of one kind.
pub(crate) struct Batch(Vec<PendingRequest>);

impl Batch {
    /// `None` without requests.
    pub(crate) fn new(requests: Vec<PendingRequest>) -> Option<Batch> {
        (!requests.is_empty()).then_some(Batch(requests))
    }

    pub(crate) fn kind(&self) -> QueryKind {
        self.0[0].kind
    }

    pub(crate) fn requests(&self) -> &[PendingRequest] {
        &self.0
    }

    pub(crate) fn into_requests(self) -> Vec<PendingRequest> {
        self.0
    }

    /// Marks all requests as sent. Returns how many were not sent before.
    pub(crate) fn mark_sent(&mut self) -> u64 {
        let new = self.0.iter_mut().filter(|request| !request.was_sent);
        new.map(|request| request.was_sent = true).count() as u64
    }

    /// Sends the statement.
    pub(crate) fn execute<'c>(
        &self,
        client: &'c Client,
        statements: &'c Statements,
    ) -> impl Future<Output = Result<ResultSet, Failure>> + use<'c> {
        let (kind, first) = (self.kind(), self.0[0].resource.clone());
        let documents: Vec<i32> = self.0.iter().filter_map(|request| request.resource.product()).collect();
        async move {
            match first {
                Resource::Page(page) => queries::page(client, statements, page).await,
                Resource::Products(ids) => queries::by_ids(client, statements, kind, &ids).await,
                Resource::Document(..) => queries::by_ids(client, statements, kind, &documents).await,
            }
        }
    }

    /// Renders the rows and answers all requests.
    pub(crate) fn answer(self, result: &ResultSet, database: Duration, compat: bool, cache: &Cache) {
        let begin = Instant::now();
        let rows = result.rows(compat);
        let bodies = self.0.iter().map(|request| render(&rows, &request.resource));
        let bodies: Vec<Option<Bytes>> = bodies.map(|body| body.map(|body| cache.body(body))).collect();
        let render = begin.elapsed();
        for (request, body) in self.0.into_iter().zip(bodies) {
            let total = matches!(request.resource, Resource::Page(_)).then_some(result.total);
            request.answer(Ok(Answer { load: result.load, body, total, database, render }));
        }
    }

    pub(crate) fn fail(self, why: Unavailable) {
        for request in self.0 {
            request.answer(Err(why));
        }
    }
}

fn render(rows: &Rows<'_>, resource: &Resource) -> Option<Vec<u8>> {
    match resource {
        Resource::Page(_) => Some(rows.page()),
        Resource::Products(ids) => Some(rows.products(ids)),
        Resource::Document(document, id) => rows.document(*document, *id),
    }
}
