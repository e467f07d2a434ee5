//! Tries one host after the other, as libpq does: each address of its name, with and without TLS as `sslmode` allows, until
//! one accepts the connection and has the `target_session_attrs`.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use rand::seq::SliceRandom as _;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::hosts::Host;
use super::refused::{Advice, Refused, describe, is_final};
use super::session_attrs::{SessionAttrs, SessionState};
use super::target::{Connection, Target};
use crate::error::Error;
use crate::passfile::Lookup;

/// An open connection. The caller must poll `connection`.
pub struct Opened {
    pub client: Client,
    pub connection: Connection,
    /// Whether the session is not shared and has the settings that were sent. Through most poolers it is not.
    pub is_direct: bool,
    /// Why the password file cannot be used any more: an earlier content was used.
    pub password_error: Option<Error>,
}

impl Target {
    /// Tries each host once. `name` is the `application_name`, unless the connection string has another. Takes at most
    /// `connect_timeout` for each address (default 10 s), and the same again where `sslmode` allows a second attempt.
    pub async fn open(&self, name: &str) -> Result<Opened, Refused> {
        let failures = match open(&self.clone().with_silence(), name).await {
            Ok(opened) => return Ok(opened),
            Err(failures) => failures,
        };
        let mut reasons: Vec<String> = Vec::new();
        for (host, failure) in &failures {
            let why = match self.hosts.len() {
                1 => failure.why.clone(),
                _ => format!("{host}: {}", failure.why),
            };
            if !reasons.contains(&why) {
                reasons.push(why);
            }
        }
        let is_transient = |failure: &HostFailure| failure.advice.flag.is_some();
        let advice = failures.iter().find(|(_, failure)| is_transient(failure)).or(failures.last());
        let advice = advice.map_or(Advice::ABSENT, |(_, failure)| failure.advice);
        let mut refused = self.refused(&reasons.join("; "), advice);
        if let Some(error) = failures.into_iter().find_map(|(_, failure)| failure.error) {
            refused.error = error;
        }
        Err(refused)
    }
}

/// Why there is no connection to a host.
struct HostFailure {
    why: String,
    advice: Advice,
    /// No other host is tried.
    is_final: bool,
    /// The other attempt, with TLS or without, may succeed.
    try_other_mode: bool,
    /// A password file that cannot be used.
    error: Option<Error>,
}

impl HostFailure {
    fn new(why: impl Into<String>, advice: Advice) -> HostFailure {
        HostFailure { why: why.into(), advice, is_final: false, try_other_mode: false, error: None }
    }
}

/// Tries the hosts until one accepts. If none does, returns all failures with their hosts.
async fn open(target: &Target, name: &str) -> Result<Opened, Vec<(Host, HostFailure)>> {
    let mut hosts: Vec<&Host> = target.hosts.iter().collect();
    if target.shuffles {
        hosts.shuffle(&mut rand::rng());
    }
    let mut failures = Vec::new();
    for &wanted in target.session_attrs.rounds() {
        for &host in &hosts {
            let attempts = Attempts { target, host, wanted, name };
            match attempts.run().await {
                Ok(opened) => return Ok(opened),
                Err(all) => failures.extend(all.into_iter().map(|failure| (host.clone(), failure))),
            }
            if failures.last().is_some_and(|(_, failure)| failure.is_final) {
                return Err(failures);
            }
        }
    }
    Err(failures)
}

struct Attempts<'a> {
    target: &'a Target,
    host: &'a Host,
    wanted: SessionAttrs,
    name: &'a str,
}

