//! The command line, and the configuration that it results in. It is checked completely before any port is opened.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use arc_swap::ArcSwap;
use atelier_base::args::number;
use atelier_base::connect::Target;
use atelier_base::error::{Error, Result};
use bytesize::ByteSize;
use clap::Parser;
use http::HeaderValue;

use crate::catalogue::query_kind::QueryKind;
use crate::http::path::is_unreserved;
use crate::http::route::Site;
use crate::net::address::Address;
use crate::net::tls::Tls;
use crate::sources::Sources;
use crate::telemetry::log::LogFormat;

/// Open files besides those of client connections: listeners, the log, connections to the admin port.
const OTHER_FILES: usize = 64 + ADMIN_CONNECTIONS;

/// Connections to the admin port. If there are more, the oldest is closed: probes only need theirs for a moment.
pub(crate) const ADMIN_CONNECTIONS: usize = 64;

/// Open files of a thread besides its usual connections to the database, with the spare ones.
const FILES_PER_THREAD: usize = 8 + QueryKind::COUNT;

/// Fewer if the process may not open as many files.
const DEFAULT_MAX_CONNECTIONS: u64 = 16_384;

/// Memory for each client connection on average, including that of the kernel. An idle one takes a quarter of it.
const BYTES_PER_CONNECTION: usize = 8 * 1024;

/// At least this much in total and for each thread, so that there is room for large answers.
const MIN_CONNECTION_BYTES: usize = 64 << 20;
const MIN_CONNECTION_BYTES_PER_THREAD: usize = 4 << 20;

/// Batches are pipelined on a connection, so PostgreSQL is not idle between them. With a second connection batches are half
/// as large and a request costs PostgreSQL a fifth more (measured with 64 clients on two cores).
const DB_CONNECTIONS_PER_THREAD: usize = 1;

/// Read-only HTTP API for the product catalogue that atelier-etl has published in PostgreSQL
#[derive(Debug, Parser)]
#[command(name = "atelier-server", version, after_help = AFTER_HELP)]
pub struct Args {
    /// Address of the API: 0.0.0.0:3000, or a Unix socket: unix:/run/atelier-server/api.sock
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:3000", env = "ATELIER_LISTEN")]
    pub(crate) listen: Address,
    /// Address of /livez, /readyz and /metrics, which should not be public: a port or a Unix socket
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000", env = "ATELIER_ADMIN_LISTEN")]
    pub(crate) admin_listen: Address,
    /// PEM file with the certificate chain. The API is then only served with TLS. Read again on SIGHUP
    #[arg(long, value_name = "FILE", env = "ATELIER_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file with the private key of --tls-cert. Read again on SIGHUP
    #[arg(long, value_name = "FILE", env = "ATELIER_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// libpq connection string: postgresql://user@host/database or "host=a,b dbname=database load_balance_hosts=random"
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// Threads that answer requests [default: the number of cores]
    #[arg(long, value_name = "N", env = "ATELIER_THREADS", value_parser = number(1..=1024_u16))]
    pub(crate) threads: Option<u16>,
    /// Connections to the database, divided evenly among the threads. One more is used to check which load is published, and up to six more for each thread while statements wait for locks [default: one for each thread]
    #[arg(long, value_name = "N", env = "ATELIER_DB_CONNECTIONS", value_parser = one_or_more)]
    pub(crate) db_connections: Option<NonZeroUsize>,
    /// Size of the cache, such as 256MiB or 1GB; 0 disables it
    #[arg(long, value_name = "BYTES", default_value = "256MiB", env = "ATELIER_CACHE_BYTES", value_parser = bytes)]
    pub(crate) cache_bytes: ByteSize,
    /// Maximum number of client connections. If there are more, idle ones are closed [default: 16384, or what the limit on open files allows]
    #[arg(long, value_name = "N", env = "ATELIER_MAX_CONNECTIONS", value_parser = number(1..=1_000_000_u64))]
    pub(crate) max_connections: Option<u64>,
    /// A request that takes longer is answered with 503
    #[arg(long, value_name = "TIME", default_value = "5s", env = "ATELIER_REQUEST_TIMEOUT", value_parser = time)]
    pub(crate) request_timeout: Duration,
    /// A client is disconnected if the TLS handshake or sending its headers takes longer, or if it reads nothing of its answer for this long
    #[arg(long, value_name = "TIME", default_value = "10s", env = "ATELIER_CLIENT_TIMEOUT", value_parser = time)]
    pub(crate) client_timeout: Duration,
    /// A connection without requests for this long is closed
    #[arg(long, value_name = "TIME", default_value = "75s", env = "ATELIER_IDLE_TIMEOUT", value_parser = time)]
    pub(crate) idle_timeout: Duration,
    /// Time to finish requests in flight after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "10s", env = "ATELIER_SHUTDOWN_GRACE", value_parser = time)]
    pub(crate) shutdown_grace: Duration,
    /// Value of Access-Control-Allow-Origin
    #[arg(long, value_name = "ORIGIN", default_value = "*", env = "ATELIER_CORS_ORIGIN", value_parser = header)]
    pub(crate) cors_origin: HeaderValue,
    /// Value of Cache-Control for answers of the catalogue
    #[arg(
        long,
        value_name = "DIRECTIVES",
        default_value = "public, max-age=60, stale-while-revalidate=600, stale-if-error=86400",
        env = "ATELIER_CACHE_CONTROL",
        value_parser = header
    )]
    pub(crate) cache_control: HeaderValue,
    /// Path prefix of the API, the page and /docs, such as /shop. The admin port has none
    #[arg(long, value_name = "PATH", default_value = "/", env = "ATELIER_BASE_PATH", value_parser = base_path)]
    pub(crate) base_path: String,
    /// For a style without photos or skus, answers like the earlier API: with one photo or sku of nulls instead of [] and {}
    #[arg(long, env = "ATELIER_COMPAT", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) compat: bool,
    /// Disables the page at /, which shows products in a browser
    #[arg(long, env = "ATELIER_NO_PAGE", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) no_page: bool,
    /// Format of the log, which goes to standard error; RUST_LOG=debug logs more
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, env = "ATELIER_LOG_FORMAT")]
    pub log_format: LogFormat,
}

