//! Output on a terminal: in colour there and nowhere else, in lines of at most 80 columns.

use std::fs::File;
use std::io::pipe;
use std::path::Path;
use std::process::Command;

use atelier_sample::Defects;
use atelier_testing::Server;

use crate::catalogue::{example, generated, load};
use crate::run::{Etl, Run};

/// Escape sequences, which switch colours.
const ESCAPE: char = '\u{1b}';

/// Runs the program on a terminal made by `script` of util-linux, which shows both outputs.
fn on_terminal(arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let program = env!("CARGO_BIN_EXE_atelier-etl");
    let quoted: Vec<String> =
        [&[program], arguments].concat().iter().map(|word| format!("'{word}'")).collect();
    let etl = Etl::of(Path::new("script"), ["-qec", &quoted.join(" "), "/dev/null"]);
    let etl = etl.env("TERM", "xterm-256color").env("ATELIER_PROGRESS", "none");
    environment.iter().fold(etl, |etl, (name, value)| etl.env(name, value)).run()
}

#[test]
fn colours_are_for_terminals() {
    let database = Server::shared().database();
    let url = database.url();
    let data = example().display().to_string();
    let load = ["load", "--data", &data, "--max-rejects", "50%", "--force", "--database-url", &url];
    let commands = [
        &load[..],
        &["check", "--data", &data, "--max-rejects", "50%"],
        &["status", "--database-url", &url],
        &["verify", "--database-url", &url],
        &["check", "--data", "nowhere"],
    ];
    assert!(Command::new("script").arg("--version").output().is_ok(), "script of util-linux is there");
    for arguments in commands {
        let plain = Etl::new(arguments).env("ATELIER_PROGRESS", "none").run();
        let (coloured, code) = (on_terminal(arguments, &[]), plain.code);
        assert_eq!(coloured.code, code, "{arguments:?}: {coloured:?}");
        assert!(coloured.stdout.contains(ESCAPE), "{arguments:?}: {}", coloured.stdout);
        assert!(!plain.stdout.contains(ESCAPE) && !plain.stderr.contains(ESCAPE), "{arguments:?}: {plain:?}");
        for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let without = on_terminal(arguments, &[variable]);
            assert_eq!(without.code, code, "{arguments:?}: {without:?}");
            assert!(!without.stdout.contains(ESCAPE), "{arguments:?}, {variable:?}: {}", without.stdout);
        }
    }
}

/// Except lines with paths or values from the files.
#[test]
fn lines_fit_a_terminal() {
    let database = Server::shared().database();
    let (catalogue, _) = generated(3_000, Defects::Heavy);
    let url = database.url();
    let loaded = load(&database, catalogue.path(), &["--max-rejects", "50%"]).succeeded();
    let again = load(&database, catalogue.path(), &["--max-rejects", "50%", "--keep-previous", "--force"])
        .succeeded();
    let unchanged = load(&database, catalogue.path(), &["--max-rejects", "50%"]).succeeded();
    database.execute("CREATE SCHEMA atelier_staging; CREATE TABLE atelier_staging.load (LIKE atelier.load)");
    let status = Etl::new(["status", "--database-url", &url]).run();
    let verify = Etl::new(["verify", "--database-url", &url]).run();
    let rollback = Etl::new(["rollback", "--database-url", &url]).run();
    for run in [loaded.run, again.run, unchanged.run, status, verify, rollback] {
        assert_eq!(run.code, 0, "{run:?}");
        for line in
            run.stdout.lines().filter(|line| !line.starts_with("  line ") && !line.contains(" are in "))
        {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
    for command in ["load", "check", "generate", "status", "verify", "rollback"] {
        let help = on_terminal(&[command, "--help"], &[("COLUMNS", "80"), ("NO_COLOR", "1")]);
        assert!(help.stdout.contains("Examples:\r\n  atelier-etl "), "{}", help.stdout);
        for line in help.stdout.lines() {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
    }
}

/// A failure to write the output is an error, unless it is a closed pipe.
#[test]
fn a_failure_to_print_is_an_error() {
    let data = example().display().to_string();
    let rejects = tempfile::tempdir().unwrap();
    let rejects = rejects.path().display().to_string();
    let check = ["check", "--data", &data, "--max-rejects", "50%", "--rejects", &rejects];
    for arguments in [&check[..], &["--help"], &["status", "--help"]] {
        let program = || Command::new(env!("CARGO_BIN_EXE_atelier-etl"));
        let full = program().args(arguments).stdout(File::create("/dev/full").unwrap()).output().unwrap();
        assert_eq!(full.status.code(), Some(2), "{arguments:?}");
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let gone = program().args(arguments).stdout(writer).output().unwrap();
        assert_eq!((gone.status.code(), &gone.stderr[..]), (Some(0), &b""[..]), "{arguments:?}");
    }
}
