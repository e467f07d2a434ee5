//! A load that is interrupted, killed or disconnected while it copies, builds indexes or publishes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

use atelier_testing::{Database, Server, until};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::gate::{Gate, PLACES, Place};
use super::{Shop, copy_of_example, generated, published, schemas};
use crate::run::{Etl, Running};

const SESSIONS: &str = "FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'atelier-etl%'";

const CONTROL: &str = "AND application_name = 'atelier-etl'";
const LANES: &str = "AND application_name = 'atelier-etl lane'";

fn sessions(database: &Database<'_>, which: &str) -> String {
    database.query(&format!("SELECT count(*) {SESSIONS} {which}"))[0][0].clone().unwrap()
}

/// A load that is held at `place`, and the gate that holds it.
fn held_at(place: Place, shop: &Shop<'_>, data: &TempDir) -> (Running, Gate) {
    let gate = Gate::close(&shop.database, place);
    let load = shop.load(data.path()).spawn();
    gate.wait();
    assert_eq!(schemas(&shop.database), "atelier atelier_staging");
    shop.is_served_as_before();
    (load, gate)
}

#[test]
fn interrupted() {
    let (mut shop, data) = (Shop::new(Server::shared()), generated(2_000));
    for place in PLACES {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let (load, gate) = held_at(place, &shop, &data);
            load.signal(signal);
            load.finish().failed(130, &["interrupted"]);
            shop.is_untouched();
            // The gate is still closed, but no session of the load is held there any more.
            until("its sessions are gone", || sessions(&shop.database, "") == "0");
            drop(gate);
        }
    }
    shop.loads();
}

#[test]
fn killed() {
    let (mut shop, data) = (Shop::new(Server::shared()), generated(2_000));
    for place in [Place::Copy, Place::Index] {
        let (load, gate) = held_at(place, &shop, &data);
        load.signal(Signal::SIGKILL);
        assert_eq!(load.finish().code, 128 + 9);
        until("its lock is free", || sessions(&shop.database, CONTROL) == "0");
        // The database has not noticed that the client of this session is gone.
        assert_ne!(sessions(&shop.database, LANES), "0");
        assert_eq!(schemas(&shop.database), "atelier atelier_staging");
        shop.is_served_as_before();
        gate.lift();
        shop.loads();
        until("the sessions left behind are gone", || sessions(&shop.database, "") == "0");
    }
}

#[test]
fn its_server_is_stopped() {
    let server = Server::start(&[]);
    struck_with_its_server(&server, || server.stop());
}

#[test]
fn its_server_is_killed() {
    let server = Server::start(&[]);
    struck_with_its_server(&server, || server.kill());
}

fn struck_with_its_server(server: &Server, strike: impl Fn()) {
    let (mut shop, data) = (Shop::new(server), generated(2_000));
    for place in PLACES {
        let (load, gate) = held_at(place, &shop, &data);
        strike();
        let run = load.finish();
        run.failed(4, &[" log, ", "load again; the published catalogue is unchanged"]);
        drop(gate);
        server.start_again();
        shop.is_served_as_before();
        shop.loads();
    }
}

/// `COMMIT` waits for a standby that does not exist, which no other transaction does.
#[test]
fn its_server_is_killed_before_it_answers_commit() {
    let settings = [
        ("wal_level", "replica"),
        ("max_wal_senders", "1"),
        ("synchronous_standby_names", "nobody"),
        ("synchronous_commit", "local"),
    ];
    let server = Server::start(&settings);
    let (shop, data) = (Shop::new(&server), generated(2_000));
    let (load, gate) = held_at(Place::Publish, &shop, &data);
    let set = |value: &str| {
        shop.database.execute(&format!("ALTER SYSTEM SET synchronous_commit = {value}"));
        shop.database.execute("SELECT pg_reload_conf()");
        let value = Some(value.to_owned());
        until("the setting is read", || shop.database.query("SHOW synchronous_commit")[0][0] == value);
    };
    set("on");
    drop(gate);
    until("COMMIT waits", || sessions(&shop.database, "AND wait_event = 'SyncRep'") == "1");
    server.kill();
    let telling = "run atelier-etl status: either the old catalogue is published or the whole new one";
    load.finish().failed(4, &[telling]);
    server.start_again();
    set("local");
}

#[test]
fn its_sessions_are_ended() {
    let (mut shop, data) = (Shop::new(Server::shared()), generated(2_000));
    let why = "terminating connection due to administrator command";
    for (place, held, telling) in [
        // tokio-postgres does not report why a COPY ended.
        (Place::Copy, true, ["cannot copy photos into the database", "caused by: "]),
        (Place::Copy, false, ["the connection to the database was lost", why]),
        (Place::Index, true, ["cannot index ", why]),
        (Place::Index, false, ["the connection to the database was lost", why]),
        (Place::Publish, true, ["cannot publish the load", why]),
    ] {
        let (load, gate) = held_at(place, &shop, &data);
        let which = match held {
            true => format!("AND pid = {}", gate.wait()),
            false => CONTROL.to_owned(),
        };
        shop.database.execute(&format!("SELECT pg_terminate_backend(pid) {SESSIONS} {which}"));
        let run = load.finish();
        run.failed(4, &telling);
        run.failed(4, &["load again; the published catalogue is unchanged"]);
        shop.is_untouched();
        drop(gate);
    }
    shop.loads();
}

