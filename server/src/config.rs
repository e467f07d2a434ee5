//! The command line as args, and what it comes to. All of it is known to be right before any port is opened.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use arc_swap::ArcSwap;
use atelier_base::args::number;
use atelier_base::connect::Target;
use atelier_base::error::{Error, Result};
use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use http::HeaderValue;

use crate::catalogue::kind::Kind;
use crate::http::path::is_unreserved;
use crate::http::route::Site;
use crate::net::listener::Address;
use crate::net::tls::Tls;
use crate::reload::Sources;

/// Files that the server needs besides its clients' connections: listeners, logs, connections to the admin port.
const OTHER_FILES: usize = 64 + ADMIN_CONNECTIONS;

/// Connections to the admin port at a time. Of more, the one that has been open longest gives way: who asks there asks and
/// goes.
pub const ADMIN_CONNECTIONS: usize = 64;

/// Files that a thread needs besides its usual connections to the database: while statements wait, there are others.
const FILES_A_THREAD: usize = 8 + Kind::ALL.len();

/// Connections at most, unless the user says or the process may not open as many files.
const DEFAULT_CONNECTIONS: u64 = 16_384;

/// Memory that client connections may hold on the average, the kernel's too: one that is idle holds a quarter of it.
const BYTES_A_CONNECTION: usize = 8 * 1024;

/// However few they are, in all and for each thread: room for large answers.
const MIN_CONNECTION_BYTES: usize = 64 << 20;
const MIN_CONNECTION_BYTES_A_THREAD: usize = 4 << 20;

/// Connections to the database for each thread. Jobs are pipelined on it, so PostgreSQL is never idle between two of
/// them; with a second connection jobs are half as large and cost PostgreSQL a fifth more a request (measured with 64
/// clients on two cores), and are answered out of turn.
const DATABASE_CONNECTIONS_A_THREAD: usize = 1;

/// Serves the Atelier product catalogue that atelier-etl has published in PostgreSQL: a read-only HTTP API.
#[derive(Debug, Parser)]
#[command(name = "atelier-server", version, after_help = AFTER_HELP)]
pub struct Args {
    /// Address of the API: a port, as 0.0.0.0:3000, or a Unix socket, as unix:/run/atelier-server/api.sock
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:3000", env = "ATELIER_LISTEN")]
    pub listen: Address,
    /// Address of /livez, /readyz and /metrics, not for the public: a port or a Unix socket too
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000", env = "ATELIER_ADMIN_LISTEN")]
    pub admin_listen: Address,
    /// Certificate chain, a PEM file: the API is served with TLS, and with TLS alone. SIGHUP reads it again
    #[arg(long, value_name = "FILE", env = "ATELIER_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert, a PEM file; read again with it
    #[arg(long, value_name = "FILE", env = "ATELIER_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// libpq connection string: postgresql://user@host/database or "host=a,b dbname=database load_balance_hosts=random"
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Threads that answer requests [default: the number of cores]
    #[arg(long, value_name = "N", env = "ATELIER_THREADS", value_parser = number(1..=1024_u16))]
    pub threads: Option<u16>,
    /// Connections to the database, the same number for each thread; one more looks which load is published, and up to six more for each thread are open while statements wait for locks [default: one for each]
    #[arg(long, value_name = "N", env = "ATELIER_DB_CONNECTIONS", value_parser = one_or_more)]
    pub db_connections: Option<NonZeroUsize>,
    /// Memory for finished answers, as 256MiB or 1GB; 0 for no cache
    #[arg(long, value_name = "BYTES", default_value = "256MiB", env = "ATELIER_CACHE_BYTES", value_parser = bytes)]
    pub cache_bytes: ByteSize,
    /// Client connections at a time; for further ones idle ones are closed [default: 16384, or what the limit on open files allows]
    #[arg(long, value_name = "N", env = "ATELIER_MAX_CONNECTIONS", value_parser = number(1..=1_000_000_u64))]
    pub max_connections: Option<u64>,
    /// A request without an answer after this long gets a 503
    #[arg(long, value_name = "TIME", default_value = "5s", env = "ATELIER_REQUEST_TIMEOUT", value_parser = time)]
    pub request_timeout: Duration,
    /// A client that takes longer to shake hands or to send its headers, or takes nothing of its answer for this long, is disconnected
    #[arg(long, value_name = "TIME", default_value = "10s", env = "ATELIER_CLIENT_TIMEOUT", value_parser = time)]
    pub client_timeout: Duration,
    /// A connection without a request for this long is closed
    #[arg(long, value_name = "TIME", default_value = "75s", env = "ATELIER_IDLE_TIMEOUT", value_parser = time)]
    pub idle_timeout: Duration,
    /// Time for requests in flight to finish after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "10s", env = "ATELIER_SHUTDOWN_GRACE", value_parser = time)]
    pub shutdown_grace: Duration,
    /// Access-Control-Allow-Origin
    #[arg(long, value_name = "ORIGIN", default_value = "*", env = "ATELIER_CORS_ORIGIN", value_parser = header)]
    pub cors_origin: HeaderValue,
    /// Cache-Control of answers
    #[arg(
        long,
        value_name = "DIRECTIVES",
        default_value = "public, max-age=60, stale-while-revalidate=600, stale-if-error=86400",
        env = "ATELIER_CACHE_CONTROL",
        value_parser = header
    )]
    pub cache_control: HeaderValue,
    /// Path that the API, the page and /docs are below, as /shop; elsewhere is nothing. The admin port has none
    #[arg(long, value_name = "PATH", default_value = "/", env = "ATELIER_BASE_PATH", value_parser = base_path)]
    pub base_path: String,
    /// Answers a style without photos or skus as the earlier API did: one photo, or sku, of nulls in place of [] and {}
    #[arg(long, env = "ATELIER_COMPAT", value_parser = clap::builder::BoolishValueParser::new())]
    pub compat: bool,
    /// Serves the API without the page at /, which shows products in a browser
    #[arg(long, env = "ATELIER_NO_PAGE", value_parser = clap::builder::BoolishValueParser::new())]
    pub no_page: bool,
    /// Log lines for people or for programs, on standard error; RUST_LOG=debug says more
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, env = "ATELIER_LOG_FORMAT")]
    pub log_format: LogFormat,
}

