//! A server with the awkward catalogue, for tests of HTTP.

use atelier_testing::{Database, Server as Postgres};

use crate::catalogue::{awkward, publish};
use crate::client::{Response, get, request};
use crate::server::Server;

/// One of each kind.
pub(crate) const RESOURCES: [&str; 6] = [
    "/products",
    "/products?ids=3,1",
    "/products/1",
    "/products/1/styles",
    "/products/1/related",
    "/products/1/profile",
];

/// The database is dropped last.
pub(crate) struct Served {
    pub(crate) server: Server,
    pub(crate) load: String,
    pub(crate) database: Database<'static>,
}

impl Served {
    pub(crate) fn get(&self, target: &str, headers: &[&str]) -> Response {
        request(self.server.public, "GET", target, headers)
    }

    /// The value of a metric, summed over the series whose labels contain `label`.
    pub(crate) fn count(&self, name: &str, label: &str) -> u64 {
        let metrics = get(self.server.admin, "/metrics");
        let lines = metrics.text().lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            (found == name && labels.contains(label)).then(|| value.parse::<u64>().unwrap())
        });
        let found: Vec<u64> = lines.collect();
        assert!(!found.is_empty(), "no {name} with {label} in\n{}", metrics.text());
        found.iter().sum()
    }

    pub(crate) fn round_trips(&self) -> u64 {
        self.count("atelier_database_round_trips_total", "")
    }
}

pub(crate) fn serve(arguments: &[&str]) -> Served {
    let database = Postgres::shared().database();
    let load = publish(&database, awkward().path());
    Served { server: Server::start(&database.url(), arguments), load, database }
}
