//! A database and how to reach it, resolved from connection string, service file and environment.

use std::env;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::ChannelBinding;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Config, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::hosts::Host;
use super::refused::{Advice, Refused, describe};
use super::session_attrs::SessionAttrs;
use crate::conninfo::{Parameters, Variables};
use crate::error::{Error, Result};
use crate::passfile::{Login, Lookup, PasswordFile};
use crate::tls;

/// For each attempt at a host, unless `connect_timeout` is given.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle time before keepalive probes, unless the URL has `keepalives_idle`: a lost network is noticed within a minute, not
/// after the usual two hours, also while an index is built.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_OF_LINUX: Duration = Duration::from_secs(2 * 60 * 60);

/// Time until data that is not acknowledged ends the connection, unless the URL has `tcp_user_timeout`.
const SILENCE: Duration = Duration::from_secs(60);

/// About what Linux does by itself, which `tcp_user_timeout=0` means.
const SILENCE_OF_LINUX: Duration = Duration::from_secs(15 * 60);

/// The same while rows are sent: Linux also counts the time in which a busy database accepts none.
const SILENCE_OF_BULK: Duration = Duration::from_secs(10 * 60);

/// Opens TLS connections, also for [`tokio_postgres::CancelToken::cancel_query`].
pub type Tls = MakeRustlsConnect;

/// Must be polled by the caller.
pub type Connection = tokio_postgres::Connection<Socket, <Tls as MakeTlsConnect<Socket>>::Stream>;

