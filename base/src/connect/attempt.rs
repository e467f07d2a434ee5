//! One host after the other, as libpq tries them: each address of its name, with and without TLS as `sslmode` allows,
//! until one lets us in and is what `target_session_attrs` asks for.

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

/// A connection that is open. Whoever opened it must poll `connection`.
pub struct Opened {
    /// To send statements.
    pub client: Client,
    /// Does nothing unless it is polled.
    pub connection: Connection,
    /// Whether the session is ours alone and has the settings that we sent. Through most poolers it has neither.
    pub is_direct: bool,
    /// Why the password file cannot be used any more: the password was from what it held before.
    pub trouble: Option<Error>,
}

impl Target {
    /// Tries once to connect to each host, and shows up in `pg_stat_activity` under `name`, unless the connection
    /// string has another. Takes at most `connect_timeout` for each address, 10 s where that is not given, and the same
    /// again where `sslmode` has a second way.
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
        let may_come = |failure: &HostFailure| failure.advice.flag.is_some();
        let advice = failures.iter().find(|(_, failure)| may_come(failure)).or(failures.last());
        let advice = advice.map_or(Advice::ABSENT, |(_, failure)| failure.advice);
        let mut refused = self.refused(&reasons.join("; "), advice);
        if let Some(error) = failures.into_iter().find_map(|(_, failure)| failure.error) {
            refused.error = error;
        }
        Err(refused)
    }
}

/// Why a host was not to be had.
struct HostFailure {
    why: String,
    advice: Advice,
    /// No other host is asked.
    is_final: bool,
    /// The other way to connect, with TLS or without, may be let in.
    other_way: bool,
    /// A password file that cannot be used.
    pub(super) error: Option<Error>,
}

impl HostFailure {
    fn new(why: impl Into<String>, advice: Advice) -> HostFailure {
        HostFailure { why: why.into(), advice, is_final: false, other_way: false, error: None }
    }
}

/// Tries the hosts until one will do. All failures, with the host that each is of, if none does.
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
        let Lookup { password, mut trouble } = match self.target.password(self.host) {
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
                    Ok(opened) => return Ok(Opened { trouble, ..opened }),
                    Err(failure) => failures.push(failure),
                }
                if !failures.last().is_some_and(|failure| failure.other_way) {
                    break;
                }
            }
            if failures.last().is_some_and(|failure| failure.is_final) {
                break;
            }
        }
        // Whether that is why, only the database knows.
        if let (Some(failure), Some(trouble)) = (failures.last_mut(), trouble.take()) {
            failure.why = format!("{}; {trouble:#}", failure.why);
        }
        Err(failures)
    }

    /// Nothing to look up for a Unix socket.
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
            let looked = beside(&mut connection, look(&client, &marker)).await?;
            Ok((client, connection, looked))
        };
        let refused = |error: tokio_postgres::Error| HostFailure {
            is_final: is_final(&error),
            other_way: error.code().is_some() || describe(&error).contains("TLS"),
            ..HostFailure::new(describe(&error), Advice::on(&error))
        };
        let (client, connection, (found, is_direct)) =
            within(target.limit, connect).await?.map_err(refused)?;
        match self.wanted.refuses(&found) {
            Some(why) => Err(HostFailure::new(why, Advice::TARGET)),
            None => Ok(Opened { client, connection, is_direct, trouble: None }),
        }
    }
}

async fn within<T>(limit: Option<Duration>, step: impl Future<Output = T>) -> Result<T, HostFailure> {
    let Some(limit) = limit else { return Ok(step.await) };
    let silent = |_| HostFailure::new(format!("no answer within {} s", limit.as_secs()), Advice::SILENT);
    timeout(limit, step).await.map_err(silent)
}

/// Runs a step while the connection is polled.
async fn beside<T>(
    connection: &mut Connection,
    step: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, tokio_postgres::Error> {
    let mut step = pin!(step);
    tokio::select! {
        done = &mut step => return done,
        ended = connection => ended?,
    }
    step.await // fails, since the connection has ended
}

/// What the server says, and whether the session is ours: twice, in two transactions, our marker and the same backend.
/// A pooler that forgets the start-up packet forgets the marker. `simple_query` prepares nothing that would be left.
async fn look(client: &Client, marker: &str) -> Result<(SessionState, bool), tokio_postgres::Error> {
    let query = "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('atelier.session', true),
                        pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')";
    let look = async || {
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
    let (first, second) = (look().await?, look().await?);
    let is_ours = first.marker.as_deref() == Some(marker) && first == second;
    Ok((first, is_ours))
}
