//! The connection between the loader and PostgreSQL is reset, as by a firewall, or silent, as after a cable was pulled.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use atelier_testing::{Server, until};
use nix::sched::{CloneFlags, unshare};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::super::gate::{Gate, PLACES};
use super::super::skipped;
use super::{How, Shelf, judge, moments, seeded};
use crate::run::Running;

/// Between the loader and PostgreSQL.
struct Proxy {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
    _runtime: Runtime,
}

impl Proxy {
    fn start(port: u16) -> Proxy {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::default());
        let all: Arc<Mutex<Vec<_>>> = Arc::clone(&connections);
        runtime.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                all.lock().unwrap().push(tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    for stream in [&client, &server] {
                        stream.set_zero_linger().unwrap();
                        stream.set_nodelay(true).unwrap();
                    }
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = pass(from_client, to_server) => {}
                        () = pass(from_server, to_client) => {}
                    }
                }));
            }
        });
        Proxy { address, connections, _runtime: runtime }
    }

    /// Resets all connections.
    fn cut(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }
}

/// Passes on what comes, until either side ends.
async fn pass(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
        && to.write_all(&buffer[..read]).await.is_ok()
    {}
}

#[test]
fn all_connections_are_reset_at_any_moment() {
    let server = Server::shared();
    let database = server.database();
    let proxy = Proxy::start(server.port());
    let mut shelf = Shelf::new(&database, 2_000);
    shelf.url = database.tcp_url().replace(&server.port().to_string(), &proxy.address.port().to_string());
    let cut = |_: &mut Shelf<'_>, _: &Running, _: &[i32]| proxy.cut();
    let duration = shelf.measure();
    for (n, moment) in moments(&mut seeded(), 8, duration).into_iter().enumerate() {
        judge(&shelf.strike(moment, How::nth(n), cut));
    }
    println!("{:?}", shelf.strikes_by_phase);
    for place in PLACES {
        shelf.strike_at(place, How::default(), cut).failed(4, &[]);
    }
}

/// Packets are dropped without any error, so both sides have to detect it. In its own network namespace, which requires
/// root and `ip`.
#[test]
fn the_network_falls_silent() {
    // Of this thread and what it starts.
    if unshare(CloneFlags::CLONE_NEWNET).is_err() || !link("up") {
        skipped("a network of one's own takes root, and ip");
        return;
    }
    let server = Server::start(&[]);
    let database = server.database();
    let mut shelf = Shelf::new(&database, 2_000);
    for place in PLACES {
        // A minute by default. Only for the load that is disconnected.
        let limits = "tcp_user_timeout=5&keepalives_idle=2&keepalives_interval=1&connect_timeout=10";
        shelf.url = format!("{}&{limits}", database.tcp_url());
        let gate = Gate::close(&database, place);
        let new = shelf.other();
        let load = shelf.load(new, How::default()).spawn();
        gate.wait();
        gate.lift();
        assert!(link("down"));
        let run = load.finish();
        run.failed(4, &["see its log"]);
        // The database does not know.
        until("its lock is free", || shelf.sessions("AND application_name = 'atelier-etl'") == "0");
        shelf.survives(new, &run);
        assert!(link("up"));
        shelf.url = database.tcp_url();
        shelf.loads(new, How::default());
        drop(gate);
    }
}

/// Sets the loopback of this thread's network up or down.
fn link(state: &str) -> bool {
    Command::new("ip").args(["link", "set", "lo", state]).status().is_ok_and(|status| status.success())
}
