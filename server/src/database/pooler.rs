//! A connection pooler, PgBouncer say, between the server and PostgreSQL. It will do in session mode, or if it keeps
//! prepared statements. What is found out here leaves nothing in its sessions.

use atelier_base::connect::Opened;
use tokio::task::spawn_local;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::catalogue::queries;

/// The session that another has just left is the first that a pool gives away; unless somebody comes in between.
const ROUNDS: usize = 5;

/// Whether statements that are prepared on `client` will be there when they are executed. `another` is a connection of
/// the same pool.
pub(crate) async fn keeps_statements(client: &Client, another: Opened) -> Result<bool, Error> {
    let Opened { client: another, connection, .. } = another;
    let connection = spawn_local(connection);
    let shares = shares_sessions(client, &another).await;
    drop(another);
    // Until the pooler has heard of it, the session would not be free.
    let _ = connection.await;
    Ok(!shares? || renames_statements(client).await?)
}

/// Whether the pooler gives the session of one client to another between two transactions.
async fn shares_sessions(client: &Client, another: &Client) -> Result<bool, Error> {
    for _ in 0..ROUNDS {
        let before = backend(client).await?;
        // A pooler in statement mode refuses it.
        if another.batch_execute("BEGIN").await.is_err() {
            return Ok(true);
        }
        let shares = backend(another).await? == before || backend(client).await? != before;
        another.batch_execute("ROLLBACK").await?;
        if shares {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn backend(client: &Client) -> Result<Option<String>, Error> {
    Ok(column(&client.simple_query(queries::BACKEND).await?).into_iter().next())
}

/// Whether the pooler prepares statements under names of its own, as one does that keeps them.
async fn renames_statements(client: &Client) -> Result<bool, Error> {
    // In one transaction, and so in one session, where it is closed again.
    if client.batch_execute("BEGIN").await.is_err() {
        return Ok(false);
    }
    let statement = client.prepare(queries::NAMES_OF_THIS).await?;
    let names = column(&client.simple_query(queries::NAMES_OF_THIS).await?);
    drop(statement);
    client.batch_execute("ROLLBACK").await?;
    // Ours are s0, s1 and so on.
    let is_ours = |name: &String| name.strip_prefix('s').is_some_and(|rest| rest.parse::<u32>().is_ok());
    Ok(!names.is_empty() && !names.iter().any(is_ours))
}

fn column(messages: &[SimpleQueryMessage]) -> Vec<String> {
    let value = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.iter().filter_map(value).collect()
}
