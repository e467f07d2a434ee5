//! The loader's schemas, and how one becomes another. `atelier` is what clients read and is never written to;
//! everything is made in `atelier_staging`; publishing and rolling back rename. One load or rollback of a database does
//! this at a time: `lock` sees to that.

mod lock;

pub use lock::{lock, lock_lane, lockable, unlock};

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use atelier_base::connect::describe;
use atelier_base::error::{Error, Result};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use crate::report::Report;
use crate::schema;
use crate::session::Session;
use crate::tables::TABLES;

/// What clients read.
pub const PUBLISHED: &str = "atelier";
/// Where a load is made; and where the catalogue is that a load has replaced, until it is dropped.
pub const STAGING: &str = "atelier_staging";
/// What was published before, if it is kept.
pub const PREVIOUS: &str = "atelier_previous";
/// What was kept before that, until it is dropped.
const DISCARDED: &str = "atelier_discarded";
/// What will be published, within the transaction that publishes and nowhere else.
const NEXT: &str = "atelier_next";
/// The loader's own: whatever is in them goes when it is in the way.
const OWN: [&str; 5] = [PUBLISHED, STAGING, PREVIOUS, DISCARDED, NEXT];
/// May read what is published, and nothing else.
const READER: &str = "atelier_reader";

/// `application_name` of the session that holds the lock, of a load or a rollback.
pub const CONTROL_SESSION: &str = "atelier-etl";
/// `application_name` of the sessions that copy and index.
pub const LANE_SESSION: &str = "atelier-etl lane";

/// How long what a dead load left behind is waited for, if somebody still reads it.
const STAGE_LOCK_TIMEOUT: &str = "10s";

/// How long publishing waits for the locks of others before it gives up.
const PUBLISH_LOCK_TIMEOUT: &str = "10s";

/// How long publishing holds up new readers while it waits for running ones, at a time and in all.
const READERS_TURN: &str = "100ms";
const READERS_PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_TURNS: Duration = Duration::from_millis(50);

/// How often an interrupted publishing is asked to stop.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);

/// What to do when the connection was lost while publishing.
const UNANSWERED: &str = "look into PostgreSQL's log, see that it runs, and ask atelier-etl status what is published: \
                          the catalogue as it was, or all of the other one";

/// How long the last readers of the catalogue that was replaced are waited for.
const DROP_LOCK_TIMEOUT: &str = "10s";

/// How often dropping is tried if PostgreSQL ends it for a deadlock with readers.
const DROP_TRIES: u32 = 4;

/// How long cleaning up waits for somebody who reads what is staged, at a time.
const UNSTAGE_LOCK_TIMEOUT: &str = "2s";

/// How long a clean-up may take that nobody waits for gladly.
pub const CLEAN_UP_PATIENCE: Duration = Duration::from_secs(20);

/// Refuses what would fail later: a database that cannot be written to, rights that are missing, a schema of the
/// same name that is somebody else's.
pub async fn check_rights(session: &Session) -> Result<()> {
    let query = "SELECT current_database()::text, current_user::text, pg_encoding_to_char(encoding)::text,
                        pg_is_in_recovery(), has_database_privilege(oid, 'CREATE'),
                        current_setting('server_version_num')::int
                 FROM pg_database WHERE datname = current_database()";
    let row = one(session, query, "look at the database").await?;
    let (database, user): (String, String) = (row.get(0), row.get(1));
    let (encoding, standby, may_create, version): (String, bool, bool, i32) =
        (row.get(2), row.get(3), row.get(4), row.get(5));
    if version < 140_000 {
        return Err(Error::database(format!("the database is PostgreSQL {}", version / 10_000))
            .hint("use PostgreSQL 14 or newer"));
    }
    if encoding != "UTF8" {
        return Err(Error::database(format!(
            "the encoding of database \"{database}\" is {encoding}, not UTF8"
        ))
        .hint("create a database with ENCODING 'UTF8' TEMPLATE template0 and name it in --database-url"));
    }
    if standby {
        return Err(Error::database("this PostgreSQL is a standby and takes no writes")
            .hint("name its primary in --database-url"));
    }
    if !may_create {
        return Err(Error::database(format!(
            "user \"{user}\" may not create schemas in database \"{database}\""
        ))
        .hint(format!("as an administrator: GRANT CREATE ON DATABASE \"{database}\" TO \"{user}\"")));
    }
    // Not to_regclass: it fails in a schema that this user may not look into.
    let query = "SELECT nspname::text, pg_get_userbyid(nspowner)::text, pg_has_role(nspowner, 'USAGE'),
                        EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'load')
                 FROM pg_namespace n WHERE nspname = ANY($1)";
    let rows = session
        .client
        .query(query, &[&OWN.as_slice()])
        .await
        .map_err(|error| session.failed("cannot look at the schemas", &error))?;
    for row in rows {
        let (schema, owner, owned, ours): (String, String, bool, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        if !owned {
            return Err(Error::database(format!(
                "the schema {schema} belongs to \"{owner}\", not to \"{user}\""
            ))
            .hint(format!("load as \"{owner}\", or as an administrator: GRANT \"{owner}\" TO \"{user}\"")));
        }
        if !ours {
            return Err(Error::database(format!(
                "there is a schema {schema} that is not a catalogue of atelier-etl"
            ))
            .hint("rename that schema or use another database: the load would replace it"));
        }
    }
    Ok(())
}

