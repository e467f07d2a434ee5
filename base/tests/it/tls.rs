//! TLS as in libpq: which certificates are trusted, which are sent, and when there is a second attempt.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use atelier_testing::Server;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use crate::connect::encrypted;

/// A certificate without alternative names, as PostgreSQL's documentation has `openssl req -x509` make one.
fn named(name: &str, is_ca: bool) -> CertificateParams {
    let mut certificate = CertificateParams::default();
    certificate.distinguished_name.push(DnType::CommonName, name);
    if is_ca {
        certificate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    certificate
}

/// Restarts the server with another certificate. The files keep their owner and mode.
fn use_certificate(server: &Server, certificate: &str, key: &KeyPair) {
    server.stop();
    fs::write(server.dir().join("server.crt"), certificate).unwrap();
    fs::write(server.dir().join("server.key"), key.serialize_pem()).unwrap();
    server.start_again();
}

fn file(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[tokio::test]
async fn certificates_are_trusted_as_openssl_trusts_them() {
    let (server, files) = (Server::start(&[]), tempfile::tempdir().unwrap());
    server.create_role("ann", "secret");
    let another = file(files.path(), "another", &fs::read_to_string(server.ca_certificate()).unwrap());
    let key = KeyPair::generate().unwrap();
    let self_signed = named("localhost", true).self_signed(&key).unwrap().pem();
    let leaf = named("localhost", false).self_signed(&key).unwrap().pem();
    let mut expired = named("localhost", true);
    expired.not_after = date_time_ymd(2020, 1, 1);
    let expired = expired.self_signed(&key).unwrap().pem();
    let authority =
        CertifiedIssuer::self_signed(named("authority", true), KeyPair::generate().unwrap()).unwrap();
    let signed = named("localhost", false).signed_by(&key, &authority).unwrap().pem();
    for (certificate, root, accepted) in [
        (&self_signed, &self_signed, true),
        (&leaf, &leaf, true),
        (&expired, &expired, false),
        (&signed, &authority.pem(), true),
        (&signed, &self_signed, false),
    ] {
        use_certificate(&server, certificate, &key);
        let root = file(files.path(), "root", root);
        let connects = async |rest: String| {
            let url = format!("port={} user=ann password=secret dbname=postgres {rest}", server.port());
            encrypted(&url).await
        };
        let (root, another) = (root.display(), another.display());
        for (rest, expected) in [
            (format!("host=localhost sslmode=verify-full sslrootcert={root}"), accepted),
            (format!("host=localhost hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={root}"), accepted),
            (format!("host=127.0.0.1 sslmode=verify-full sslrootcert={root}"), false),
            (format!("host=127.0.0.1 sslmode=verify-ca sslrootcert={root}"), accepted),
            (format!("hostaddr=127.0.0.1 sslmode=require sslrootcert={root}"), accepted),
            (format!("host=localhost sslmode=require sslrootcert={another}"), false),
            ("host=localhost sslmode=require".to_owned(), true),
        ] {
            let found = connects(rest.clone()).await;
            assert_eq!(found.as_ref().ok(), expected.then_some(&true), "{rest}: {found:?}");
        }
        // Without TLS, as libpq.
        let plain = connects(format!("host=localhost sslmode=prefer sslrootcert={another}")).await;
        assert_eq!(plain, Ok(false));
    }
}

#[tokio::test]
async fn a_second_attempt_finds_what_pg_hba_requires_and_a_client_certificate_is_sent() {
    let (server, files) = (Server::start(&[("ssl_ca_file", "../ca.crt")]), tempfile::tempdir().unwrap());
    let authority =
        CertifiedIssuer::self_signed(named("authority", true), KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = named("cleo", false).signed_by(&key, &authority).unwrap().pem();
    for role in ["ann", "bob", "cleo"] {
        server.create_role(role, "secret");
    }
    server.stop();
    fs::write(server.ca_certificate(), authority.pem()).unwrap();
    let hba = "local all all trust\nhostnossl all ann all trust\nhostssl all bob all trust\nhostssl all cleo all cert\n";
    fs::write(server.dir().join("data/pg_hba.conf"), hba).unwrap();
    server.start_again();
    let certificate = file(files.path(), "cleo.crt", &certificate);
    let key = file(files.path(), "cleo.key", &key.serialize_pem());
    let client = format!("sslcert={} sslkey={}", certificate.display(), key.display());
    for (rest, expected) in [
        ("user=ann sslmode=disable".to_owned(), Some(false)),
        ("user=ann sslmode=allow".to_owned(), Some(false)),
        ("user=ann sslmode=prefer".to_owned(), Some(false)),
        ("user=ann sslmode=require".to_owned(), None),
        ("user=bob sslmode=disable".to_owned(), None),
        ("user=bob sslmode=allow".to_owned(), Some(true)),
        ("user=bob sslmode=prefer".to_owned(), Some(true)),
        ("user=cleo sslmode=require".to_owned(), None),
        (format!("user=cleo sslmode=require {client}"), Some(true)),
        (format!("user=cleo sslmode=require sslcertmode=disable {client}"), None),
        (format!("user=bob sslmode=require ssl_min_protocol_version=TLSv1.3 {client}"), Some(true)),
    ] {
        let url = format!("host=localhost port={} dbname=postgres {rest}", server.port());
        let found = encrypted(&url).await;
        assert_eq!(found.as_ref().ok().copied(), expected, "{rest}: {found:?}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let url = format!("host=localhost port={} dbname=postgres user=cleo {client}", server.port());
    let refused = encrypted(&url).await.unwrap_err();
    assert!(refused.contains("it has group or world access") && refused.contains("chmod 600"), "{refused}");
}
