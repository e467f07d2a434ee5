//! A database of a test, and the ways to it.

use super::{Rows, Server};

/// A database of one test; dropped with this value, whoever is still connected.
pub struct Database<'server> {
    pub(super) server: &'server Server,
    pub(super) name: String,
}

impl Database<'_> {
    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As superuser, over the Unix socket.
    pub fn url(&self) -> String {
        self.server.socket_url(&self.name)
    }

    /// As superuser, over TCP with a password (SCRAM) and without TLS.
    pub fn tcp_url(&self) -> String {
        self.url_of("postgres", &self.server.password)
    }

    /// As another role, over TCP.
    pub fn url_of(&self, role: &str, password: &str) -> String {
        format!("postgresql://{role}:{password}@127.0.0.1:{}/{}?sslmode=disable", self.server.port, self.name)
    }

    /// As superuser, over TCP with TLS: `sslmode` is one of libpq's, as `require` or `verify-full`. The host is
    /// `localhost`, which the certificate names.
    pub fn tls_url(&self, sslmode: &str) -> String {
        let Server { password, port, .. } = self.server;
        format!("postgresql://postgres:{password}@localhost:{port}/{}?sslmode={sslmode}", self.name)
    }

    /// Runs one or more statements as superuser and gives all their rows.
    pub fn query(&self, sql: &str) -> Rows {
        self.server.run(&self.name, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs one or more statements as superuser.
    pub fn execute(&self, sql: &str) {
        self.query(sql);
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // A test may end with its server stopped; all goes with the server then.
        let _ = self.server.run("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
