use std::collections::HashMap;
use std::fs;

use super::parameters::Support::{No, Only, Yes};
use super::*;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Parameters> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Parameters::read(Some(text).filter(|text| !text.is_empty()), &|name| match name {
        "HOME" => Some(variables.get(name).unwrap_or(&"/nowhere").into()),
        _ => variables.get(name).map(Into::into),
    })
}

/// `name=value` of all that was given, by name.
fn given(text: &str, variables: &[(&str, &str)]) -> String {
    let parameters = read(text, variables).unwrap_or_else(|error| panic!("{text}: {error}"));
    let pairs = parameters.given.iter().map(|(name, (value, _))| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(" ")
}

/// What PostgreSQL's own uri-regress tests, and more, with what `psql` makes of each.
#[test]
fn both_forms_are_read_as_libpq_reads_them() {
    for (text, expected) in [
        (
            "postgresql://uri-user:secret@host:12345/db",
            "dbname=db host=host password=secret port=12345 user=uri-user",
        ),
        ("postgres://", ""),
        ("postgresql://host/", "host=host"),
        ("postgresql://uri-user@", "user=uri-user"),
        ("postgresql:///db?host=/a&user=b", "dbname=db host=/a user=b"),
        ("postgresql://host?", "host=host"),
        ("postgresql://a?host=b", "host=b"),
        ("postgresql://[::1]:12345,[2001:db8::1],b/db", "dbname=db host=::1,2001:db8::1,b port=12345,,"),
        ("postgresql://%2Fvar%2Flib/db", "dbname=db host=/var/lib"),
        ("postgresql://a:p:%40%2f%25@b", "host=b password=p:@/% user=a"),
        ("postgresql://a:p?q#r@b/c", "dbname=c host=b password=p?q#r user=a"),
        ("postgresql://h/d?user=me@server", "dbname=d host=h user=me@server"),
        ("postgresql://h/d?ssl=true", "dbname=d host=h sslmode=require"),
        ("host=a  port = 1 dbname='b c\\'d' user=e\\ f", "dbname=b c'd host=a port=1 user=e f"),
        ("host=a host=b sslrootcert=''", "host=b"),
        ("options='-c a=b -c c=d\\\\ e'", "options=-c a=b -c c=d\\ e"),
    ] {
        let read = if expected.is_empty() { "PGDATABASE" } else { "" };
        let found = given(text, &[(read, "")]);
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn precedence_is_that_of_libpq() {
    let home = tempfile::tempdir().unwrap();
    let (of_user, other) = (home.path().join(".pg_service.conf"), home.path().join("other"));
    fs::write(
        &of_user,
        "# a comment\n[other]\nhost=no\n\n [shop]\nhost=service\nport=2\ndbname=d=e\n[shop]\nuser=no\n",
    )
    .unwrap();
    fs::write(&other, "[shop]\nhost=other\n").unwrap();
    let (home, other) = (home.path().to_str().unwrap(), other.to_str().unwrap());
    for (text, variables, expected) in [
        ("", &[("PGHOST", "h"), ("PGPORT", "1"), ("PGUSER", "")][..], "host=h port=1"),
        ("port=3", &[("PGHOST", "h"), ("PGPORT", "1")], "host=h port=3"),
        (
            "service=shop port=3",
            &[("PGHOST", "h"), ("PGUSER", "u")],
            "dbname=d=e host=service port=3 service=shop user=u",
        ),
        ("", &[("PGSERVICE", "shop")], "dbname=d=e host=service port=2 service=shop"),
        (
            "",
            &[("PGSERVICE", "shop"), ("PGSERVICEFILE", other)],
            &format!("host=other service=shop servicefile={other}"),
        ),
    ] {
        let variables = [variables, &[("HOME", home)]].concat();
        assert_eq!(given(text, &variables), expected, "{text} {variables:?}");
    }
    let sessions = read("host=a", &[("PGTZ", "UTC"), ("PGGEQO", "off")]).unwrap();
    assert_eq!(sessions.settings, [("timezone", "UTC".to_owned()), ("geqo", "off".to_owned())]);
}

/// Everything that libpq knows is taken or refused by its name, from wherever it comes.
#[test]
fn no_parameter_is_ignored() {
    for (name, variable, support) in &KNOWN {
        let message = |result: Result<Parameters>| result.map(drop).map_err(|error| format!("{error:#}"));
        let given = message(read(&format!("host=a {name}=x"), &[]));
        match support {
            Yes => {}
            Only(_) | No => {
                let expected = format!("the connection parameter {name} is not supported");
                assert!(given.as_ref().is_err_and(|error| error.starts_with(&expected)), "{name}: {given:?}");
                let Some(variable) = variable else { continue };
                let given = message(read("host=a", &[(variable, "x")]));
                assert!(given.as_ref().is_err_and(|error| error.ends_with(variable)), "{name}: {given:?}");
                assert!(read("host=a", &[(variable, "")]).is_ok(), "{name}");
            }
        }
    }
    assert!(read("host=a gssencmode=disable client_encoding=UTF8", &[]).is_ok());
}

#[test]
fn messages_name_the_origin_and_show_no_value() {
    for (text, variables, expected) in [
        ("", &[][..], "no database given"),
        ("", &[("PGSSLMODE", "x")], "no database given"),
        ("host", &[], "a parameter has no ="),
        ("host=a sslmod=require", &[], "unknown connection parameter \"sslmod\""),
        ("host=a password=b c=secret", &[], "unknown connection parameter;"),
        ("host=a password=b secret d=e", &[], "quote values that contain spaces"),
        ("host=a password='secret", &[], "a quoted value is not terminated"),
        ("mysql://ann:secret@db/shop", &[], "it is not a postgresql:// URL"),
        ("postgresql://u:secret@b@h/d", &[], "it has one @ too many"),
        ("postgresql://u:sec/ret@h/d", &[], "it has one @ too many"),
        ("postgresql://u:secret%@h/d", &[], "% is not followed by two hexadecimal digits"),
        ("postgresql://u@h/d?secret", &[], "a parameter of the URL has no ="),
        ("postgresql://[::1/d", &[], "an IPv6 address has no ]"),
        (
            "service=secret",
            &[("PGSYSCONFDIR", "/nowhere")],
            "the connection service is not in any service file",
        ),
    ] {
        let error = read(text, variables).err().unwrap_or_else(|| panic!("{text}"));
        let error = format!("{error:#}");
        assert!(
            error.contains(expected) && !error.contains("secret") && !error.contains("ret@"),
            "{text}: {error}"
        );
    }
}
