//! The lock that a load or a rollback holds, and that goes with its session.

use atelier_base::connect::Target;
use atelier_base::error::{Error, Result};

use crate::database::session::{Session, is_lock_timeout};

/// Advisory lock that a load or a rollback holds: "atelier" in ASCII.
const LOCK: i64 = 0x61_7465_6c69_6572;

/// A load that was killed does not block the next one: its session checks so often whether its loader still runs, and the
/// next load waits so long for the lock.
const LOST_LOCK_TIMEOUT: &str = "5s";
const LOADER_CHECK_INTERVAL: &str = "500ms";

/// Advisory lock that the lanes of a load share: by it the next load finds the lanes of one that was killed.
pub(crate) const LANE_LOCK: i64 = LOCK + 1;

/// `target` for a session that takes the lock: it ends soon after its loader or the network does. By default that would
/// take two hours.
pub(crate) fn lockable(target: &Target) -> Target {
    let silence = target.silence().as_millis();
    target.with(&[
        ("client_connection_check_interval", LOADER_CHECK_INTERVAL.to_owned()),
        ("tcp_keepalives_idle", format!("{}s", silence.div_ceil(2_000))),
        ("tcp_keepalives_interval", format!("{}s", silence.div_ceil(6_000))),
        ("tcp_keepalives_count", "3".to_owned()),
        ("tcp_user_timeout", format!("{silence}ms")),
    ])
}

/// Takes the lock that only one load or rollback of a database has at a time. It is held until the session ends, which
/// has to be one of [`lockable`].
pub(crate) async fn lock(session: &Session) -> Result<()> {
    let lock = format!(
        "BEGIN; SET LOCAL lock_timeout = '{LOST_LOCK_TIMEOUT}'; SELECT pg_advisory_lock({LOCK}); COMMIT"
    );
    match session.transaction(&lock).await {
        Ok(()) => return Ok(()),
        Err(error) if is_lock_timeout(&error) => {}
        Err(error) => return Err(session.failed("cannot take the lock of a load", &error)),
    }
    let query = format!(
        "SELECT a.pid, coalesce(host(a.client_addr), 'this host'), to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')
         FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND (l.classid::bigint << 32 | l.objid::bigint) = {LOCK}"
    );
    let holder = session.client.query_opt(&query, &[]).await.ok().flatten();
    let who = holder.map_or_else(String::new, |row| {
        let (pid, host, since): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
        format!(", from {host}, since {since} (backend {pid})")
    });
    Err(Error::database(format!("another load or rollback of this database is running{who}"))
        .hint(format!("wait until it has ended, then {}", session.again())))
}

/// Takes the lock of a lane, for as long as its session lives.
pub(crate) async fn lock_lane(session: &Session) -> Result<()> {
    let locked = session.client.batch_execute(&format!("SELECT pg_advisory_lock_shared({LANE_LOCK})")).await;
    locked.map_err(|error| session.failed("cannot take the lock of a lane", &error))
}

/// Releases the lock, so that another load can begin as soon as this one has ended. The end of the session would release
/// it a moment later.
pub(crate) async fn unlock(session: &Session) {
    let _ = session.client.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})")).await;
}
