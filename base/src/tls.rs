//! TLS to the database, with libpq's meaning of its parameters: `require` verifies nothing, unless there is a root
//! certificate; `verify-ca` verifies the chain, `verify-full` the host name too.

mod verify;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::conninfo::Parameters;
use crate::error::{Error, Result};
use verify::{Roots, Verifier};

pub(crate) struct TlsOptions {
    mode: Mode,
    /// `None`: the system's root certificates.
    root_certificate: Option<PathBuf>,
    revoked: Option<PathBuf>,
    /// Certificate and key of the client.
    client: Option<(PathBuf, PathBuf)>,
    versions: &'static [&'static SupportedProtocolVersion],
    sends_name: bool,
    pub(crate) negotiation: SslNegotiation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

const MODES: [(&str, Mode); 6] = [
    ("disable", Mode::Disable),
    ("allow", Mode::Allow),
    ("prefer", Mode::Prefer),
    ("require", Mode::Require),
    ("verify-ca", Mode::VerifyCa),
    ("verify-full", Mode::VerifyFull),
];

const TLS_1_2: &[&SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];
const TLS_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];
const UP_TO_1_2: &[&SupportedProtocolVersion] = &[&version::TLS12];

impl TlsOptions {
    /// `by_name`: every host reached by TCP has a name to verify.
    pub(crate) fn read(parameters: &Parameters, by_name: bool) -> Result<TlsOptions> {
        let system = parameters.get("sslrootcert") == Some("system");
        let unless_given =
            match (system, parameters.get("requiressl").is_some_and(|value| value.starts_with('1'))) {
                (true, _) => Mode::VerifyFull,
                (_, true) => Mode::Require,
                _ => Mode::Prefer,
            };
        let mode = parameters.choice("sslmode", &MODES, unless_given)?;
        if system && mode != Mode::VerifyFull {
            return Err(parameters.refusal("sslrootcert", "is system, which needs sslmode=verify-full"));
        }
        if mode == Mode::VerifyFull && !by_name {
            return Err(parameters.refusal(
                "sslmode",
                "is verify-full, which needs the name of the host: add host=NAME beside hostaddr",
            ));
        }
        let negotiation = [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
        let negotiation = parameters.choice("sslnegotiation", &negotiation, SslNegotiation::Postgres)?;
        if negotiation == SslNegotiation::Direct && matches!(mode, Mode::Disable | Mode::Allow | Mode::Prefer)
        {
            return Err(parameters.refusal(
                "sslnegotiation",
                "is direct, which needs sslmode=require, verify-ca or verify-full",
            ));
        }
        let at_least = [("TLSv1", false), ("TLSv1.1", false), ("TLSv1.2", false), ("TLSv1.3", true)];
        let only_1_3 = parameters.choice("ssl_min_protocol_version", &at_least, false)?;
        let versions = match (only_1_3, parameters.get("ssl_max_protocol_version") == Some("TLSv1.2")) {
            (false, false) => TLS_1_2,
            (true, false) => TLS_1_3,
            (false, true) => UP_TO_1_2,
            (true, true) => {
                return Err(
                    parameters.refusal("ssl_min_protocol_version", "is higher than ssl_max_protocol_version")
                );
            }
        };
        let file = |name: &str, of_home: &str| {
            let given = parameters.get(name).map(PathBuf::from);
            given.or_else(|| parameters.at_home(&format!(".postgresql/{of_home}")))
        };
        let certificate =
            file("sslcert", "postgresql.crt").filter(|_| parameters.get("sslcertmode") != Some("disable"));
        let client = match (certificate, file("sslkey", "postgresql.key")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => {
                return Err(Error::usage("there is no private key for the client certificate")
                    .hint("set sslkey to its file, or put it into ~/.postgresql/postgresql.key"));
            }
            (None, _) => None,
        };
        Ok(TlsOptions {
            mode,
            root_certificate: file("sslrootcert", "root.crt").filter(|_| !system),
            revoked: file("sslcrl", "root.crl"),
            client,
            versions,
            sends_name: parameters.choice("sslsni", &[("1", true), ("0", false)], true)?,
            negotiation,
        })
    }

    /// The modes in which a host is tried, until one is accepted. A Unix socket has no TLS.
    pub(crate) fn attempts(&self, socket: bool) -> &'static [SslMode] {
        match self.mode {
            _ if socket => &[SslMode::Disable],
            Mode::Disable => &[SslMode::Disable],
            Mode::Allow => &[SslMode::Disable, SslMode::Require],
            Mode::Prefer => &[SslMode::Prefer, SslMode::Disable],
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => &[SslMode::Require],
        }
    }

