//! What the database URL can contain: roles, several hosts, TLS.

use atelier_testing::{Server as Postgres, until};

use crate::catalogue::{example, generated, publish};
use crate::client::get;
use crate::database_failures::{
    PRODUCTS, SESSIONS, answered_or_unavailable, product, sessions, until_served,
};
use crate::server::Server;
use crate::traffic::with_traffic;

#[test]
fn the_reader_role_of_the_loader_is_sufficient() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    publish(&database, &example());
    postgres.create_role("least_privileges", "secret");
    postgres.execute("GRANT atelier_reader TO least_privileges");
    let server = Server::start(&database.url_of("least_privileges", "secret"), &["--cache-bytes", "0"]);
    let assert_served = |server: &Server| {
        for target in ["/products", "/products?ids=1,2", "/products/1/profile", "/products/1/styles"] {
            assert_eq!(get(server.public, target).status, 200, "{target}");
        }
    };
    assert_served(&server);
    let next = publish(&database, &example());
    until("the new load is served", || {
        get(server.public, "/products").header("etag") == Some(&format!("W/\"{next}\""))
    });
    assert_served(&server);
}

#[test]
fn one_of_several_hosts_is_enough() {
    let (first, second) = (Postgres::start(&[]), Postgres::start(&[]));
    let (database, copy) = (first.database(), second.database());
    let data = generated(PRODUCTS, 1);
    let load = publish(&database, data.path());
    publish(&copy, data.path());
    // As a standby: the same load, in a database of the same name, for the same role.
    copy.execute(&format!("UPDATE atelier.load SET load_id = '{load}'"));
    copy.execute(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", copy.name()));
    first.execute(&format!("ALTER DATABASE {} RENAME TO {}", database.name(), copy.name()));
    for postgres in [&first, &second] {
        postgres.create_role("reader", "secret");
        postgres.execute("GRANT atelier_reader TO reader");
    }
    let url = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=reader password=secret dbname={} sslmode=disable",
        first.port(),
        second.port(),
        copy.name()
    );
    let reads_only = Server::start(&format!("{url} target_session_attrs=read-only"), &[]);
    assert_eq!(get(reads_only.public, "/products/1").status, 200);
    until("all sessions are on the standby", || sessions(&copy) == SESSIONS);
    drop(reads_only);
    until("they are gone", || sessions(&copy) == 0);

    first.stop();
    let servers = [
        Server::start(&url, &["--cache-bytes", "0"]),
        Server::start(&format!("{url} load_balance_hosts=random"), &["--cache-bytes", "0"]),
    ];
    for server in &servers {
        let seen = with_traffic(server.public, product, answered_or_unavailable, |traffic| {
            traffic.wait_for(20, 200);
            first.start_again();
            second.stop();
            until_served(server);
            traffic.wait_for(20, 200);
            second.start_again();
            first.stop();
            until_served(server);
            traffic.wait_for(20, 200);
        });
        assert!(seen.errors.is_empty(), "{seen:?}");
    }
}

#[test]
fn connections_to_the_database_are_encrypted_if_the_url_requires_it() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    publish(&database, &example());
    let url =
        format!("{}&sslrootcert={}", database.tls_url("verify-full"), postgres.ca_certificate().display());
    let server = Server::start(&url, &[]);
    assert_eq!(get(server.public, "/products/1").status, 200);
    until("all sessions are there", || sessions(&database) == SESSIONS);
    let ssl = database.query(
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE datname = current_database() AND application_name = 'atelier-server'",
    );
    assert_eq!(ssl[0][0].as_deref(), Some("t"));
}
