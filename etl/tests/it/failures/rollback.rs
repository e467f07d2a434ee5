//! Rollbacks that are impossible or interrupted.

use atelier_testing::Server;
use nix::sys::signal::Signal;

use super::gate::{Gate, Place};
use super::{Shop, example, generated, schemas};
use crate::run::Etl;

fn rollback(shop: &Shop<'_>) -> Etl {
    Etl::new(["rollback", "--database-url", &shop.database.url()])
}

/// A shop with a previous catalogue too.
fn shop_with_previous() -> Shop<'static> {
    let mut shop = Shop::new(Server::shared());
    let run = shop.load(&example()).arg("--keep-previous").run();
    assert_eq!(run.code, 0, "{run:?}");
    shop.published = super::published(&shop.database);
    shop
}

#[test]
fn no_previous_load() {
    let shop = Shop::new(Server::shared());
    let what = format!("no previous load is kept in database \"{}\"", shop.database.name());
    rollback(&shop).run().failed(4, &[&what, "load --keep-previous keeps the catalogue that it replaces"]);
    shop.is_untouched();

    // schema.sql creates a catalogue, but without a load.
    shop.database
        .execute("CREATE SCHEMA atelier_previous; CREATE TABLE atelier_previous.load (LIKE atelier.load)");
    rollback(&shop).run().failed(4, &[&what]);
    shop.is_served_as_before();

    let empty = Server::shared().database();
    let run = Etl::new(["rollback", "--database-url", &empty.url()]).run();
    run.failed(4, &["no previous load is kept in"]);
    assert_eq!(schemas(&empty), "");
}

#[test]
fn a_load_is_running() {
    let shop = shop_with_previous();
    let data = generated(200);
    let gate = Gate::close(&shop.database, Place::Index);
    let load = shop.load(data.path()).spawn();
    gate.wait();
    let running = "another load or rollback of this database is running, from this host, since 20";
    rollback(&shop).run().failed(4, &[running, "wait until it has ended, then roll back again"]);
    shop.is_served_as_before();
    drop(gate);
    assert_eq!(load.finish().code, 0);
}

#[test]
fn a_rollback_in_the_middle() {
    let mut shop = shop_with_previous();
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let gate = Gate::close(&shop.database, Place::Publish);
        let rollback = rollback(&shop).spawn();
        let backend = gate.wait();
        let load = shop.load(&example()).run();
        load.failed(4, &["another load or rollback of this database is running", "then load again"]);
        rollback.signal(signal);
        if signal == Signal::SIGINT {
            rollback.finish().failed(130, &["interrupted"]);
        } else {
            rollback.finish();
            // The database notices late that the client of the session is gone.
            shop.database.execute(&format!("SELECT pg_terminate_backend({backend}, 10000)"));
        }
        shop.is_served_as_before();
        assert_eq!(schemas(&shop.database), "atelier atelier_previous");
        drop(gate);
    }
    let run = rollback(&shop).run();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert_ne!(super::published(&shop.database), shop.published);
    shop.loads();
}
