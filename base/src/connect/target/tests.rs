use std::ffi::OsString;

use proptest::prelude::*;

use super::super::refused::without_passwords;
use super::*;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Target> {
    Target::read(Some(text), &|name| match name {
        "HOME" => Some("/nowhere".into()),
        _ => variables.iter().find(|(given, _)| *given == name).map(|(_, value)| OsString::from(value)),
    })
}

fn target(text: &str) -> Target {
    read(text, &[]).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn both_forms_of_connection_strings_are_described_without_the_password() {
    for (text, expected) in [
        ("postgresql://ann:secret@db.example:6543/shop", "database \"shop\" at db.example:6543 as ann"),
        (
            "host=a,b port=5433 user=ann password=secret dbname=shop",
            "database \"shop\" at a:5433,b:5433 as ann",
        ),
        (
            "postgresql://ann@%2Ftmp%2Fpg/shop?sslmode=verify-full",
            "database \"shop\" at /tmp/pg/.s.PGSQL.5432 as ann",
        ),
        ("dbname=shop", "database \"shop\" at /var/run/postgresql/.s.PGSQL.5432"),
        ("user=ann", "database \"ann\" at /var/run/postgresql/.s.PGSQL.5432 as ann"),
        ("hostaddr=127.0.0.1,::1 user=ann", "database \"ann\" at 127.0.0.1:5432,::1:5432 as ann"),
        ("host=a,b hostaddr=,::1 port=1, user=ann", "database \"ann\" at a:1,b:5432 as ann"),
    ] {
        let found = target(text).to_string();
        assert!(found.starts_with(expected), "{text}: {found}");
    }
}

#[test]
fn lists_of_different_lengths_and_invalid_values_are_refused() {
    for text in [
        "host=a,b hostaddr=127.0.0.1",
        "host=a,b port=1,2,3",
        "host=a port=0",
        "host=a port=65536",
        "host=a port=x",
        "hostaddr=localhost",
        "host=@abstract",
        "host=a sslmode=always",
        "host=a sslmode=prefer sslrootcert=system",
        "host=a sslmode=prefer sslnegotiation=direct",
        "hostaddr=127.0.0.1 sslmode=verify-full",
        "hostaddr=127.0.0.1 sslrootcert=system",
        "host=a,/tmp hostaddr=,127.0.0.1,",
        "host=a connect_timeout=soon",
        "host=a target_session_attrs=master",
        "host=a channel_binding=maybe",
        "host=a ssl_min_protocol_version=SSLv3",
        "host=a ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
        "host=a sslcert=/nowhere/a.crt",
        "host=a passfile=/nowhere",
    ] {
        let error = read(text, &[]).err().unwrap_or_else(|| panic!("{text}"));
        assert_eq!(error.class().exit_code(), 2, "{text}");
    }
    assert!(
        read("host=a", &[("PGSSLMODE", "no")])
            .err()
            .unwrap()
            .to_string()
            .starts_with("cannot read PGSSLMODE")
    );
}

#[test]
fn times_have_the_units_of_libpq() {
    let silence = |text: &str| {
        let target = target(text);
        [target.silence(), target.for_bulk().silence()].map(|silence| silence.as_millis())
    };
    assert_eq!(silence("host=a"), [60_000, 600_000]);
    assert_eq!(silence("host=a tcp_user_timeout=7000"), [7000, 7000]);
    // The same as where none is given, but on purpose.
    assert_eq!(silence("host=a tcp_user_timeout=60000"), [60_000, 60_000]);
    assert_eq!(silence("postgresql://a/b?tcp_user_timeout=0"), [900_000, 900_000]);
    for (text, expected) in [
        ("host=a", Some(10)),
        ("host=a connect_timeout=1", Some(2)),
        ("host=a connect_timeout=3", Some(3)),
        ("host=a connect_timeout=0", None),
        ("host=a connect_timeout=-1", None),
    ] {
        assert_eq!(target(text).limit.map(|limit| limit.as_secs()), expected, "{text}");
    }
    let probes = |text: &str| {
        let config = target(text).config;
        let seconds = |time: Duration| time.as_secs();
        let (interval, count) =
            (config.get_keepalives_interval().map(seconds), config.get_keepalives_retries());
        (config.get_keepalives(), seconds(config.get_keepalives_idle()), interval, count)
    };
    assert_eq!(probes("host=a"), (true, 30, Some(10), Some(3)));
    assert_eq!(probes("host=a keepalives=0"), (false, 30, Some(10), Some(3)));
    assert_eq!(probes("host=a keepalives_idle=5"), (true, 5, None, None));
    assert_eq!(probes("host=a keepalives_idle=0 keepalives_count=2"), (true, 7200, None, Some(2)));
}

#[test]
fn settings_follow_the_options_of_the_user() {
    let ours = [("search_path", "a b\\".to_owned()), ("default_transaction_read_only", "on".to_owned())];
    for (text, variables, expected) in [
        (
            "host=a",
            &[][..],
            r"-c search_path=a\ b\\ -c default_transaction_read_only=on -c atelier.session=m",
        ),
        (
            "host=a options='-c x=1' target_session_attrs=read-write",
            &[("PGTZ", "UTC"), ("PGOPTIONS", "-c y=2")],
            r"-c timezone=UTC -c x=1 -c search_path=a\ b\\ -c atelier.session=m",
        ),
        (
            "host=a target_session_attrs=any",
            &[("PGOPTIONS", "-c y=2")],
            r"-c y=2 -c search_path=a\ b\\ -c default_transaction_read_only=on -c atelier.session=m",
        ),
    ] {
        assert_eq!(read(text, variables).unwrap().with(&ours).options("m"), expected, "{text}");
    }
}

#[test]
fn an_empty_password_is_none_and_each_host_has_its_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "a:5432:*:*:of a\nb:*:*:*:of b\nlocalhost:*:*:*:of the socket\n").unwrap();
    let path = file.path().to_str().unwrap();
    let passwords = |text: &str, variables: &[(&str, &str)]| {
        let target = read(text, variables).unwrap();
        let of = |host| {
            target.password(host).unwrap().password.map(|password| String::from_utf8(password).unwrap())
        };
        target.hosts.iter().map(of).map(Option::unwrap_or_default).collect::<Vec<_>>()
    };
    let named = [("PGPASSWORD", ""), ("PGPASSFILE", path)];
    assert_eq!(passwords("host=a,b,c,", &named), ["of a", "of b", "", "of the socket"]);
    assert_eq!(passwords("host=a password=", &named), ["of a"]);
    assert_eq!(passwords("host=a password=given", &named), ["given"]);
    assert_eq!(passwords(&format!("host=a passfile={path}"), &[]), ["of a"]);
    assert_eq!(passwords("host=a", &[("PGPASSWORD", "of all"), ("PGPASSFILE", path)]), ["of all"]);
}

