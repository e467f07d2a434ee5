//! Opening a connection to the database: its settings, its statements, and what it means when they cannot be prepared.

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

/// How connections show up in `pg_stat_activity`.
pub const SESSION: &str = "atelier-server";

/// A new connection that has not prepared its statements by then is given up.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(10);

/// What to do about a database that stops, starts or is full.
const GIVE_IT_TIME: &str =
    "see that PostgreSQL runs and has sessions left (max_connections); it is tried again";

/// What to do about a pooler.
const POOLED: &str = "use the address of PostgreSQL itself, or a pool in session mode, or PgBouncer from 1.21 on in \
                      transaction mode with max_prepared_statements";

/// Why no connection could be opened.
pub enum Unopened {
    /// Nobody listens there, or it is still starting: it may come.
    NotYet(Error),
    /// It refuses, or holds no catalogue: trying again changes nothing.
    Never(Error),
}

/// Opens a connection.
pub async fn open(database: &Target) -> Result<(Client, Statements, Connection), Unopened> {
    open_with(database, Statements::begin).await
}

/// Opens a connection and prepares every statement on it: whatever is missing shows now, not at a request.
pub async fn open_whole(database: &Target) -> Result<(Client, Statements, Connection), Unopened> {
    let all = async |client: &Client| {
        let statements = Statements::begin(client).await?;
        statements.prepare_all(client).await?;
        Ok(statements)
    };
    open_with(database, all).await
}

async fn open_with(
    database: &Target,
    statements: impl AsyncFnOnce(&Client) -> Result<Statements, tokio_postgres::Error>,
) -> Result<(Client, Statements, Connection), Unopened> {
    let Opened { client, mut connection, is_direct, .. } = connect(database).await?;
    let prepare = async {
        if !is_direct {
            pass_pooler(&client, database).await?;
        }
        statements(&client).await.map_err(|error| explain(&error, database))
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
            Err(Unopened::NotYet(
                Error::database(what).hint("see what else keeps it busy; it is tried again"),
            ))
        }
    }
}

async fn connect(database: &Target) -> Result<Opened, Unopened> {
    let opened = database.open(SESSION).await.map_err(|refused| match refused.is_transient {
        true => Unopened::NotYet(refused.error),
        false => Unopened::Never(refused.error),
    })?;
    if let Some(error) = &opened.password_error {
        tracing::warn!("using the password that was read before: {error:#}");
    }
    Ok(opened)
}

/// Refuses a pooler that would lose our statements. In the sessions of any other our settings are lost: statements are
/// planned more often, and have no time limit in the database.
async fn pass_pooler(client: &Client, database: &Target) -> Result<(), Unopened> {
    static WARNED: Once = Once::new();
    let another = connect(database).await?;
    match pooler::keeps_statements(client, another).await {
        Err(error) => Err(explain(&error, database)),
        Ok(true) => {
            WARNED.call_once(|| {
                tracing::warn!(
                    "a connection pooler in between loses our settings, statement_timeout for one"
                );
            });
            Ok(())
        }
        Ok(false) => {
            let what = format!("the connection pooler before {database} keeps no prepared statements");
            Err(Unopened::Never(Error::database(what).hint(POOLED)))
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
        // It is the connection's, or of a database that stops, starts or is full, or of a table that is locked.
        _ if !queries::is_refused(error) => {
            let what = format!("cannot prepare statements in {database}");
            return Unopened::NotYet(Error::database(what).cause(describe(error)).hint(GIVE_IT_TIME));
        }
        _ => ("cannot prepare statements in", "look into PostgreSQL's log".into()),
    };
    Unopened::Never(Error::database(format!("{what} {database}")).cause(describe(error)).hint(hint))
}
