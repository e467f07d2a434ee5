//! The loader is killed, as by `kill -9` or for want of memory.

use std::env;

use atelier_testing::{Server, until};
use nix::sys::signal::Signal;

use super::super::gate::{Gate, Place};
use super::{How, PRODUCTS, ROUND, Shelf, moments, schemas, seeded};
use crate::published::readers_see_no_mixture;
use crate::run::Running;

fn kill(_: &mut Shelf<'_>, load: &Running, _: &[i32]) {
    load.signal(Signal::SIGKILL);
}

/// The exit code of a load that was killed.
const KILLED: i32 = 128 + 9;

#[test]
fn killed_at_any_moment_with_readers_beside_it() {
    let wanted: u32 = env::var("ATELIER_CRASHES").map_or(50, |loads| loads.parse().unwrap());
    let database = Server::shared().database();
    let mut shelf = Shelf::new(&database, PRODUCTS);
    let first = shelf.history.remove(0);
    readers_see_no_mixture(&database, first, || {
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
        println!("{killed} of {strikes} before they ended, {:?}", shelf.tally);
        assert!(killed >= wanted, "{killed} of {strikes} before they ended");
        for (n, place) in [Place::Copy, Place::Index, Place::Publish, Place::Drop].into_iter().enumerate() {
            assert_eq!(shelf.strike_at(place, How::nth(n), kill).code, KILLED);
        }
        shelf.history
    });
}

/// The new catalogue is published, the old one is not dropped yet. Nobody asked to keep it, so it is not there to go back
/// to, and the next load drops it, though that has nothing to load.
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

/// A load that is killed before it publishes leaves the catalogue that is kept for going back to.
#[test]
fn killed_while_publishing_the_previous_is_kept_still() {
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
    // Held until its session has noticed that nobody is behind it.
    until("its session is gone", || shelf.sessions("") == "0");
    assert_eq!((shelf.look().which, kept()), (1, before));
    shelf.loads(0, How::default());
}
