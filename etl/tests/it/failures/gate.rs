//! Holds a load at a chosen point for as long as a test wants.

use atelier_testing::{Database, until};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

/// Where a load is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// After some of the photos are copied.
    Copy,
    /// Before the first index of a table is built.
    Index,
    /// Within the transaction that publishes.
    Publish,
    /// Published, but the replaced catalogue is not dropped yet.
    Drop,
}

pub(crate) const PLACES: [Place; 3] = [Place::Copy, Place::Index, Place::Publish];

/// A gate in a database, closed: sessions of the loader wait in front of it for an advisory lock that the session
/// of this value holds. Dropped, it opens.
pub(crate) struct Gate {
    client: Client,
    runtime: Runtime,
}

/// The row trigger is made in the transaction of the COPY, as soon as its table is there.
const FUNCTIONS: &str = "
    CREATE SCHEMA gate;
    CREATE FUNCTION gate.row() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END $$;
    CREATE FUNCTION gate.photos() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN
        IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands()
                   WHERE object_identity = 'atelier_staging.photos') THEN
            CREATE TRIGGER gate BEFORE INSERT ON atelier_staging.photos
            FOR EACH ROW WHEN (NEW.id BETWEEN 500 AND 600) EXECUTE FUNCTION gate.row();
        END IF;
    END $$;
    CREATE FUNCTION gate.statement() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN
        IF current_setting('application_name') LIKE 'atelier-etl%' THEN
            PERFORM pg_advisory_xact_lock_shared(7);
        END IF;
    END $$;
    CREATE FUNCTION gate.replaced() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN
        IF current_query() NOT LIKE '%RENAME%' AND to_regnamespace('atelier_staging') IS NOT NULL THEN
            PERFORM pg_advisory_xact_lock_shared(7);
        END IF;
    END $$;";

impl Gate {
    pub(crate) fn close(database: &Database<'_>, place: Place) -> Gate {
        let trigger = match place {
            Place::Copy => "ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION gate.photos()",
            Place::Index => "ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION gate.statement()",
            Place::Publish => {
                "ddl_command_start WHEN TAG IN ('ALTER SCHEMA') EXECUTE FUNCTION gate.statement()"
            }
            Place::Drop => "ddl_command_start WHEN TAG IN ('DROP SCHEMA') EXECUTE FUNCTION gate.replaced()",
        };
        let clear = "DROP EVENT TRIGGER IF EXISTS gate; DROP SCHEMA IF EXISTS gate CASCADE";
        database.execute(&format!("{clear}; {FUNCTIONS} CREATE EVENT TRIGGER gate ON {trigger}"));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute("SELECT pg_advisory_lock(7)").await.unwrap();
            client
        });
        Gate { client, runtime }
    }

    /// Waits until a session of the loader is held, and returns its backend.
    pub(crate) fn wait(&self) -> i32 {
        let waiting = "SELECT min(a.pid) FROM pg_stat_activity a JOIN pg_locks l USING (pid)
                       WHERE a.datname = current_database() AND a.application_name LIKE 'atelier-etl%'
                         AND l.locktype = 'advisory' AND l.objid = 7 AND NOT l.granted";
        let mut backend = None;
        until("a load is held at the gate", || {
            let row = self.runtime.block_on(self.client.query_one(waiting, &[])).unwrap();
            backend = row.get(0);
            backend.is_some()
        });
        backend.unwrap()
    }

    /// Lets further loads pass. Those that are held already stay held.
    pub(crate) fn lift(&self) {
        self.runtime.block_on(self.client.batch_execute("DROP EVENT TRIGGER gate")).unwrap();
    }
}
