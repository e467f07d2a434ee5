//! A private certificate authority, and a certificate that it has signed.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// The certificate of `localhost` and 127.0.0.1. Everything is PEM.
pub struct Certificates {
    pub authority: String,
    /// Signed by the authority.
    pub certificate: String,
    /// The private key of `certificate`.
    pub key: String,
}

impl Certificates {
    pub fn new() -> Certificates {
        let mut authority = CertificateParams::default();
        // Its name must not be the server's, or OpenSSL takes the server's certificate for self-signed.
        authority.distinguished_name.push(DnType::CommonName, "authority of the tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        server.distinguished_name.push(DnType::CommonName, "localhost");
        let server = server.signed_by(&key, &authority).unwrap();
        Certificates { authority: authority.pem(), certificate: server.pem(), key: key.serialize_pem() }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}