// In lines of at most 80 columns: clap does not break what begins with a space.
const AFTER_HELP: &str = "\
Examples:
  export DATABASE_URL=postgresql://reader@db.example/shop?sslmode=verify-full
  atelier-server                                  # the API at port 3000
  atelier-server --listen 127.0.0.1:8080 --cache-bytes 1GiB
  atelier-server --admin-listen 0.0.0.0:9000 --log-format json

Exit codes: 0 stopped by SIGTERM or Ctrl-C, 2 usage, 4 the database refused or holds no catalogue.";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// A JSON object a line
    Json,
}

/// What the command line comes to.
#[expect(missing_docs, reason = "as in `Args`")]
pub struct Config {
    pub listen: Address,
    pub admin_listen: Address,
    /// Nothing for plain HTTP. Like `database`, replaced by what `sources` say on SIGHUP.
    pub tls: Option<ArcSwap<Tls>>,
    pub database: ArcSwap<Target>,
    pub sources: Sources,
    pub threads: usize,
    /// For each thread.
    pub db_connections: usize,
    pub cache_bytes: u64,
    pub max_connections: usize,
    /// That client connections may hold, for each thread.
    pub connection_bytes: usize,
    pub request_timeout: Duration,
    pub client_timeout: Duration,
    pub idle_timeout: Duration,
    pub shutdown_grace: Duration,
    pub cors_origin: HeaderValue,
    pub cache_control: HeaderValue,
    pub site: Site,
    pub compat: bool,
}

impl Config {
    /// Resolves what was args.
    pub fn resolve(args: Args) -> Result<Config> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = args.threads.map_or(cores, usize::from);
        let db_connections = match args.db_connections.map(NonZeroUsize::get) {
            None => DATABASE_CONNECTIONS_A_THREAD,
            Some(connections) if connections < threads => {
                return Err(Error::usage(format!(
                    "--db-connections {connections} is less than one for each of {threads} threads"
                ))
                .hint(format!("pass --db-connections {threads} or more, or fewer --threads")));
            }
            Some(connections) => connections / threads,
        };
        let max_connections =
            max_connections(args.max_connections, threads * (db_connections + FILES_A_THREAD))?;
        let sources = Sources {
            tls_cert: args.tls_cert,
            tls_key: args.tls_key,
            database_url: args.database_url,
            request_timeout: args.request_timeout,
        };
        Ok(Config {
            listen: args.listen,
            admin_listen: args.admin_listen,
            tls: sources.tls()?.map(ArcSwap::from_pointee),
            database: ArcSwap::from_pointee(sources.database()?),
            sources,
            threads,
            db_connections,
            cache_bytes: args.cache_bytes.as_u64(),
            max_connections,
            connection_bytes: ((max_connections * BYTES_A_CONNECTION).max(MIN_CONNECTION_BYTES) / threads)
                .max(MIN_CONNECTION_BYTES_A_THREAD),
            request_timeout: args.request_timeout,
            client_timeout: args.client_timeout,
            idle_timeout: args.idle_timeout,
            shutdown_grace: args.shutdown_grace,
            cors_origin: for_good(&args.cors_origin),
            cache_control: for_good(&args.cache_control),
            site: Site { base: args.base_path.leak(), page: !args.no_page },
            compat: args.compat,
        })
    }
}

