//! TLS to the database with libpq's meaning of `sslmode` and `sslrootcert`, which `tokio-postgres` leaves to its
//! caller: `require` encrypts and verifies nothing, `verify-ca` verifies who signed the certificate, `verify-full`
//! the host's name too.

use std::fs;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};

/// What a connection string says about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    mode: Mode,
    root_certificate: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Options {
    /// Takes `sslmode` and `sslrootcert` out of a connection string, a URL or key=value pairs.
    pub fn take(text: &str) -> Result<(String, Options), String> {
        let mut options = Options::default();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let Some((address, query)) = text.split_once('?') else { return Ok((text.into(), options)) };
            let mut kept = Vec::new();
            for pair in query.split('&') {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                if !options.set(key, &percent_decoded(value)?)? {
                    kept.push(pair);
                }
            }
            let separator = if kept.is_empty() { "" } else { "?" };
            return Ok((format!("{address}{separator}{}", kept.join("&")), options));
        }
        let mut kept = String::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (key, value, length) = key_value(rest)?;
            if !options.set(key, &value)? {
                kept.push_str(&rest[..length]);
                kept.push(' ');
            }
            rest = rest[length..].trim_start();
        }
        Ok((kept, options))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "sslmode" => {
                self.mode = match value {
                    "disable" => Mode::Disable,
                    "allow" | "prefer" => Mode::Prefer,
                    "require" => Mode::Require,
                    "verify-ca" => Mode::VerifyCa,
                    "verify-full" => Mode::VerifyFull,
                    _ => {
                        return Err(format!(
                            "sslmode is {value:?}, not disable, allow, prefer, require, verify-ca or verify-full"
                        ));
                    }
                }
            }
            "sslrootcert" => self.root_certificate = (value != "system").then(|| value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What `tokio-postgres` has to know: whether to ask for TLS and to insist on it.
    pub fn mode(&self) -> SslMode {
        match self.mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        }
    }

    /// Whether the server has to show a certificate for the name of its host.
    pub fn verifies_name(&self) -> bool {
        self.mode == Mode::VerifyFull
    }

    /// Makes TLS connections as the options say.
    pub fn connector(&self) -> Result<MakeRustlsConnect> {
        let provider = Arc::new(ring::default_provider());
        let setup = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::usage("TLS cannot be set up")
                .cause(cause)
                .hint("this is a fault of the program: please report it")
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(error.into()))?;
        // libpq: a root certificate beside `require` means `verify-ca`.
        let verify = match self.mode {
            Mode::Require if self.root_certificate.is_some() => Mode::VerifyCa,
            mode => mode,
        };
        let config = if verify == Mode::VerifyFull {
            builder.with_root_certificates(self.roots()?).with_no_client_auth()
        } else {
            let chain = match verify {
                Mode::VerifyCa => {
                    let roots = Arc::new(self.roots()?);
                    let verifier =
                        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
                    Some(verifier.map_err(|error| setup(error.into()))?)
                }
                _ => None,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyName { chain, provider }))
                .with_no_client_auth()
        };
        Ok(MakeRustlsConnect::new(config))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.root_certificate else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return if roots.is_empty() {
                Err(Error::usage("this system has no root certificates to verify the database with")
                    .hint("install ca-certificates, or name a file with sslrootcert=FILE"))
            } else {
                Ok(roots)
            };
        };
        let wrong = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::usage(format!("cannot use the root certificate {path}"))
                .cause(cause)
                .hint("name a readable PEM file with sslrootcert in --database-url")
        };
        let pem = fs::read(path).map_err(|error| wrong(error.into()))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| wrong(error.into()))?;
            roots.add(certificate).map_err(|error| wrong(error.into()))?;
        }
        if roots.is_empty() {
            return Err(wrong("it holds no certificate".into()));
        }
        Ok(roots)
    }
}

/// The first `key=value` of `text` and its length. Values may be quoted, with backslash escapes, as in libpq.
fn key_value(text: &str) -> Result<(&str, String, usize), String> {
    let (key, rest) = text.split_once('=').ok_or("a key without a value in the connection string")?;
    let start = text.len() - rest.trim_start().len();
    let mut value = String::new();
    let mut characters = text[start..].char_indices();
    let quoted = text[start..].starts_with('\'');
    if quoted {
        characters.next();
    }
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((key.trim(), value, start + at + 1)),
            _ if !quoted && character.is_whitespace() => return Ok((key.trim(), value, start + at)),
            _ => value.push(character),
        }
    }
    if quoted {
        return Err("a quote without end in the connection string".into());
    }
    Ok((key.trim(), value, text.len()))
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        // from_str_radix would take a sign too.
        let code = tail.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let byte = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.ok_or("a % without two hexadecimal digits in the URL")?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| "a parameter of the URL is not UTF-8".into())
}

/// Verifies the chain if there is one to verify against, and never the name.
#[derive(Debug)]
struct AnyName {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_its_own_keys_and_leaves_the_others() {
        let take = |text: &str| {
            let (rest, options) = Options::take(text).unwrap();
            (rest, options.mode, options.root_certificate)
        };
        let root = |path: &str| Some(path.to_owned());
        assert_eq!(
            take("postgresql://a@b/c?sslmode=verify-full&application_name=x&sslrootcert=%2Fa%20b.pem"),
            ("postgresql://a@b/c?application_name=x".into(), Mode::VerifyFull, root("/a b.pem"))
        );
        assert_eq!(
            take("host=b sslrootcert = '/a \\'b.pem' sslmode=verify-ca user='x y'"),
            ("host=b user='x y' ".into(), Mode::VerifyCa, root("/a 'b.pem"))
        );
        assert_eq!(
            take("postgresql://a@b/c?sslmode=disable"),
            ("postgresql://a@b/c".into(), Mode::Disable, None)
        );
        assert_eq!(take("host=b"), ("host=b ".into(), Mode::Prefer, None));
    }

    #[test]
    fn what_is_not_percent_encoded_is_refused() {
        for value in ["%", "%2", "%2g", "%+f", "%ff"] {
            let url = format!("postgresql://a@b/c?sslrootcert={value}");
            assert!(Options::take(&url).is_err(), "{value}");
        }
    }
}
