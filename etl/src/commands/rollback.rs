//! `rollback`: publishes the kept previous catalogue again. The one that was published takes its place, so that a
//! rollback can be rolled back.

use std::fmt::Write as _;
use std::future::Future;
use std::pin::pin;

use atelier_base::error::{Error, Result};
use atelier_base::terminal::{SUCCESS, styled};

use crate::database::metadata::Signature;
use crate::database::publish::{self, PREVIOUS, PUBLISHED};
use crate::database::session::Session;
use crate::options::Database;
use crate::output::report::warned;

/// Exchanges the published catalogue and the previous one, and says for people what is published now. Ends early with
/// [`Error::interrupted`] when `interrupt` is ready.
pub async fn rollback(database: &Database, interrupt: impl Future<Output = ()>) -> Result<String> {
    let mut interrupt = pin!(interrupt);
    let prepare = async {
        let target = publish::lockable(&database.target);
        let session = Session::connect_within(&target, publish::CONTROL_SESSION, database.patience).await?;
        let session = session.to_try_again("roll back again");
        publish::preflight(&session).await?;
        publish::lock(&session).await?;
        let Some(back) = Signature::read(&session, PREVIOUS).await? else {
            return Err(Error::database(format!("no previous load is kept in {}", database.target)).hint(
                "load the files that are wanted; load --keep-previous keeps what was published before it",
            ));
        };
        let replaced = Signature::read(&session, PUBLISHED).await?;
        Ok((session, back, replaced))
    };
    let (session, back, replaced) = tokio::select! {
        prepared = prepare => prepared?,
        () = &mut interrupt => return Err(Error::interrupted()),
    };
    let exchange = publish::roll_back(&session);
    let published = publish::interruptible(&session, exchange, interrupt).await?;
    publish::unlock(&session).await;

    let again = styled(SUCCESS, format_args!("load {} is published again", back.load_id));
    let mut text = format!("{again}\n  finished {}\n", back.finished);
    if let Some(Signature { load_id, finished, .. }) = replaced {
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "load {load_id} is kept as {PREVIOUS}\n  finished {finished}; roll back again to return to it"
        );
    }
    let left = published.left.iter().map(|dependent| dependent.warning(published.replaced));
    Ok(text + &published.warning.into_iter().chain(left).map(|warning| warned(&warning)).collect::<String>())
}
