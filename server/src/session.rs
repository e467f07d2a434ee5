//! Opening a connection to the database: its settings, its statements, and what it means when they cannot be prepared.

use std::time::Duration;

use atelier_base::connect::{Connection, Target, describe};
use atelier_base::error::Error;
use atelier_base::sql::grant_reader;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::config::Config;
use crate::queries::{self, Statements};

/// How connections show up in `pg_stat_activity`.
pub const SESSION: &str = "atelier-server";

/// A new connection that has not prepared its statements by then is given up.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(10);

/// What to do about a database that stops, starts or is full.
const GIVE_IT_TIME: &str =
    "see that PostgreSQL runs and has sessions left (max_connections); it is tried again";

/// Why no connection could be opened.
pub enum Unopened {
    /// Nobody listens there, or it is still starting: it may come.
    NotYet(Error),
    /// It refuses, or holds no catalogue: trying again changes nothing.
    Never(Error),
}

/// Opens a connection and prepares every statement on it: whatever is missing shows now, not at a request.
pub async fn open(config: &Config) -> Result<(Client, Statements, Connection), Unopened> {
    let opened = config.database.open(SESSION).await;
    let (client, mut connection) = opened.map_err(|refused| {
        if refused.may_come { Unopened::NotYet(refused.error) } else { Unopened::Never(refused.error) }
    })?;
    let settings = queries::settings(config.request_timeout);
    let prepare = async {
        client.batch_execute(&settings).await?;
        Statements::prepare(&client).await
    };
    let prepared = timeout(PREPARE_TIMEOUT, async {
        tokio::pin!(prepare);
        tokio::select! {
            prepared = &mut prepare => return prepared,
            // The connection does nothing unless it is polled.
            ended = &mut connection => ended?,
        }
        prepare.await // fails, since the connection has ended
    });
    let failed = |error| explain(&error, &config.database);
    match prepared.await {
        Ok(statements) => Ok((client, statements.map_err(failed)?, connection)),
        Err(_) => {
            let what = format!("{} takes too long to prepare statements", config.database);
            Err(Unopened::NotYet(
                Error::database(what).hint("see what else keeps it busy; it is tried again"),
            ))
        }
    }
}

/// What it means that statements cannot be prepared.
fn explain(error: &tokio_postgres::Error, database: &Target) -> Unopened {
    let code = error.code().map_or("", SqlState::code);
    let (what, hint): (_, String) = match code {
        "42P01" | "3F000" => {
            ("there is no catalogue in", "load one: atelier-etl load --database-url …".into())
        }
        "42501" => ("this user may not read the catalogue in", grant_reader(database.user())),
        "42703" | "42883" => (
            "there is no catalogue of this version in",
            "load it again with the atelier-etl of this version".into(),
        ),
        // Without SQLSTATE it is the connection's; 57 and 53 are a database that stops, starts or is full.
        code if code.is_empty() || code.starts_with("57") || code.starts_with("53") => {
            let what = format!("cannot prepare statements in {database}");
            return Unopened::NotYet(Error::database(what).cause(describe(error)).hint(GIVE_IT_TIME));
        }
        _ => ("cannot prepare statements in", "look into PostgreSQL's log".into()),
    };
    Unopened::Never(Error::database(format!("{what} {database}")).cause(describe(error)).hint(hint))
}
