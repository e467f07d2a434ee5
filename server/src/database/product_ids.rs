//! Reads the ids of all products.

use atelier_base::connect::{Target, describe};

use crate::catalogue::product_ids::ProductIds;
use crate::catalogue::queries::{self, Failure};
use crate::database::connect::connect;

/// Uses a connection of its own, since the query may take long. `None` if that fails.
pub(crate) async fn fetch(database: &Target) -> Option<ProductIds> {
    let why = match connect(database).await {
        Ok((client, statements, connection)) => tokio::select! {
            product_ids = queries::product_ids(&client, &statements) => match product_ids {
                Ok(product_ids) => return Some(product_ids),
                Err(Failure::NotPublished) => return None,
                Err(Failure::Database(error)) => describe(&error),
            },
            _ = connection => "the connection was lost".to_owned(),
        },
        Err(error) => format!("{:#}", error.error()),
    };
    tracing::warn!(why, "cannot read the ids of the products");
    None
}
