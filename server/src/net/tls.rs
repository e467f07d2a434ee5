//! TLS for clients, with the certificate and key of the server.
//!
//! Sessions are resumed by tickets, which hold all their state: nothing is stored here, and one ticket can be used for many
//! connections, as a proxy opens them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use atelier_base::error::{Cause, Error, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::crypto::ring::{self, Ticketer};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig};
use tokio_rustls::{Accept, TlsAcceptor};

pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    chain: Vec<CertificateDer<'static>>,
}

impl Tls {
    /// From the files of `--tls-cert` and `--tls-key`. `None` if neither is given; an error if only one is.
    pub(crate) fn resolve(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Tls>> {
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Tls::read(certificate, key).map(Some),
            (Some(_), None) => Err(Error::usage("--tls-cert is given without --tls-key")
                .hint("pass the certificate's private key with --tls-key")),
            (None, Some(_)) => Err(Error::usage("--tls-key is given without --tls-cert")
                .hint("pass the key's certificate with --tls-cert")),
        }
    }

    fn read(certificate_path: &Path, key_path: &Path) -> Result<Tls> {
        let wrong_certificate = |cause: Cause| {
            Error::usage(format!("cannot use --tls-cert {}", certificate_path.display())).cause(cause).hint(
                "pass a readable PEM file with the certificate of the server, then the intermediate ones",
            )
        };
        let wrong_key = |cause: Cause| {
            Error::usage(format!("cannot use --tls-key {}", key_path.display())).cause(cause).hint(
                "pass a readable PEM file with the private key of the certificate, without a passphrase",
            )
        };
        let chain = chain(certificate_path).map_err(wrong_certificate)?;
        let provider = Arc::new(ring::default_provider());
        let key = key(key_path).map_err(wrong_key)?;
        let key = provider.key_provider.load_private_key(key).map_err(|error| wrong_key(error.into()))?;
        let pair = CertifiedKey::new(chain.clone(), key);
        match pair.keys_match() {
            // For some types of keys it is unknown.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(Error::usage(format!(
                    "--tls-key {} is not the key of --tls-cert {}",
                    key_path.display(),
                    certificate_path.display()
                ))
                .hint(
                    "pass a matching pair; the certificate of the server must be the first in --tls-cert",
                ));
            }
            Err(error) => return Err(wrong_certificate(error.into())),
        }
        let setup = |error: rustls::Error| {
            Error::usage("cannot set up TLS").cause(error).hint("this is a bug: please report it")
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

    /// Whether the certificates, and so the key, are the same. If not, tickets of one are refused by the other, and every
    /// client sees the new certificate.
    pub(crate) fn is_same(&self, other: &Tls) -> bool {
        self.chain == other.chain
    }

    /// Performs the handshake, without a time limit.
    pub(crate) fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        self.acceptor.accept(stream)
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let chain = CertificateDer::pem_slice_iter(&fs::read(path)?).collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() { Err("it contains no certificate".into()) } else { Ok(chain) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Cause> {
    PrivateKeyDer::from_pem_slice(&fs::read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => "it contains no private key in a known format".into(),
        error => error.into(),
    })
}