#[test]
fn a_connection_string_in_the_wrong_place_shows_nothing() {
    for (said, expected) in [
        (
            "unexpected argument 'postgresql://u:p@h' found\n\nUsage: x\n",
            "unexpected argument 'postgresql…\n\nUsage: x\n",
        ),
        ("'host=a password=p q=://' found", "'host=a …\n"),
        ("'host=a'", "'host=a'\n"),
    ] {
        assert_eq!(without_passwords(said), expected);
    }
}

/// With letters that are in no message of ours.
const LETTERS: &str = "JKQWXYZ";

fn password() -> impl Strategy<Value = String> {
    "[JKQWXYZ/?#:@%&= ',\\\\]{3,16}"
}

/// Every way to write a password down, sound or not.
fn ways(password: &str) -> Vec<(String, Vec<(&'static str, String)>)> {
    let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
    let mut all: Vec<_> = [
        format!("postgresql://ann:{password}@db/shop"),
        format!("postgresql://ann:{password}@db:1,b:2/shop?sslmode=disable"),
        format!("postgresql://ann:{encoded}@db/shop"),
        format!("postgresql://db/shop?password={password}&user=ann"),
        format!("postgresql://db/shop?user=ann&password={encoded}&nonsense=x"),
        format!("host=db password={password} user=ann"),
        format!("host=db password='{password} user=ann"),
        format!("host=db password='{quoted}' user=ann sslmode=x"),
        format!("host=db user=ann password='{password}' port=1"),
        format!("mysql://ann:{password}@db/shop"),
    ]
    .map(|text| (text, Vec::new()))
    .into();
    all.push(("host=db user=ann".into(), vec![("PGPASSWORD", password.into())]));
    all.push(("host=db user=ann sslmode=x".into(), vec![("PGPASSWORD", password.into())]));
    all.push(("host=db user=ann".into(), vec![("PGOPTIONS", format!("-c a.b={password}"))]));
    all
}

/// Whatever becomes of a connection string, and of what a server repeats of it.
fn said(text: &str, variables: &[(&str, &str)], password: &str) -> String {
    match read(text, variables) {
        Err(error) => format!("{error} {error:?}"),
        Ok(target) => match &target.password {
            Password::Given(given) if given == password => {
                let refused = target.refused(&format!("FATAL: {password}"), Advice::ABSENT);
                format!("{target} {}", refused.error)
            }
            _ => target.to_string(),
        },
    }
}

proptest! {
    #[test]
    fn no_message_has_three_characters_of_a_password(password in password()) {
        for (text, variables) in ways(&password) {
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let said = said(&text, &variables, &password);
            let characters: Vec<char> = password.chars().collect();
            let pieces = characters.windows(3).map(|piece| piece.iter().collect::<String>());
            for piece in pieces.filter(|piece| piece.contains(|letter| LETTERS.contains(letter))) {
                prop_assert!(!said.contains(&piece), "{text}: {said}");
            }
        }
    }
}
