//! One attempt to connect: what it gives, and which failures are worth another.

use std::net::TcpListener;

use atelier_base::connect::{Refused, Target};
use atelier_base::testing::Server;

async fn refused(url: &str) -> Refused {
    Target::parse(url).unwrap().open("base").await.err().unwrap()
}

#[tokio::test]
async fn whoever_opens_a_connection_polls_it() {
    let database = Server::shared().database();
    for url in [database.url(), database.tcp_url(), database.tls_url("require")] {
        let (client, connection) = Target::parse(&url).unwrap().open("base of the tests").await.unwrap();
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
async fn a_database_that_is_not_there_may_come() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = refused(&format!("postgresql://ann@127.0.0.1:{free}/shop")).await;
    assert!(refused.may_come);
    assert!(refused.error.to_string().ends_with("runs there and the address in --database-url"));
    let error = refused.waits_with("--patience").to_string();
    assert!(error.ends_with("the address in --database-url; --patience waits for it"), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_may_come() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let refused = refused(&format!("postgresql://ann@127.0.0.1:{port}/shop?connect_timeout=1")).await;
    assert!(refused.may_come);
    let error = refused.waits_with("--patience").to_string();
    assert!(error.contains("no answer within 2 s") && error.ends_with("; --patience tries again"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_final() {
    let database = Server::shared().database();
    let refused = refused(&database.url_of("postgres", "wr0ng")).await;
    assert!(!refused.may_come);
    let error = refused.waits_with("--patience").to_string();
    assert!(error.ends_with("check the password in --database-url (or PGPASSWORD, PGPASSFILE)"), "{error}");
}
