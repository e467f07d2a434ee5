//! Verifies the database's certificate as OpenSSL and libpq do. rustls refuses two kinds of certificates that the
//! documentation of PostgreSQL creates: a self-signed one that is its own root, and one that has the host only as its
//! common name.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

pub(super) struct Roots {
    pub(super) store: RootCertStore,
    /// The same, if they are the user's: a server may use one of them itself.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) revoked: Vec<CertificateRevocationListDer<'static>>,
}

/// Verifies the chain if there are roots, and the host name if `name`.
#[derive(Debug)]
pub(super) struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    own_roots: Vec<CertificateDer<'static>>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(
        roots: Option<Roots>,
        name: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Verifier, VerifierBuilderError> {
        let Some(Roots { store, certificates, revoked }) = roots else {
            return Ok(Verifier { chain: None, own_roots: Vec::new(), name, provider });
        };
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
            .with_crls(revoked)
            .build()?;
        Ok(Verifier { chain: Some(chain), own_roots: certificates, name, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let verified = if self.own_roots.contains(end_entity) {
            verify_dates(end_entity, now).and_then(|()| verify_name(end_entity, server_name))
        } else {
            // It verifies the name last.
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map(drop)
        };
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name || is_common_name(end_entity, server_name) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified.map(|()| ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn parsed(certificate: &CertificateDer<'_>) -> Result<Certificate, rustls::Error> {
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

fn verify_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let validity = parsed(certificate)?.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn verify_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), rustls::Error> {
    match ParsedCertificate::try_from(certificate) {
        Ok(certificate) => verify_server_name(&certificate, name),
        // Of version 1, which has only a common name.
        Err(_) => Err(CertificateError::NotValidForName.into()),
    }
}

/// Whether `name` is the certificate's common name, which libpq uses if there are no alternative names of the same kind.
fn is_common_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let Ok(certificate) = parsed(certificate) else { return false };
    let name = name.to_str();
    let is_address = name.parse::<IpAddr>().is_ok();
    let alternatives = certificate.tbs_certificate.get::<SubjectAltName>();
    let counts = match alternatives {
        Ok(alternatives) => !alternatives.is_some_and(|(_, names)| {
            names.0.iter().any(|name| match name {
                GeneralName::DnsName(_) => !is_address,
                GeneralName::IpAddress(_) => is_address,
                _ => false,
            })
        }),
        Err(_) => false,
    };
    let mut attributes = certificate.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter());
    let common = attributes.find(|attribute| attribute.oid == COMMON_NAME);
    let common = common.and_then(|attribute| std::str::from_utf8(attribute.value.value()).ok());
    counts && common.is_some_and(|common| fits(common, &name, is_address))
}

/// As libpq's `wildcard_certificate_match`: `*.` is one label.
fn fits(pattern: &str, name: &str, is_address: bool) -> bool {
    if pattern.eq_ignore_ascii_case(name) {
        return true;
    }
    let (Some(domain), Some((label, rest))) = (pattern.strip_prefix("*."), name.split_once('.')) else {
        return false;
    };
    !is_address && !label.is_empty() && domain.contains('.') && domain.eq_ignore_ascii_case(rest)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_wildcard_is_one_label() {
        for (pattern, name, expected) in [
            ("db.example", "DB.example", true),
            ("*.db.example", "a.db.example", true),
            ("*.db.example", "db.example", false),
            ("*.db.example", "a.b.db.example", false),
            ("*.example", "db.example", false),
            ("*", "db", false),
            ("db.example", "db.example.org", false),
            ("*.0.0.1", "127.0.0.1", false),
        ] {
            assert_eq!(
                fits(pattern, name, name.parse::<std::net::IpAddr>().is_ok()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