/// Ends and drops whatever a load that died left behind. Call it with the lock held.
pub async fn clear(session: &Session) -> Result<()> {
    // A lane of a killed loader may still build an index: nobody else has lanes while we hold the lock.
    let orphans = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE locktype = 'advisory' AND usename = current_user
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND (classid::bigint << 32 | objid::bigint) = {}",
        lock::LANE_LOCK
    );
    run(session, &orphans, "end the sessions of a load that died").await?;
    for schema in [STAGING, DISCARDED] {
        let dropped = drop_schema(session, schema, STAGE_LOCK_TIMEOUT).await;
        dropped.map_err(|error| session.failed(format!("cannot drop the schema {schema}"), &error))?;
    }
    Ok(())
}

/// Makes an empty staging schema. Call it with the lock held.
pub async fn stage(session: &Session) -> Result<()> {
    clear(session).await?;
    let load = schema::load_table();
    // One transaction: a staging schema always has the table that tells it from somebody else's.
    let make = format!(
        "BEGIN; CREATE SCHEMA {STAGING}; SET LOCAL search_path TO {STAGING}; {}; {}; COMMIT",
        load.create,
        load.after.join(";")
    );
    let made = transaction(session, &make).await;
    made.map_err(|error| session.failed("cannot make the schema atelier_staging", &error))
}

/// Drops what is staged.
pub async fn unstage(session: &Session) -> Result<()> {
    let dropped = drop_schema(session, STAGING, UNSTAGE_LOCK_TIMEOUT).await;
    dropped.map_err(|error| session.failed("cannot drop the schema atelier_staging", &error))
}

/// Says in the staged catalogue what it is.
pub async fn sign(session: &Session, report: &Report) -> Result<()> {
    let tables = serde_json::to_string(&report.tables).unwrap_or_default();
    let insert = format!(
        "INSERT INTO {STAGING}.load (load_id, started_at, finished_at, version, tables)
         VALUES ($1::text::uuid, clock_timestamp() - make_interval(secs => $2), clock_timestamp(), $3, $4::text::jsonb)"
    );
    let result =
        session.client.execute(&insert, &[&report.load_id, &report.seconds, &report.version, &tables]).await;
    result.map(drop).map_err(|error| session.failed("cannot write the table load", &error))
}

/// Lets the role for readers read what is staged. Makes the role where it may.
pub async fn grant_to_reader(session: &Session) -> Result<()> {
    let query = format!(
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{READER}'),
                (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user)"
    );
    let row = one(session, &query, "look for the role atelier_reader").await?;
    let (exists, may_create): (bool, bool) = (row.get(0), row.get(1));
    if !exists {
        if !may_create {
            return Ok(());
        }
        // Roles belong to the whole server: a load of another database may make it at the same moment.
        let make = format!(
            "DO $$ BEGIN CREATE ROLE {READER} NOLOGIN;
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        );
        run(session, &make, "make the role atelier_reader").await?;
    }
    let grant = format!(
        "GRANT USAGE ON SCHEMA {STAGING} TO {READER}; GRANT SELECT ON ALL TABLES IN SCHEMA {STAGING} TO {READER}"
    );
    run(session, &grant, "grant the catalogue to atelier_reader").await
}

/// Publishes what is staged: one transaction renames. Gives a warning if some reader may have seen both catalogues. The
/// one replaced is the previous one if it is kept. If not, it takes the place of what was staged, so that the next load
/// drops it if this one dies before.
pub async fn publish(session: &Session, keep_previous: bool) -> Result<Option<String>> {
    let replaced = if keep_previous { PREVIOUS } else { STAGING };
    replace(session, STAGING, replaced, "cannot publish the load").await
}

