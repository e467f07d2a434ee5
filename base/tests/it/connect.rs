//! One attempt to connect: what it gives, and which failures are worth another.

use std::net::TcpListener;

use atelier_base::connect::{Opened, Refused, Target};
use atelier_testing::Server;

async fn refused(url: &str) -> Refused {
    Target::parse(url).unwrap().open("base").await.err().unwrap()
}

#[tokio::test]
async fn the_caller_polls_the_connection() {
    let database = Server::shared().database();
    for url in [database.url(), database.tcp_url(), database.tls_url("require")] {
        let opened = Target::parse(&url).unwrap().open("base of the tests").await.unwrap();
        assert!(opened.is_direct, "{url}");
        let Opened { client, connection, .. } = opened;
        let query = async move {
            let row = client.query_one("SELECT current_setting('application_name')", &[]).await.unwrap();
            row.get::<_, String>(0)
        };
        // The client goes with its query, and with it the connection ends.
        let (name, ended) = tokio::join!(query, connection);
        assert_eq!(name, "base of the tests");
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_missing_database_is_a_transient_failure() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = refused(&format!("postgresql://ann@127.0.0.1:{free}/shop")).await;
    assert!(refused.is_transient);
    assert!(format!("{:#}", refused.error).ends_with("runs there and the address in --database-url"));
    let error = format!("{:#}", refused.with_wait_flag("--patience"));
    assert!(error.ends_with("the address in --database-url; --patience waits for it"), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_a_transient_failure() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let refused = refused(&format!("postgresql://ann@127.0.0.1:{port}/shop?connect_timeout=1")).await;
    assert!(refused.is_transient);
    let error = format!("{:#}", refused.with_wait_flag("--patience"));
    assert!(error.contains("no answer within 2 s") && error.ends_with("; --patience tries again"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_final() {
    let database = Server::shared().database();
    let refused = refused(&database.url_of("postgres", "wr0ng")).await;
    assert!(!refused.is_transient);
    let error = format!("{:#}", refused.with_wait_flag("--patience"));
    assert!(error.ends_with("check the password in --database-url (or PGPASSWORD, PGPASSFILE)"), "{error}");
}

/// Whether the connection that `target` opens is encrypted, or what is said of it instead.
pub(crate) async fn encrypted(url: &str) -> Result<bool, String> {
    let target = Target::parse(url).map_err(|error| format!("{error:#}"))?;
    let opened = target.open("base").await.map_err(|refused| format!("{:#}", refused.error))?;
    let Opened { client, connection, .. } = opened;
    let query = async move {
        let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        client.query_one(ssl, &[]).await.unwrap().get(0)
    };
    let (ssl, _) = tokio::join!(query, connection);
    Ok(ssl)
}

/// Every `sslmode`, every way to name a host, and what is to come of it at a server with TLS and at one without.
#[tokio::test]
async fn sslmode_decides_on_tls_however_the_host_is_given() {
    const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    let (with, without) = (Server::shared(), Server::start(&[("ssl", "off")]));
    for (server, tls) in [(with, true), (&without, false)] {
        let database = server.database();
        server.create_role("ann", "secret");
        let (port, name, dir) = (server.port(), database.name(), server.dir().display());
        let socket = server.dir().display().to_string().replace('/', "%2F");
        let root = with.ca_certificate();
        let root = root.display();
        let rest = |mode| {
            format!("port={port} user=ann password=secret dbname={name} sslmode={mode} sslrootcert={root}")
        };
        let query = |mode| format!("user=ann&password=secret&sslmode={mode}&sslrootcert={root}");
        for mode in MODES {
            let over_tcp = match mode {
                "disable" | "allow" => Some(false),
                "prefer" => Some(tls),
                _ => tls.then_some(true),
            };
            let named = over_tcp;
            let unnamed = if mode == "verify-full" { None } else { named };
            for (url, expected) in [
                (format!("host=localhost {}", rest(mode)), named),
                (format!("hostaddr=127.0.0.1 {}", rest(mode)), unnamed),
                (format!("host=localhost hostaddr=127.0.0.1 {}", rest(mode)), named),
                (format!("host={dir} {}", rest(mode)), Some(false)),
                (format!("postgresql://localhost:{port}/{name}?{}", query(mode)), named),
                (format!("postgresql:///{name}?host=localhost&port={port}&{}", query(mode)), named),
                (format!("postgresql:///{name}?hostaddr=127.0.0.1&port={port}&{}", query(mode)), unnamed),
                (format!("postgresql://{socket}:{port}/{name}?{}", query(mode)), Some(false)),
                (format!("host=/nowhere,localhost {}", rest(mode)), named),
                (format!("host=/nowhere,localhost hostaddr=,127.0.0.1 {}", rest(mode)), named),
            ] {
                let found = encrypted(&url).await;
                assert_eq!(found.as_ref().ok().copied(), expected, "{url} (TLS: {tls}): {found:?}");
            }
        }
    }
}

/// A primary and one that is read-only, in a list: which of them is taken.
#[tokio::test]
async fn of_several_hosts_the_one_with_the_session_attrs_is_used() {
    let (primary, other) = (Server::start(&[]), Server::start(&[("default_transaction_read_only", "on")]));
    let list = format!(
        "host={},{} port={},{} user=postgres dbname=postgres",
        primary.dir().display(),
        other.dir().display(),
        primary.port(),
        other.port()
    );
    for (rest, expected) in [
        ("", Some(primary.port())),
        ("target_session_attrs=any", Some(primary.port())),
        ("target_session_attrs=read-write", Some(primary.port())),
        ("target_session_attrs=read-only", Some(other.port())),
        ("target_session_attrs=primary", Some(primary.port())),
        ("target_session_attrs=standby", None),
        ("target_session_attrs=prefer-standby", Some(primary.port())),
    ] {
        let ours = [("default_transaction_read_only", "on".to_owned())];
        let target = Target::parse(&format!("{list} {rest}")).unwrap().with(&ours);
        let found = match target.open("base").await {
            Err(refused) => {
                let error = format!("{:#}", refused.error);
                assert!(error.contains("server is not in hot standby mode"), "{error}");
                None
            }
            Ok(Opened { client, connection, .. }) => {
                let query = async move {
                    client
                        .query_one("SELECT current_setting('port')::int", &[])
                        .await
                        .unwrap()
                        .get::<_, i32>(0)
                };
                let (port, _) = tokio::join!(query, connection);
                u16::try_from(port).ok()
            }
        };
        assert_eq!(found, expected, "{rest}");
    }
}
