//! TLS for clients: the server's certificate and key, and a connection that is encrypted with them.
//!
//! The files are read at the start and again on SIGHUP (`reload`). A client that comes back resumes its session by a ticket, which holds all that
//! is to be known of it: nothing is kept here, and one ticket is good for many connections, as a proxy opens them.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use atelier_base::error::{Error, Result};
use futures_util::FutureExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::crypto::ring::{self, Ticketer};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::net::stream::{Noted, Stream};

/// Makes TLS out of connections.
pub struct Tls {
    acceptor: TlsAcceptor,
    chain: Vec<CertificateDer<'static>>,
}

impl Tls {
    /// From what `--tls-cert` and `--tls-key` name; nothing if they name nothing.
    pub fn resolve(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Tls>> {
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Tls::read(certificate, key).map(Some),
            (Some(_), None) => Err(Error::usage("there is a --tls-cert and no --tls-key")
                .hint("pass the certificate's private key with --tls-key")),
            (None, Some(_)) => Err(Error::usage("there is a --tls-key and no --tls-cert")
                .hint("pass the key's certificate with --tls-cert")),
        }
    }

    fn read(certificate_path: &Path, key_path: &Path) -> Result<Tls> {
        let wrong_certificate = |cause: Cause| {
            Error::usage(format!("cannot use --tls-cert {}", certificate_path.display()))
                .cause(cause)
                .hint("name a readable PEM file: the server's certificate, then those that signed it, if any")
        };
        let wrong_key = |cause: Cause| {
            Error::usage(format!("cannot use --tls-key {}", key_path.display()))
                .cause(cause)
                .hint("name a readable PEM file with the certificate's private key, without a passphrase")
        };
        let chain = chain(certificate_path).map_err(wrong_certificate)?;
        let provider = Arc::new(ring::default_provider());
        let key = key(key_path).map_err(wrong_key)?;
        let key = provider.key_provider.load_private_key(key).map_err(|error| wrong_key(error.into()))?;
        let pair = CertifiedKey::new(chain.clone(), key);
        match pair.keys_match() {
            // Of some kinds of keys it cannot be told.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(Error::usage(format!(
                    "--tls-key {} is not the key of --tls-cert {}",
                    key_path.display(),
                    certificate_path.display()
                ))
                .hint(
                    "name a pair that was made together; in --tls-cert, the server's certificate comes first",
                ));
            }
            Err(error) => return Err(wrong_certificate(error.into())),
        }
        let setup = |error: rustls::Error| {
            Error::usage("TLS cannot be set up")
                .cause(error)
                .hint("this is a fault of the program: please report it")
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions() // 1.2 and 1.3
            .map_err(setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(setup)?;
        Ok(Tls { acceptor: Arc::new(config).into(), chain })
    }

    /// Whether it is of the same certificates, and so of the same key. Otherwise the tickets of one are refused by the
    /// other, and every client sees the certificate.
    pub fn is_same(&self, other: &Tls) -> bool {
        self.chain == other.chain
    }

    /// Shakes hands with a client. Takes as long as the client does.
    pub fn accept(&self, stream: Noted) -> Accept<Noted> {
        self.acceptor.accept(stream)
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let chain = CertificateDer::pem_slice_iter(&fs::read(path)?).collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() { Err("it holds no certificate".into()) } else { Ok(chain) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Cause> {
    PrivateKeyDer::from_pem_slice(&fs::read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => "it holds no private key that can be read".into(),
        error => error.into(),
    })
}

/// Boxed: it takes a kilobyte and is handed on whenever the connection is parked.
impl Stream for Box<TlsStream<Noted>> {
    /// That the socket can be read says little: what came may be a part of a record, or none for us.
    async fn arrival(&mut self) -> io::Result<()> {
        self.fill_buf().await.map(|_| ())
    }

    /// Else the client could not tell it from a connection that somebody has cut.
    fn say_goodbye(&mut self) {
        let _ = self.shutdown().now_or_never();
    }
}
