//! The database's disk is full at any point of a load.

use std::fs;

use atelier_testing::Server;
use rand::RngExt as _;

use super::super::disk::SmallDisk;
use super::super::gate::{Gate, PLACES, Place};
use super::{How, Shelf, seeded};
use crate::run::Run;

/// With each kind of log.
const STRIKES: u32 = 8;

#[test]
fn full_at_any_point_of_a_load() {
    // WAL that does not recycle files needs space for the next one.
    let full_log = [("wal_level", "replica"), ("wal_recycle", "off"), ("min_wal_size", "32MB")];
    for settings in [&[][..], &full_log] {
        let Some(disk) = SmallDisk::mount("320m") else { return };
        let server = Server::start_in(disk.path(), settings);
        let database = server.database();
        let mut shelf = Shelf::new(&database, 4_000);
        let size = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'atelier'::regnamespace";
        let size: u64 = database.query(size)[0][0].as_ref().unwrap().parse().unwrap();
        let mut random = seeded();
        for n in 0..STRIKES {
            database.execute("CHECKPOINT");
            let left = (f64::from(n) + random.random::<f64>()) / f64::from(STRIKES) * size as f64 * 1.1;
            disk.fill_but(left as u64);
            let (new, how) = (shelf.other(), How::nth(n as usize));
            let run = shelf.load(new, how).run();
            recovers(&server, &disk, &run);
            shelf.survives(new, &run);
            shelf.loads(new, how);
        }
        for place in PLACES {
            let (new, gate) = (shelf.other(), Gate::close(&database, place));
            let load = shelf.load(new, How::default()).spawn();
            gate.wait();
            gate.lift();
            disk.fill_but(0);
            drop(gate);
            let run = load.finish();
            recovers(&server, &disk, &run);
            // The space may be enough for publishing.
            assert!(run.code == 4 || place == Place::Publish, "{place:?}: {run:?}");
            shelf.survives(new, &run);
            shelf.loads(new, How::default());
        }
    }
}

/// Frees the space. The database has stopped if the WAL found none.
fn recovers(server: &Server, disk: &SmallDisk, run: &Run) {
    let said: Vec<&str> = run.stderr.lines().take(2).collect();
    println!("exit {}: {}", run.code, said.join(";"));
    fs::remove_file(disk.path().join("ballast")).unwrap();
    if fs::read_to_string(server.log()).unwrap().contains("PANIC:") {
        if run.code != 0 {
            run.failed(4, &[]);
        }
        server.kill();
        server.start_again();
    } else if run.stderr.contains("and the load needs about") {
        run.failed(4, &["the database's disk (", "free space"]);
    } else if run.code != 0 {
        run.failed(4, &["SQLSTATE 53100", "free space"]);
    }
}
