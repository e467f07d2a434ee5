//! Opens one connection to the database, prepares its statements, and explains why that fails.

use std::sync::Once;
use std::time::Duration;

use atelier_base::connect::{Connection, Opened, Target, describe};
use atelier_base::error::Error;
use atelier_base::sql::grant_reader;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalogue::queries::{self, Statements};
use crate::database::pooler;

/// As in `pg_stat_activity`.
const APPLICATION_NAME: &str = "atelier-server";

const PREPARE_TIMEOUT: Duration = Duration::from_secs(10);

/// For a database that is stopping, starting or out of connections.
const RETRY_HINT: &str =
    "check that PostgreSQL runs and has connections left (max_connections); the server tries again";

const POOLER_HINT: &str = "connect to PostgreSQL itself, or use a pool in session mode, or PgBouncer 1.21 or later in \
                           transaction mode with max_prepared_statements";

pub(crate) enum ConnectError {
    /// The database does not run or is starting: trying again can help.
    Transient(Error),
    /// It refuses the connection, or has no catalogue: trying again does not help.
    Permanent(Error),
}

impl ConnectError {
    pub(crate) fn error(&self) -> &Error {
        match self {
            ConnectError::Transient(error) | ConnectError::Permanent(error) => error,
        }
    }
}

pub(crate) async fn connect(database: &Target) -> Result<(Client, Statements, Connection), ConnectError> {
    connect_and_prepare(database, Statements::prepare).await
}

/// Also prepares all statements, to fail now and not at a request if something is missing.
pub(crate) async fn connect_and_prepare_all(
    database: &Target,
) -> Result<(Client, Statements, Connection), ConnectError> {
    let prepare_all = async |client: &Client| {
        let statements = Statements::prepare(client).await?;
        statements.prepare_all(client).await?;
        Ok(statements)
    };
    connect_and_prepare(database, prepare_all).await
}

async fn connect_and_prepare(
    database: &Target,
    prepare: impl AsyncFnOnce(&Client) -> Result<Statements, tokio_postgres::Error>,
) -> Result<(Client, Statements, Connection), ConnectError> {
    let Opened { client, mut connection, is_direct, .. } = open(database).await?;
    let prepare = async {
        if !is_direct {
            check_pooler(&client, database).await?;
        }
        prepare(&client).await.map_err(|error| explain(&error, database))
    };
    let prepared = timeout(PREPARE_TIMEOUT, async {
        tokio::pin!(prepare);
        tokio::select! {
            prepared = &mut prepare => return prepared,
            // The connection does nothing unless it is polled.
            ended = &mut connection => ended.map_err(|error| explain(&error, database))?,
        }
        prepare.await // fails, since the connection has ended
    });
    match prepared.await {
        Ok(statements) => Ok((client, statements?, connection)),
        Err(_) => {
            let what = format!("{database} takes too long to prepare statements");
            Err(ConnectError::Transient(
                Error::database(what).hint("check what else keeps it busy; the server tries again"),
            ))
        }
    }
}

async fn open(database: &Target) -> Result<Opened, ConnectError> {
    let opened = database.open(APPLICATION_NAME).await.map_err(|refused| match refused.is_transient {
        true => ConnectError::Transient(refused.error),
        false => ConnectError::Permanent(refused.error),
    })?;
    if let Some(error) = &opened.password_error {
        tracing::warn!("using the password that was read earlier: {error:#}");
    }
    Ok(opened)
}

/// Refuses a pooler that does not keep prepared statements. All others still lose our settings: statements are planned more
/// often, and have no time limit in the database.
async fn check_pooler(client: &Client, database: &Target) -> Result<(), ConnectError> {
    static WARNED: Once = Once::new();
    let another = open(database).await?;
    match pooler::keeps_statements(client, another).await {
        Err(error) => Err(explain(&error, database)),
        Ok(true) => {
            WARNED.call_once(|| {
                tracing::warn!(
                    "a connection pooler discards the settings of our sessions, such as statement_timeout"
                );
            });
            Ok(())
        }
        Ok(false) => {
            let what = format!("the pooler in front of {database} does not keep prepared statements");
            Err(ConnectError::Permanent(Error::database(what).hint(POOLER_HINT)))
        }
    }
}

fn explain(error: &tokio_postgres::Error, database: &Target) -> ConnectError {
    let code = error.code().map_or("", SqlState::code);
    let (what, hint): (_, String) = match code {
        "42P01" | "3F000" => {
            ("there is no catalogue in", "load one: atelier-etl load --database-url …".into())
        }
        "42501" => ("this user may not read the catalogue in", grant_reader(database.user())),
        "42703" | "42883" => (
            "there is no catalogue of this version in",
            "load it again with atelier-etl of the same version".into(),
        ),
        // The connection was lost, or the database is stopping, starting or out of connections, or a table is locked.
        _ if !queries::is_permanent(error) => {
            let what = format!("cannot prepare statements in {database}");
            return ConnectError::Transient(Error::database(what).cause(describe(error)).hint(RETRY_HINT));
        }
        _ => ("cannot prepare statements in", "check the log of PostgreSQL".into()),
    };
    ConnectError::Permanent(Error::database(format!("{what} {database}")).cause(describe(error)).hint(hint))
}