impl Attempts<'_> {
    async fn run(&self) -> Result<Opened, Vec<HostFailure>> {
        let Lookup { password, error: mut password_error } = match self.target.password(self.host) {
            Ok(found) => found,
            Err(error) => {
                let failure = HostFailure::new("", Advice::TARGET);
                return Err(vec![HostFailure { is_final: true, error: Some(error), ..failure }]);
            }
        };
        let addresses = self.addresses().await.map_err(|failure| vec![failure])?;
        let mut failures = Vec::new();
        for address in addresses {
            for &mode in self.target.tls_options.attempts(self.host.is_socket()) {
                match self.once(address, mode, password.as_deref()).await {
                    Ok(opened) => return Ok(Opened { password_error, ..opened }),
                    Err(failure) => failures.push(failure),
                }
                if !failures.last().is_some_and(|failure| failure.try_other_mode) {
                    break;
                }
            }
            if failures.last().is_some_and(|failure| failure.is_final) {
                break;
            }
        }
        // It may be why the database refused.
        if let (Some(failure), Some(password_error)) = (failures.last_mut(), password_error.take()) {
            failure.why = format!("{}; {password_error:#}", failure.why);
        }
        Err(failures)
    }

    /// `[None]` for a Unix socket.
    async fn addresses(&self) -> Result<Vec<Option<IpAddr>>, HostFailure> {
        if self.host.is_socket() || self.host.address.is_some() {
            return Ok(vec![self.host.address]);
        }
        let lookup = lookup_host((self.host.name.as_str(), self.host.port));
        let found = within(self.target.limit, lookup).await?;
        let found = found.map_err(|error| {
            HostFailure::new(format!("error connecting to server: {error}"), Advice::ABSENT)
        })?;
        let mut addresses: Vec<_> = found.map(|address| Some(address.ip())).collect();
        if self.target.shuffles {
            addresses.shuffle(&mut rand::rng());
        }
        Ok(addresses)
    }

    async fn once(
        &self,
        address: Option<IpAddr>,
        mode: SslMode,
        password: Option<&[u8]>,
    ) -> Result<Opened, HostFailure> {
        let (target, marker) = (self.target, format!("{:016x}", rand::random::<u64>()));
        let mut config = target.config.clone();
        config.host(&self.host.name).port(self.host.port).ssl_mode(mode).options(target.options(&marker));
        config.application_name(target.application_name.as_deref().unwrap_or(self.name));
        if let Some(address) = address {
            config.hostaddr(address);
        }
        if let Some(password) = password {
            config.password(password);
        }
        let connect = async {
            let (client, mut connection) = config.connect(target.tls()).await?;
            let state = while_polling(&mut connection, session_state(&client, &marker)).await?;
            Ok((client, connection, state))
        };
        let refused = |error: tokio_postgres::Error| HostFailure {
            is_final: is_final(&error),
            try_other_mode: error.code().is_some() || describe(&error).contains("TLS"),
            ..HostFailure::new(describe(&error), Advice::on(&error))
        };
        let (client, connection, (found, is_direct)) =
            within(target.limit, connect).await?.map_err(refused)?;
        match self.wanted.refuses(&found) {
            Some(why) => Err(HostFailure::new(why, Advice::TARGET)),
            None => Ok(Opened { client, connection, is_direct, password_error: None }),
        }
    }
}

async fn within<T>(limit: Option<Duration>, step: impl Future<Output = T>) -> Result<T, HostFailure> {
    let Some(limit) = limit else { return Ok(step.await) };
    let silent = |_| HostFailure::new(format!("no answer within {} s", limit.as_secs()), Advice::SILENT);
    timeout(limit, step).await.map_err(silent)
}

/// Runs a step while the connection is polled.
async fn while_polling<T>(
    connection: &mut Connection,
    step: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, tokio_postgres::Error> {
    let mut step = pin!(step);
    tokio::select! {
        done = &mut step => return done,
        ended = connection => ended?,
    }
    step.await // fails: the connection has ended
}

/// The state of the session, and whether it is direct: two transactions see our marker and the same backend. A pooler that
/// does not pass on the start-up packet loses the marker. `simple_query` leaves no prepared statement behind.
async fn session_state(client: &Client, marker: &str) -> Result<(SessionState, bool), tokio_postgres::Error> {
    let query = "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('atelier.session', true),
                        pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')";
    let query_state = async || {
        let messages = client.simple_query(query).await?;
        let value = |column| {
            messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(column).map(str::to_owned),
                _ => None,
            })
        };
        let (standby, read_only) = (value(2).as_deref() == Some("t"), value(3).as_deref() == Some("on"));
        Ok::<_, tokio_postgres::Error>(SessionState {
            backend: value(0),
            marker: value(1),
            standby,
            read_only,
        })
    };
    let (first, second) = (query_state().await?, query_state().await?);
    let is_ours = first.marker.as_deref() == Some(marker) && first == second;
    Ok((first, is_ours))
}
