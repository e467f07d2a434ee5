//! PostgreSQL is killed: one process, after which it terminates all sessions and recovers; or all of them, as in a power
//! failure that does not lose the disk's cache.

use atelier_testing::Server;
use rand::seq::IndexedRandom as _;

use super::super::gate::PLACES;
use super::{How, Shelf, judge, kill_process, moments, seeded};
use crate::run::Running;

/// Each strike takes a recovery.
const STRIKES: u32 = 5;

#[test]
fn a_backend_is_killed_at_any_moment() {
    let server = Server::start(&[]);
    let database = server.database();
    let mut shelf = Shelf::new(&database, 2_000);
    let mut random = seeded();
    let mut kill = |shelf: &mut Shelf<'_>, _: &Running, sessions: &[i32]| {
        sessions.choose(&mut random).copied().into_iter().for_each(kill_process);
        shelf.watch = None;
    };
    let duration = shelf.measure();
    for (n, moment) in moments(&mut seeded(), STRIKES, duration).into_iter().enumerate() {
        judge(&shelf.strike(moment, How::nth(n), &mut kill));
    }
    println!("{:?}", shelf.strikes_by_phase);
    for place in PLACES {
        shelf.strike_at(place, How::default(), &mut kill).failed(4, &[]);
    }
}

#[test]
fn the_server_is_killed_at_any_moment() {
    for wal_level in ["minimal", "replica"] {
        let server = Server::start(&[("wal_level", wal_level)]);
        let database = server.database();
        let mut shelf = Shelf::new(&database, 2_000);
        let mut kill = |shelf: &mut Shelf<'_>, _: &Running, _: &[i32]| {
            server.kill();
            shelf.watch = None;
            server.start_again();
        };
        let duration = shelf.measure();
        for (n, moment) in moments(&mut seeded(), STRIKES, duration).into_iter().enumerate() {
            judge(&shelf.strike(moment, How::nth(n), &mut kill));
        }
        println!("{wal_level}: {:?}", shelf.strikes_by_phase);
        for place in PLACES {
            shelf.strike_at(place, How::default(), &mut kill).failed(4, &[]);
        }
    }
}
