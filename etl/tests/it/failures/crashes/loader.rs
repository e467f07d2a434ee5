//! The loader is killed, as by `kill -9` or when memory runs out.

use std::env;

use atelier_testing::{Server, until};
use nix::sys::signal::Signal;

use super::super::gate::{Gate, Place};
use super::{How, PRODUCTS, ROUND, Shelf, moments, schemas, seeded};
use crate::published::expect_consistent_reads;
use crate::run::Running;

fn kill(_: &mut Shelf<'_>, load: &Running, _: &[i32]) {
    load.signal(Signal::SIGKILL);
}

/// The exit code of a load that was killed.
const KILLED: i32 = 128 + 9;

#[test]
fn killed_at_any_moment_while_readers_run() {
    let wanted: u32 = env::var("ATELIER_CRASHES").map_or(50, |loads| loads.parse().unwrap());
    let database = Server::shared().database();
    let mut shelf = Shelf::new(&database, PRODUCTS);
    let first = shelf.history.remove(0);
    expect_consistent_reads(&database, first, || {
        shelf.measure();
        let (mut random, mut strikes, mut killed) = (seeded(), 0, 0);
        // One in eleven comes too late by design; twice as many strikes as it takes are enough for anything else.
        while killed < wanted && strikes < 2 * wanted + ROUND {
            for moment in moments(&mut random, ROUND, shelf.usual()) {
                let run = shelf.strike(moment, How::nth(strikes as usize), kill);
                assert!(run.code == KILLED || run.code == 0, "{run:?}");
                killed += u32::from(run.code == KILLED);
                strikes += 1;
            }
        }
        println!("{killed} of {strikes} before they ended, {:?}", shelf.strikes_by_phase);
        assert!(killed >= wanted, "{killed} of {strikes} before they ended");
        for (n, place) in [Place::Copy, Place::Index, Place::Publish, Place::Drop].into_iter().enumerate() {
            assert_eq!(shelf.strike_at(place, How::nth(n), kill).code, KILLED);
        }
        shelf.history
    });
}

/// The old catalogue is not dropped yet. It was not to be kept, so there is no rollback to it, and the next load drops it
/// even if it has nothing to load.
#[test]
fn killed_between_publishing_and_dropping() {
    let database = Server::shared().database();
    let mut shelf = Shelf::new(&database, 200);
    let run = shelf.strike_at(Place::Drop, How::default(), |shelf, load, _| {
        assert_eq!(schemas(shelf.database), "atelier atelier_staging");
        load.signal(Signal::SIGKILL);
    });
    assert_eq!((run.code, shelf.published.which), (KILLED, 1));
    assert!(shelf.took.is_empty(), "the next load published nothing");
}

#[test]
fn a_load_killed_while_publishing_keeps_the_previous_catalogue() {
    let database = Server::shared().database();
    let mut shelf = Shelf::new(&database, 200);
    shelf.loads(1, How { force: false, keep_previous: true });
    let kept = || database.query("SELECT load_id FROM atelier_previous.load");
    let before = kept();
    let gate = Gate::close(&database, Place::Publish);
    let load = shelf.load(0, How::default()).spawn();
    gate.wait();
    gate.lift();
    load.signal(Signal::SIGKILL);
    shelf.survives(0, &load.finish());
    // Held until its session has noticed that its client is gone.
    until("its session is gone", || shelf.sessions("") == "0");
    assert_eq!((shelf.read_back().which, kept()), (1, before));
    shelf.loads(0, How::default());
}
