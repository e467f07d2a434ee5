//! Connections and disk space that a load needs, checked before the first row where they can be known.

use std::fs;
use std::time::{Duration, Instant};

use atelier_base::error::{Error, Result};
use atelier_base::sql::quoted;
use indicatif::HumanCount;
use tokio_postgres::Row;

use crate::database::lock::LANE_LOCK;
use crate::database::session::Session;

/// PostgreSQL counts sessions for a moment after they ended.
const RECOUNT_TIMEOUT: Duration = Duration::from_secs(2);
const RECOUNT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes in the database, rows and indexes, for each byte of CSV. A generated catalogue of 100,000 products (`--seed 1`)
/// is 221 MB of CSV and takes 347 MB: 291 of rows, 56 of indexes.
const DATABASE_BYTES: f64 = 1.6;

/// With less free than the estimate divided by this, a load is refused: even a file system that compresses would hardly
/// do with less. Between that and the estimate it is a warning.
const REFUSED_BELOW: u64 = 4;

/// The limits on connections of this session, each with the sessions that PostgreSQL counts towards it, including this
/// one. Lanes of a killed load are left out: they will be ended. Only a member of `pg_read_all_stats` sees which of other
/// users' sessions are parallel workers; for any other user these count too.
const LIMITS: &str = "
    WITH sessions AS (
        SELECT datid, usesysid FROM pg_stat_activity
        WHERE datid IS NOT NULL AND usesysid IS NOT NULL
          AND coalesce(backend_type, 'client backend') = 'client backend'
          AND pid <> ALL(ARRAY(
              SELECT pid FROM pg_locks
              WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = $1
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())))
    ),
    me AS (SELECT * FROM pg_roles WHERE rolname = session_user),
    reserved AS (
        SELECT coalesce(sum(setting::int8), 0)::int8 AS slots FROM pg_settings, me
        WHERE NOT rolsuper AND name IN ('superuser_reserved_connections', 'reserved_connections')
    )
    SELECT 'ROLE', rolname::text, rolconnlimit::int8, (SELECT count(*) FROM sessions WHERE usesysid = me.oid)
    FROM me WHERE rolconnlimit >= 0 AND NOT rolsuper
    UNION ALL
    SELECT 'DATABASE', datname::text, datconnlimit::int8, (SELECT count(*) FROM sessions WHERE datid = d.oid)
    FROM pg_database d, me WHERE datname = current_database() AND datconnlimit >= 0 AND NOT rolsuper
    UNION ALL
    SELECT 'SERVER', '', current_setting('max_connections')::int8 - slots, (SELECT count(*) FROM sessions)
    FROM reserved";

/// A limit on connections.
struct ConnectionLimit {
    /// `ROLE`, `DATABASE` or `SERVER`.
    of: String,
    name: String,
    max: i64,
    /// Including this session.
    used: i64,
}

/// Refuses a load with `jobs` if there are no connections for all of its `lanes`.
pub(crate) async fn check_connections(session: &Session, jobs: usize, lanes: usize) -> Result<()> {
    let lanes = i64::try_from(lanes).unwrap_or(i64::MAX);
    let deadline = Instant::now() + RECOUNT_TIMEOUT;
    loop {
        let rows = session.client.query(LIMITS, &[&LANE_LOCK]).await;
        let rows = rows.map_err(|error| session.failed("cannot count the connections", &error))?;
        let too_low = rows.iter().map(ConnectionLimit::of).find(|limit| limit.max - limit.used < lanes);
        match too_low {
            None => return Ok(()),
            Some(limit) if Instant::now() >= deadline => return Err(limit.refused(jobs, lanes)),
            Some(_) => tokio::time::sleep(RECOUNT_PAUSE).await,
        }
    }
}

impl ConnectionLimit {
    fn of(row: &Row) -> ConnectionLimit {
        ConnectionLimit { of: row.get(0), name: row.get(1), max: row.get(2), used: row.get(3) }
    }

    fn refused(&self, jobs: usize, lanes: i64) -> Error {
        let ConnectionLimit { of, name, max, used } = self;
        let (holder, raise) = match of.as_str() {
            "SERVER" => (
                "the server has".to_owned(),
                "raise max_connections in postgresql.conf, or close other sessions".to_owned(),
            ),
            of => (
                format!("{} \"{name}\" may have", of.to_lowercase()),
                format!("as an administrator: ALTER {of} {} CONNECTION LIMIT {}", quoted(name), used + lanes),
            ),
        };
        // A load has one lane more than jobs.
        let fewer = max - used - 1;
        let fewer = if fewer >= 1 { format!("; or --jobs {fewer}") } else { String::new() };
        Error::database(format!(
            "a load with --jobs {jobs} needs {} connections, and {holder} {max}, {} of them in use by others",
            lanes + 1,
            used - 1
        ))
        .hint(raise + &fewer)
    }
}

/// Compares the free space with an estimate for so many bytes of CSV: returns a warning if it may be too little, and refuses if it surely is. Does
/// nothing if the database is on another host, or if this user may not see the data directory. Call it after what an
/// earlier load left behind is dropped.
pub(crate) async fn check_disk(session: &Session, csv_bytes: u64) -> Result<Option<String>> {
    let query = "SELECT pg_backend_pid(), coalesce(
                     nullif(pg_tablespace_location(t.oid), ''),
                     (SELECT setting FROM pg_settings WHERE name = 'data_directory'))
                 FROM pg_database d JOIN pg_tablespace t ON CASE current_setting('default_tablespace')
                     WHEN '' THEN t.oid = d.dattablespace ELSE t.spcname = current_setting('default_tablespace') END
                 WHERE d.datname = current_database()";
    let row = session.client.query_opt(query, &[]).await;
    let row = row.map_err(|error| session.failed("cannot query the data directory", &error))?;
    let directory = row.and_then(|row| Some((row.get::<_, i32>(0), row.get::<_, Option<String>>(1)?)));
    let Some((_, directory)) = directory.filter(|(backend, _)| is_postgres(*backend)) else {
        return Ok(None);
    };
    let Ok(disk) = rustix::fs::statvfs(&directory) else { return Ok(None) };
    let (free, needed) = (disk.f_bavail * disk.f_frsize, (csv_bytes as f64 * DATABASE_BYTES) as u64);
    let megabytes = |bytes: u64| HumanCount(bytes.div_ceil(1_000_000));
    let what = format!(
        "the database's disk ({directory}) has {} MB free, and the load needs about {} MB",
        megabytes(free),
        megabytes(needed)
    );
    match free {
        free if free < needed / REFUSED_BELOW => {
            Err(Error::database(what).hint("free space there, then load again"))
        }
        free if free < needed => Ok(Some(what)),
        _ => Ok(None),
    }
}

/// Whether our backend is a process of this host, so that the server's paths are valid here. Through a tunnel or from a
/// container it is not.
fn is_postgres(backend: i32) -> bool {
    fs::read_to_string(format!("/proc/{backend}/comm")).is_ok_and(|name| name.trim_end() == "postgres")
}
