//! Detects a connection pooler, such as PgBouncer, that does not keep prepared statements. One in session mode, or one that
//! keeps them, can be used. The checks leave nothing behind in its sessions.

use atelier_base::connect::Opened;
use tokio::task::spawn_local;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::catalogue::queries;

/// A pool usually assigns the session that was returned last, unless another client is faster.
const ATTEMPTS: usize = 5;

/// Whether statements prepared on `client` can be executed later. `another` is a connection to the same pooler.
pub(crate) async fn keeps_statements(client: &Client, another: Opened) -> Result<bool, Error> {
    let Opened { client: another, connection, .. } = another;
    let connection = spawn_local(connection);
    let shares = shares_sessions(client, &another).await;
    drop(another);
    // The pooler must have noticed, or the session would not be free.
    let _ = connection.await;
    Ok(!shares? || renames_statements(client).await?)
}

/// Whether the pooler assigns the session of one client to another one between transactions.
async fn shares_sessions(client: &Client, another: &Client) -> Result<bool, Error> {
    for _ in 0..ATTEMPTS {
        let before = backend_pid(client).await?;
        // A pooler in statement mode refuses transactions.
        if another.batch_execute("BEGIN").await.is_err() {
            return Ok(true);
        }
        let shares = backend_pid(another).await? == before || backend_pid(client).await? != before;
        another.batch_execute("ROLLBACK").await?;
        if shares {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn backend_pid(client: &Client) -> Result<Option<String>, Error> {
    Ok(first_column(&client.simple_query(queries::BACKEND_PID).await?).into_iter().next())
}

/// Whether the pooler prepares statements under names of its own, which means that it keeps them.
async fn renames_statements(client: &Client) -> Result<bool, Error> {
    // In one transaction, and so in one session.
    if client.batch_execute("BEGIN").await.is_err() {
        return Ok(false);
    }
    let statement = client.prepare(queries::OWN_STATEMENT_NAMES).await?;
    let names = first_column(&client.simple_query(queries::OWN_STATEMENT_NAMES).await?);
    drop(statement);
    client.batch_execute("ROLLBACK").await?;
    // tokio-postgres calls them s0, s1 and so on.
    let is_ours = |name: &String| name.strip_prefix('s').is_some_and(|rest| rest.parse::<u32>().is_ok());
    Ok(!names.is_empty() && !names.iter().any(is_ours))
}

fn first_column(messages: &[SimpleQueryMessage]) -> Vec<String> {
    let value = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.iter().filter_map(value).collect()
}