/// Makes the schema `by` the published one and the published one `replaced`, in one transaction; a previous one that is
/// neither is discarded in it, and so is there as long as this fails. Gives a warning if some reader may have seen both
/// catalogues.
///
/// Renaming a schema waits for nobody, and PostgreSQL looks tables up one by one: a statement that begins at the wrong
/// moment could find one table of the old catalogue and the next of the new. So the old tables are locked first, which
/// waits for the statements that read them. It waits in short turns, shorter than `deadlock_timeout`, so that no reader
/// is ever held up for long or cancelled; and not for ever, so that one endless transaction, a dump say, cannot keep a
/// load from being published.
pub(crate) async fn replace(
    session: &Session,
    by: &str,
    replaced: &str,
    what: &str,
) -> Result<Option<String>> {
    let failed = |error: &tokio_postgres::Error| failed(session, what, error);
    let tables = format!(
        "SELECT string_agg(format('{PUBLISHED}.%I', relname), ', '
                           ORDER BY relname <> 'load', array_position($1, relname::text)),
                to_regnamespace('{PREVIOUS}') IS NOT NULL
         FROM pg_class WHERE relnamespace = to_regnamespace('{PUBLISHED}') AND relkind = 'r'"
    );
    // Parents first, as queries name them.
    let order: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    let row = session.client.query_one(&tables, &[&order]).await.map_err(|error| failed(&error))?;
    // Dropped later: a dump may be reading it.
    let make_room = match by != PREVIOUS && row.get(1) {
        true => format!("ALTER SCHEMA {PREVIOUS} RENAME TO {DISCARDED};"),
        false => String::new(),
    };
    let Some(tables) = row.get::<_, Option<String>>(0) else {
        let rename = format!(
            "BEGIN; SET LOCAL lock_timeout = '{PUBLISH_LOCK_TIMEOUT}'; {make_room}
             ALTER SCHEMA {by} RENAME TO {PUBLISHED}; COMMIT"
        );
        return transaction(session, &rename).await.map(|()| None).map_err(|error| failed(&error));
    };
    // The name that `by` has may be the one that the published one gets.
    let renames = format!(
        "ALTER SCHEMA {by} RENAME TO {NEXT}; ALTER SCHEMA {PUBLISHED} RENAME TO {replaced};
         ALTER SCHEMA {NEXT} RENAME TO {PUBLISHED}; COMMIT"
    );
    let alone = format!(
        "BEGIN; SET LOCAL lock_timeout = '{READERS_TURN}'; {make_room}
         LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE; {renames}"
    );
    let deadline = Instant::now() + READERS_PATIENCE;
    loop {
        match transaction(session, &alone).await {
            Ok(()) => return Ok(None),
            Err(error) if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) => return Err(failed(&error)),
            Err(_) if Instant::now() < deadline => tokio::time::sleep(BETWEEN_TURNS).await,
            Err(_) => break,
        }
    }
    let beside = format!("BEGIN; SET LOCAL lock_timeout = '{PUBLISH_LOCK_TIMEOUT}'; {make_room} {renames}");
    transaction(session, &beside).await.map_err(|error| failed(&error))?;
    Ok(Some(format!(
        "a transaction read the previous catalogue for over {} s and was not waited for: \
         it may see tables of both catalogues",
        READERS_PATIENCE.as_secs()
    )))
}

/// Runs what publishes. It waits for the locks of others, and so can be interrupted; whether it has happened then is for
/// the database to say.
pub async fn interruptible<T>(
    session: &Session,
    publishing: impl Future<Output = Result<T>>,
    interrupt: impl Future<Output = ()>,
) -> Result<T> {
    let mut publishing = pin!(publishing);
    tokio::select! {
        published = &mut publishing => published,
        () = interrupt => loop {
            // Again and again: a request that comes between two statements cancels nothing.
            session.canceller().cancel().await;
            if let Ok(published) = timeout(CANCEL_INTERVAL, &mut publishing).await {
                // On a lost connection it is for the database to say what has happened: its error says so.
                let lost = session.client.is_closed();
                break published.map_err(|error| if lost { error } else { Error::interrupted() });
            }
        },
    }
}

/// What publishes has failed.
fn failed(session: &Session, what: &str, error: &tokio_postgres::Error) -> Error {
    let failed = session.failed(what, error);
    // A refusal says that nothing has happened. Without an answer, the database alone knows.
    if error.code().is_some() { failed } else { failed.hint(UNANSWERED) }
}

/// Runs statements that begin and end a transaction; if one fails, none has happened.
async fn transaction(session: &Session, statements: &str) -> Result<(), tokio_postgres::Error> {
    let result = session.client.batch_execute(statements).await;
    if result.is_err() {
        // On a lost connection this fails too, and nothing is left to undo.
        let _ = session.client.batch_execute("ROLLBACK").await;
    }
    result
}

async fn drop_schema(session: &Session, schema: &str, patience: &str) -> Result<(), tokio_postgres::Error> {
    let drop = format!(
        "BEGIN; SET LOCAL lock_timeout = '{patience}'; DROP SCHEMA IF EXISTS {schema} CASCADE; COMMIT"
    );
    for _ in 1..DROP_TRIES {
        match transaction(session, &drop).await {
            // A reader that has some of the tables and wants others, which we have: it has them now, and ends.
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {}
            result => return result,
        }
    }
    transaction(session, &drop).await
}

/// Drops what was replaced and is not kept. Gives a warning if its readers do not let go of it.
pub async fn drop_replaced(session: &Session) -> Option<String> {
    for schema in [STAGING, DISCARDED] {
        if let Err(error) = drop_schema(session, schema, DROP_LOCK_TIMEOUT).await {
            return Some(format!(
                "the new catalogue is published, but one before it could not be dropped ({}): \
                 the schema {schema} takes room until the next load drops it",
                describe(&error)
            ));
        }
    }
    None
}

async fn one(session: &Session, query: &str, what: &str) -> Result<Row> {
    session
        .client
        .query_one(query, &[])
        .await
        .map_err(|error| session.failed(format!("cannot {what}"), &error))
}

async fn run(session: &Session, statements: &str, what: &str) -> Result<()> {
    session
        .client
        .batch_execute(statements)
        .await
        .map_err(|error| session.failed(format!("cannot {what}"), &error))
}
