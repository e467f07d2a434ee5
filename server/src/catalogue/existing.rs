//! Which products a load has. A condition on one that it has not is a 404, as any request for it is, and that is known
//! without asking the database.

use atelier_base::connect::describe;
use roaring::RoaringBitmap;

use crate::catalogue::load_id::LoadId;
use crate::catalogue::queries::{self, Failure};
use crate::database::connect::{Unopened, open};
use crate::shared::Shared;

/// The products of a load.
pub struct Existing {
    /// The load.
    pub load: LoadId,
    /// Two bytes a product at the most, and next to nothing where ids are dense.
    pub ids: RoaringBitmap,
}

/// Reads the products of the published load, on a connection of its own: where it is blocked it holds up nothing. Says
/// whether they are known now.
pub async fn fetch(shared: &'static Shared) -> bool {
    let why = match open(&shared.config.database.load_full()).await {
        Ok((client, statements, connection)) => tokio::select! {
            existing = queries::existing(&client, &statements) => match existing {
                Ok(existing) => {
                    shared.know(existing);
                    return true;
                }
                Err(Failure::NotPublished) => return false,
                Err(Failure::Database(error)) => describe(&error),
            },
            _ = connection => "the connection was lost".to_owned(),
        },
        Err(Unopened::NotYet(error) | Unopened::Never(error)) => format!("{error:#}"),
    };
    tracing::warn!(why, "cannot read which products there are");
    false
}
