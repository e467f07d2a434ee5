//! A database of a test, and its connection strings.

use std::sync::atomic::{AtomicU32, Ordering};

use super::server::{Rows, Server};

/// A database of one test; dropped with this value, with the sessions in it.
pub struct Database<'server> {
    pub(super) server: &'server Server,
    name: String,
}

impl Server {
    /// Creates an empty database.
    pub fn database(&self) -> Database<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        Database { server: self, name }
    }
}

impl Database<'_> {
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

    /// Runs statements as superuser and returns all their rows.
    pub fn query(&self, sql: &str) -> Rows {
        self.server.run(&self.name, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs statements as superuser.
    pub fn execute(&self, sql: &str) {
        self.query(sql);
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // Fails if the test has stopped the server, whose files are removed anyway.
        let _ = self.server.run("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