// Lines of at most 80 columns: clap does not wrap lines that begin with a space.
const AFTER_HELP: &str = "\
Examples:
  export DATABASE_URL=postgresql://reader@db.example/shop?sslmode=verify-full
  atelier-server                                  # the API at port 3000
  atelier-server --listen 127.0.0.1:8080 --cache-bytes 1GiB
  atelier-server --admin-listen 0.0.0.0:9000 --log-format json

Exit codes: 0 stopped by SIGTERM or Ctrl-C, 2 usage, 4 the database refused,
or no catalogue is published in it.";

/// The resolved command line.
pub struct Config {
    pub(crate) listen: Address,
    pub(crate) admin_listen: Address,
    /// `None` for plain HTTP. Like `database`, replaced from `sources` on SIGHUP.
    pub(crate) tls: Option<ArcSwap<Tls>>,
    pub(crate) database: ArcSwap<Target>,
    pub(crate) sources: Sources,
    pub(crate) threads: usize,
    /// For each thread.
    pub(crate) db_connections: usize,
    pub(crate) cache_bytes: u64,
    pub(crate) max_connections: usize,
    /// For all client connections of a thread together.
    pub(crate) connection_bytes: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) client_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) cors_origin: HeaderValue,
    pub(crate) cache_control: HeaderValue,
    pub(crate) site: Site,
    pub(crate) compat: bool,
}

impl Config {
    pub fn resolve(args: Args) -> Result<Config> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = args.threads.map_or(cores, usize::from);
        let db_connections = match args.db_connections.map(NonZeroUsize::get) {
            None => DB_CONNECTIONS_PER_THREAD,
            Some(connections) if connections < threads => {
                return Err(Error::usage(format!(
                    "--db-connections {connections} is less than one for each of {threads} threads"
                ))
                .hint(format!("pass --db-connections {threads} or more, or fewer --threads")));
            }
            Some(connections) => connections / threads,
        };
        let max_connections =
            max_connections(args.max_connections, threads * (db_connections + FILES_PER_THREAD))?;
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
            connection_bytes: ((max_connections * BYTES_PER_CONNECTION).max(MIN_CONNECTION_BYTES) / threads)
                .max(MIN_CONNECTION_BYTES_PER_THREAD),
            request_timeout: args.request_timeout,
            client_timeout: args.client_timeout,
            idle_timeout: args.idle_timeout,
            shutdown_grace: args.shutdown_grace,
            cors_origin: make_static(&args.cors_origin),
            cache_control: make_static(&args.cache_control),
            site: Site { base: args.base_path.leak(), page: !args.no_page },
            compat: args.compat,
        })
    }
}

/// Raises the limit on open files as far as possible, and derives the number of connections from it.
fn max_connections(wanted: Option<u64>, of_threads: usize) -> Result<usize> {
    let other = (OTHER_FILES + of_threads) as u64;
    let need = wanted.unwrap_or(DEFAULT_MAX_CONNECTIONS) + other;
    let files = rlimit::increase_nofile_limit(need).unwrap_or(1024);
    let possible = files.saturating_sub(other).max(1);
    match wanted {
        Some(wanted) if wanted > possible => Err(Error::usage(format!(
            "--max-connections {wanted} needs {need} open files, and this process may open {files}"
        ))
        .hint("raise the limit (ulimit -n, LimitNOFILE=) or lower --max-connections")),
        wanted => {
            Ok(usize::try_from(wanted.unwrap_or(DEFAULT_MAX_CONNECTIONS.min(possible))).unwrap_or(usize::MAX))
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
        HeaderValue::from_str(text).map_err(|_| "it is not a valid value of an HTTP header".to_owned())?;
    if text.is_empty() {
        Err("it is empty: omit the option to use the default".to_owned())
    } else {
        Ok(value)
    }
}

/// Empty for `/`. Only unreserved characters, so that there is one way to write the path.
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

/// Leaks the bytes, so that threads can clone the value without a shared reference count.
fn make_static(value: &HeaderValue) -> HeaderValue {
    // Always succeeds, since it comes from text.
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
    fn units_are_parsed() {
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
    fn errors_name_the_flag_with_the_wrong_value() {
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
            let message = message.unwrap_or_else(|| panic!("{flag} {value} is accepted"));
            assert!(message.contains(flag), "{flag} {value}: {message}");
        }
        let few = resolve(&["--threads", "4", "--db-connections", "3"]).err().unwrap();
        assert!(few.contains("--db-connections 3"), "{few}");
    }
}
