//! Notifications to systemd.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use atelier_testing::Server as Postgres;
use nix::sys::signal::Signal;

use crate::catalogue::{example, publish};
use crate::client::get;
use crate::server::Server;

/// Far longer than any message takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn systemd_is_notified_of_readiness_and_of_the_end() {
    let database = Postgres::shared().database();
    database.execute(include_str!("../../../schema.sql"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let receive = || {
        let mut message = [0; 256];
        let length = socket.recv(&mut message)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&message[..length]).into_owned())
    };

    let server = Server::start_notifying(&path, &database.url(), &["--shutdown-grace=90s"]);
    assert_eq!(get(server.admin, "/readyz").text(), "not ready: no load is published\n");
    socket.set_nonblocking(true).unwrap();
    assert_eq!(receive().err().map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    publish(&database, &example());
    assert_eq!(receive().unwrap(), "READY=1\n");
    assert!(server.is_ready());
    server.signal(Signal::SIGTERM);
    assert_eq!(receive().unwrap(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=95000000\n");
    assert_eq!(server.wait().code(), Some(0));
}