/// Raises the limit on open files as far as this process may, and fits the number of connections to it.
fn max_connections(wanted: Option<u64>, of_threads: usize) -> Result<usize> {
    let other = (OTHER_FILES + of_threads) as u64;
    let need = wanted.unwrap_or(DEFAULT_CONNECTIONS) + other;
    let files = rlimit::increase_nofile_limit(need).unwrap_or(1024);
    let possible = files.saturating_sub(other).max(1);
    match wanted {
        Some(wanted) if wanted > possible => Err(Error::usage(format!(
            "--max-connections {wanted} needs {need} open files, and this process may open {files}"
        ))
        .hint("raise the limit (ulimit -n, LimitNOFILE=) or pass fewer --max-connections")),
        wanted => {
            Ok(usize::try_from(wanted.unwrap_or(DEFAULT_CONNECTIONS.min(possible))).unwrap_or(usize::MAX))
        }
    }
}

fn one_or_more(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "give a number, 1 or more".to_owned())
}

fn bytes(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "write 256MiB or 1GB, or 0".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}: write 5s or 500ms"))?;
    if duration < Duration::from_millis(1) || duration > Duration::from_secs(24 * 60 * 60) {
        return Err("it must be from 1ms to 24h".to_owned());
    }
    Ok(duration)
}

fn header(text: &str) -> Result<HeaderValue, String> {
    let value =
        HeaderValue::from_str(text).map_err(|_| "it cannot be the value of an HTTP header".to_owned())?;
    if text.is_empty() {
        Err("it is empty: leave the option out for its default".to_owned())
    } else {
        Ok(value)
    }
}

/// Nothing for `/`. In a path these characters are never escaped, so there is one way to write it.
fn base_path(text: &str) -> Result<String, String> {
    let is_segment =
        |segment: &str| !["", ".", ".."].contains(&segment) && segment.bytes().all(is_unreserved);
    match text.strip_prefix('/') {
        Some("") => Ok(String::new()),
        Some(path) if path.split('/').all(is_segment) => Ok(text.to_owned()),
        _ => Err("write /shop or /api/shop: letters, digits and - . _ ~ in each part, no slash at the end"
            .to_owned()),
    }
}

/// The same, which all threads may clone without telling one another: its bytes stay as long as the process.
fn for_good(value: &HeaderValue) -> HeaderValue {
    // Args as text, so it is some.
    value.to_str().map_or_else(|_| value.clone(), |text| HeaderValue::from_static(text.to_owned().leak()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(arguments: &[&str]) -> Result<Config, String> {
        let url = ["atelier-server", "--database-url", "postgresql://reader@db/shop"];
        let args = Args::try_parse_from(url.iter().chain(arguments)).map_err(|error| error.to_string())?;
        Config::resolve(args).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn units_are_read() {
        let config =
            resolve(&["--cache-bytes", "1GiB", "--request-timeout", "250ms", "--threads", "3"]).unwrap();
        assert_eq!(config.cache_bytes, 1 << 30);
        assert_eq!(config.request_timeout, Duration::from_millis(250));
        assert_eq!((config.threads, config.db_connections), (3, 1));
        assert_eq!(resolve(&["--cache-bytes", "0"]).unwrap().cache_bytes, 0);
        assert_eq!(resolve(&["--base-path", "/"]).unwrap().site.base, "");
        assert_eq!(resolve(&["--base-path", "/api/fec2/hr-xxx"]).unwrap().site.base, "/api/fec2/hr-xxx");
        assert_eq!(resolve(&["--threads", "2", "--db-connections", "7"]).unwrap().db_connections, 3);
    }

    #[test]
    fn a_wrong_value_is_answered_with_its_flag() {
        for (flag, value) in [
            ("--listen", "3000"),
            ("--admin-listen", "localhost"),
            ("--database-url", "mysql://db/shop"),
            ("--threads", "0"),
            ("--db-connections", "x"),
            ("--cache-bytes", "lots"),
            ("--max-connections", "0"),
            ("--request-timeout", "5"),
            ("--client-timeout", "0s"),
            ("--idle-timeout", "-1s"),
            ("--shutdown-grace", "never"),
            ("--cors-origin", "a\nb"),
            ("--cache-control", ""),
            ("--log-format", "xml"),
            ("--base-path", ""),
            ("--base-path", "shop"),
            ("--base-path", "/shop/"),
            ("--base-path", "//"),
            ("--base-path", "/a//b"),
            ("--base-path", "/a/../b"),
            ("--base-path", "/a b"),
            ("--base-path", "/%61"),
            ("--base-path", "/a?b"),
            ("--base-path", "/caf\u{e9}"),
            ("--base-path", "/\"><script>"),
        ] {
            let args = Args::try_parse_from(["atelier-server", &format!("{flag}={value}")])
                .map_err(|error| error.to_string());
            let message =
                args.and_then(|args| Config::resolve(args).map_err(|error| format!("{error:#}"))).err();
            let message = message.unwrap_or_else(|| panic!("{flag} {value} is taken"));
            assert!(message.contains(flag), "{flag} {value}: {message}");
        }
        let few = resolve(&["--threads", "4", "--db-connections", "3"]).err().unwrap();
        assert!(few.contains("--db-connections 3"), "{few}");
    }
}