/// A setting of a session, as in `postgresql.conf`.
pub type Setting = (&'static str, String);

#[derive(Clone)]
pub struct Target {
    pub(super) hosts: Vec<Host>,
    user: String,
    database: String,
    password: Password,
    /// Without what differs from host to host.
    pub(super) config: Config,
    options: String,
    pub(super) application_name: Option<String>,
    pub(super) session_attrs: SessionAttrs,
    /// Hosts and addresses are tried in a random order.
    pub(super) shuffles: bool,
    /// For each attempt.
    pub(super) limit: Option<Duration>,
    /// `None` if the connection string has none: then it depends on what is sent.
    silence: Option<Duration>,
    bulk: bool,
    /// The service file, if there is a service.
    service: Option<PathBuf>,
    pub(super) tls_options: Arc<tls::TlsOptions>,
    tls: Tls,
}

#[derive(Clone)]
enum Password {
    Given(String),
    /// In the password file.
    File(Arc<PasswordFile>),
    None,
}

impl Target {
    /// Reads a libpq connection string, `postgresql://…` or `host=… dbname=…`, and what else libpq reads: a service file, the
    /// `PG…` variables, files in the home directory.
    pub fn parse(text: &str) -> Result<Target> {
        Target::resolve(Some(text))
    }

    /// The same. Without a string, the environment must name the database.
    pub fn resolve(text: Option<&str>) -> Result<Target> {
        Target::read(text, &|name| env::var_os(name))
    }

    fn read(text: Option<&str>, variables: Variables<'_>) -> Result<Target> {
        let parameters = Parameters::read(text, variables)?;
        let hosts = Host::all(&parameters)?;
        let user = match parameters.get("user") {
            Some(user) => user.to_owned(),
            None => whoami::username().map_err(|error| {
                Error::usage("no user given").cause(error).hint("give one: postgresql://user@host/database")
            })?,
        };
        let tcp = || hosts.iter().filter(|host| !host.is_socket());
        let tls_options = tls::TlsOptions::read(&parameters, tcp().all(|host| host.is_named))?;
        let tls_options = if tcp().next().is_none() { tls_options.disable() } else { tls_options };
        let tls = tls_options.connector()?;
        let passfile = parameters.get("passfile").map(PathBuf::from);
        let password = match parameters.get("password") {
            Some(password) => Password::Given(password.to_owned()),
            None => match passfile.or_else(|| parameters.at_home(".pgpass")) {
                Some(path) => Password::File(Arc::new(PasswordFile::at(path))),
                None => Password::None,
            },
        };
        let mut config = Config::new();
        let database = parameters.get("dbname").unwrap_or(&user).to_owned();
        config.user(&user).dbname(&database).ssl_negotiation(tls_options.negotiation);
        let bindings = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        config.channel_binding(parameters.choice("channel_binding", &bindings, ChannelBinding::Prefer)?);
        keep_alive(&mut config, &parameters)?;
        let silence = match parameters.number("tcp_user_timeout")? {
            None => None,
            Some(milliseconds @ 1..) => Some(Duration::from_millis(u64::from(milliseconds.unsigned_abs()))),
            Some(_) => Some(SILENCE_OF_LINUX),
        };
        let own = || parameters.get("application_name").or(parameters.get("fallback_application_name"));
        let mut target = Target {
            limit: match parameters.number("connect_timeout")? {
                None => Some(CONNECT_TIMEOUT),
                // As in libpq, at least two seconds.
                Some(seconds @ 1..) => Some(Duration::from_secs(u64::from(seconds.unsigned_abs().max(2)))),
                Some(_) => None,
            },
            options: parameters.get("options").unwrap_or_default().to_owned(),
            application_name: own().map(str::to_owned),
            session_attrs: parameters.choice(
                "target_session_attrs",
                &SessionAttrs::ALL,
                SessionAttrs::Any,
            )?,
            shuffles: parameters.choice(
                "load_balance_hosts",
                &[("disable", false), ("random", true)],
                false,
            )?,
            bulk: false,
            service: parameters.service_file(),
            tls_options: Arc::new(tls_options),
            hosts,
            user,
            database,
            password,
            config,
            silence,
            tls,
        };
        // As in libpq, `options` take precedence.
        let theirs = std::mem::take(&mut target.options);
        target = target.with(&parameters.settings);
        target.options = format!("{} {theirs}", target.options).trim().to_owned();
        target.hosts.iter().try_for_each(|host| target.password(host).map(drop))?;
        Ok(target)
    }

    /// The same with these settings for its sessions. They are sent in the start-up packet: `SET` on a connection of a pooler
    /// would affect its next client.
    pub fn with(&self, settings: &[Setting]) -> Target {
        let mut target = self.clone();
        for (name, value) in settings {
            // A read-only session would be mistaken for a read-only server.
            if *name == "default_transaction_read_only" && self.session_attrs.is_of_session() {
                continue;
            }
            let value = value.replace('\\', r"\\").replace(' ', r"\ ");
            target.options = format!("{} -c {name}={value}", target.options).trim().to_owned();
        }
        target
    }

    /// The same for a connection on which rows are sent as fast as the database accepts them.
    pub fn for_bulk(&self) -> Target {
        Target { bulk: true, ..self.clone() }.with_silence()
    }

    pub(super) fn with_silence(mut self) -> Target {
        self.config.tcp_user_timeout(self.silence());
        self
    }

    /// How long to wait for an answer before the connection counts as lost.
    pub fn silence(&self) -> Duration {
        self.silence.unwrap_or(if self.bulk { SILENCE_OF_BULK } else { SILENCE })
    }

    /// For a program that needs direct sessions: the connection goes through a pooler.
    pub fn pooler_refused(&self) -> Refused {
        let why = "the connection goes through a pooler (such as PgBouncer) that does not keep the settings of a session";
        self.refused(why, Advice::POOLED)
    }

    /// Runs a step of connecting, such as the first statement of a session, within `connect_timeout`, and explains its
    /// failure as [`Target::open`] does.
    pub async fn explain<T>(
        &self,
        step: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Refused> {
        let limit = self.limit.unwrap_or(Duration::MAX);
        match timeout(limit, step).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.refused(&describe(&error), Advice::on(&error))),
            Err(_) => Err(self.refused(&format!("no answer within {} s", limit.as_secs()), Advice::SILENT)),
        }
    }

    pub(super) fn refused(&self, why: &str, advice: Advice) -> Refused {
        let error = Error::database(format!("cannot connect to {self}"));
        // The server's message may repeat the password.
        let why = match &self.password {
            Password::Given(password) if password.len() > 2 => why.replace(password.as_str(), "…"),
            _ => why.to_owned(),
        };
        Refused { error: error.cause(why).hint(advice.hint), is_transient: advice.flag.is_some(), advice }
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password for a host. The password file is read again.
    pub(super) fn password(&self, host: &Host) -> Result<Lookup> {
        let password = match &self.password {
            Password::None => None,
            Password::Given(password) => Some(password.clone().into_bytes()),
            Password::File(file) => {
                return file.lookup(Login {
                    host: &host.name,
                    port: host.port,
                    database: &self.database,
                    user: &self.user,
                });
            }
        };
        Ok(Lookup { password, error: None })
    }

    /// The files that it was read from, and the password file.
    pub fn files(&self) -> Vec<&Path> {
        let password = match &self.password {
            Password::File(file) => Some(file.path()),
            Password::Given(_) | Password::None => None,
        };
        self.service.as_deref().into_iter().chain(password).chain(self.tls_options.files()).collect()
    }

    /// The `options` of the start-up packet. The marker tells whether a pooler has passed them on.
    pub(super) fn options(&self, marker: &str) -> String {
        format!("{} -c atelier.session={marker}", self.options).trim().to_owned()
    }

    /// To cancel statements.
    pub fn tls(&self) -> Tls {
        self.tls.clone()
    }
}

/// As in libpq, 0 is the system's own value.
fn keep_alive(config: &mut Config, parameters: &Parameters) -> Result<()> {
    let number =
        |name| Ok::<_, Error>(parameters.number(name)?.map(|number| u32::try_from(number).unwrap_or(0)));
    config.keepalives(number("keepalives")?.unwrap_or(1) != 0);
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let (idle, interval, count) =
        (number("keepalives_idle")?, number("keepalives_interval")?, number("keepalives_count")?);
    config.keepalives_idle(match idle {
        None => KEEPALIVE,
        Some(0) => KEEPALIVE_OF_LINUX,
        Some(given) => seconds(given),
    });
    // Where `keepalives_idle` is given, the others default to the system's values.
    let unless_given = idle.is_none();
    match interval {
        Some(0) => {}
        Some(given) => drop(config.keepalives_interval(seconds(given))),
        None if unless_given => drop(config.keepalives_interval(KEEPALIVE / 3)),
        None => {}
    }
    match count {
        Some(0) => {}
        Some(given) => drop(config.keepalives_retries(given)),
        None if unless_given => drop(config.keepalives_retries(3)),
        None => {}
    }
    Ok(())
}

/// Without the password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database \"{}\" at ", self.database)?;
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{host}")?;
        }
        write!(f, " as {}", self.user)
    }
}

#[cfg(test)]
mod tests;