    /// Where all hosts are Unix sockets: no file is read.
    pub(crate) fn disable(self) -> TlsOptions {
        TlsOptions { mode: Mode::Disable, ..self }
    }

    /// Whether certificates are verified. As in libpq, a root certificate is used in every mode.
    fn verifies(&self) -> bool {
        match self.mode {
            Mode::Disable => false,
            Mode::VerifyCa | Mode::VerifyFull => true,
            Mode::Allow | Mode::Prefer | Mode::Require => self.root_certificate.is_some(),
        }
    }

    fn client(&self) -> Option<&(PathBuf, PathBuf)> {
        self.client.as_ref().filter(|_| self.mode != Mode::Disable)
    }

    /// The files that [`TlsOptions::connector`] reads.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let roots = [&self.root_certificate, &self.revoked].into_iter().flatten();
        let client = self.client().into_iter().flat_map(|(certificate, key)| [certificate, key]);
        roots.filter(|_| self.verifies()).chain(client).map(PathBuf::as_path)
    }

    /// Reads no file where no TLS connection will be made.
    pub(crate) fn connector(&self) -> Result<MakeRustlsConnect> {
        let provider = Arc::new(ring::default_provider());
        let setup = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::usage("cannot set up TLS").cause(cause).hint("this is a bug: please report it")
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .map_err(|error| setup(error.into()))?;
        let roots = if self.verifies() { Some(self.roots()?) } else { None };
        let verifier = Verifier::new(roots, self.mode == Mode::VerifyFull, provider)
            .map_err(|error| setup(error.into()))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.client() {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate, "client certificate", "sslcert")?;
                let wrong = |cause| unusable("client certificate", certificate, "sslcert", cause);
                builder
                    .with_client_auth_cert(chain, private_key(key)?)
                    .map_err(|error| wrong(error.into()))?
            }
        };
        config.enable_sni = self.sends_name;
        if self.negotiation == SslNegotiation::Direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(MakeRustlsConnect::new(config))
    }

    fn roots(&self) -> Result<Roots> {
        let revoked = self.revoked.as_ref().map_or(Ok(Vec::new()), |path| {
            let wrong = |cause| unusable("revocation list", path, "sslcrl", cause);
            let pem = fs::read(path).map_err(|error| wrong(error.into()))?;
            let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
            lists.map_err(|error| wrong(error.into()))
        })?;
        let mut store = RootCertStore::empty();
        let Some(path) = &self.root_certificate else {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return if store.is_empty() {
                Err(Error::usage("this system has no root certificates to verify the database with")
                    .hint("install ca-certificates, or set sslrootcert=FILE"))
            } else {
                Ok(Roots { store, certificates: Vec::new(), revoked })
            };
        };
        let certificates = certificates(path, "root certificate", "sslrootcert")?;
        for certificate in &certificates {
            let added = store.add(certificate.clone());
            added.map_err(|error| unusable("root certificate", path, "sslrootcert", error.into()))?;
        }
        Ok(Roots { store, certificates, revoked })
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn unusable(what: &str, path: &Path, parameter: &str, cause: Cause) -> Error {
    Error::usage(format!("cannot use the {what} {}", path.display()))
        .cause(cause)
        .hint(format!("set {parameter} in --database-url to a readable PEM file"))
}

fn certificates(path: &Path, what: &str, parameter: &str) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |cause| unusable(what, path, parameter, cause);
    let pem = fs::read(path).map_err(|error| wrong(error.into()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| wrong(error.into()))?;
    if all.is_empty() { Err(wrong("it contains no certificate".into())) } else { Ok(all) }
}

/// libpq's rule: the key has no group or world access, except the group of a file that root owns.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let wrong = |cause| unusable("private key", path, "sslkey", cause);
    let metadata = fs::metadata(path).map_err(|error| wrong(error.into()))?;
    let others = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & others != 0 {
        return Err(Error::usage(format!("cannot use the private key {}", path.display()))
            .cause("it has group or world access")
            .hint(format!("chmod 600 {}", path.display())));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| wrong(error.into()))
}
