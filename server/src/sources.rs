//! Options that are read from files, at the start and again on SIGHUP: the certificate, and how to reach the database.

use std::path::PathBuf;
use std::time::Duration;

use atelier_base::connect::Target;
use atelier_base::error::Result;

use crate::catalogue::queries;
use crate::net::tls::Tls;

pub(crate) struct Sources {
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) database_url: Option<String>,
    /// Becomes a setting of the sessions.
    pub(crate) request_timeout: Duration,
}

impl Sources {
    /// `None` for plain HTTP.
    pub(crate) fn tls(&self) -> Result<Option<Tls>> {
        Tls::resolve(self.tls_cert.as_deref(), self.tls_key.as_deref())
    }

    /// The database, and the settings of our sessions.
    pub(crate) fn database(&self) -> Result<Target> {
        let target = Target::resolve(self.database_url.as_deref())?;
        Ok(target.with(&queries::settings(self.request_timeout)))
    }
}