/// An administrator cancels the statement but leaves the session: only that statement fails.
#[test]
fn its_statements_are_cancelled() {
    let (mut shop, data) = (Shop::new(Server::shared()), generated(2_000));
    for (place, what) in [
        (Place::Copy, "cannot copy photos into the database"),
        (Place::Index, "cannot index "),
        (Place::Publish, "cannot publish the load"),
    ] {
        let (load, gate) = held_at(place, &shop, &data);
        let backend = gate.wait();
        shop.database.execute(&format!("SELECT pg_cancel_backend({backend})"));
        load.finish().failed(4, &[what, "canceling statement due to user request", "load again"]);
        shop.is_untouched();
        drop(gate);
    }
    shop.loads();
}

/// Photos are accepted whose styles are missing: the file of the styles has changed since the first pass.
#[test]
fn a_parents_file_changes() {
    let (mut shop, data) = (Shop::new(Server::shared()), generated(2_000));
    let gate = Gate::close(&shop.database, Place::Copy);
    let load = shop.load(data.path()).env("ATELIER_JOBS", "1").spawn();
    gate.wait();
    let styles = data.path().join("styles.csv");
    let text = std::fs::read_to_string(&styles).unwrap();
    let half = text[..text.len() / 2].rfind('\n').unwrap() + 1;
    std::fs::write(&styles, &text[..half]).unwrap();
    drop(gate);
    load.finish().failed(3, &["styles.csv changed while it was read", "run this again"]);
    shop.is_untouched();
    shop.loads();
}

/// A file that no other table needs is read once: only a comparison with the file that was found shows the change.
#[test]
fn a_file_changes_while_it_is_read() {
    // 30 MB: far more than is read ahead.
    let (mut shop, data) = (Shop::new(Server::shared()), generated(20_000));
    let photos = data.path().join("photos.csv");
    let text = std::fs::read(&photos).unwrap();
    let whole_rows = |bytes: usize| text[..bytes].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    let changes: [&dyn Fn(); 3] = [
        &|| {
            let file = File::options().write(true).open(&photos).unwrap();
            file.set_len(whole_rows(text.len() / 2) as u64).unwrap();
        },
        &|| File::options().append(true).open(&photos).unwrap().write_all(b"\n").unwrap(),
        &|| {
            let other = data.path().join("other");
            std::fs::write(&other, &text[..whole_rows(text.len() - 1)]).unwrap();
            std::fs::rename(&other, &photos).unwrap();
        },
    ];
    for change in changes {
        std::fs::write(&photos, &text).unwrap();
        let gate = Gate::close(&shop.database, Place::Copy);
        let load = shop.load(data.path()).env("ATELIER_JOBS", "1").spawn();
        gate.wait();
        change();
        drop(gate);
        // If another file is renamed to its path, the old one is still read, completely.
        if std::fs::read(&photos).unwrap().len() == whole_rows(text.len() - 1) {
            assert_eq!(load.finish().code, 0);
            shop.published = published(&shop.database);
        } else {
            load.finish().failed(3, &["photos.csv changed while it was read", "run this again"]);
        }
        shop.is_untouched();
    }
    shop.loads();
}

/// The files in the directory are all of one run: that of the published catalogue.
#[test]
fn rejects_of_a_killed_load_replace_none() {
    let (mut shop, data) = (Shop::new(Server::shared()), copy_of_example());
    let rejects = tempfile::tempdir().unwrap();
    let load = |shop: &Shop<'_>| shop.load(data.path()).arg("--rejects").arg(rejects.path());
    let files = || -> BTreeMap<_, _> {
        let files = std::fs::read_dir(rejects.path()).unwrap().map(|file| file.unwrap().path());
        files
            .filter(|path| path.extension() == Some("csv".as_ref()))
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect()
    };
    assert_eq!(load(&shop).run().code, 0);
    shop.published = published(&shop.database);
    let before = files();
    assert_eq!(before.len(), 6);
    let mut skus = File::options().append(true).open(data.path().join("skus.csv")).unwrap();
    skus.write_all(b"\n999,1,\"M\",many\n").unwrap();
    let gate = Gate::close(&shop.database, Place::Index);
    let died = load(&shop).spawn();
    gate.wait();
    died.signal(Signal::SIGKILL);
    died.finish();
    drop(gate);
    assert_eq!(files(), before);
    shop.is_served_as_before();
    assert_eq!(load(&shop).run().code, 0);
    assert_ne!(files(), before);
}

/// Rejected rows of one run must not be written to the files of another.
#[test]
fn two_runs_with_the_same_rejects_directory() {
    let (shop, data) = (Shop::new(Server::shared()), generated(2_000));
    let rejects = tempfile::tempdir().unwrap();
    let gate = Gate::close(&shop.database, Place::Copy);
    let load = shop.load(data.path()).arg("--rejects").arg(rejects.path()).spawn();
    gate.wait();
    let check = Etl::new(["check", "--data"]).arg(data.path()).arg("--rejects").arg(rejects.path());
    check.run().failed(2, &["another run is writing rejected rows there", "--rejects"]);
    drop(gate);
    assert_eq!(load.finish().code, 0);
}
