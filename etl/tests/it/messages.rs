//! Every message of the program, provoked one by one and listed in `messages.txt`: what went wrong, where, and what to
//! do. `UPDATE_EXPECT=1 cargo test -p atelier-etl --test it messages` writes that file anew, to be read before it is
//! kept.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use atelier_testing::{Database, Server};
use atelier_testing::{Messages, unlisted};
use expect_test::expect_file;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::catalogue::example;
use crate::failures::gate::{Gate, Place};
use crate::run::{Etl, Run};

const ABOUT: &str = "\
Every message of atelier-etl: the command, what it said, its exit code. Written by messages.rs, which says how.
Names in capitals stand for what differs from run to run.";

/// Messages that are not provoked here, as they are written in the source, and why not.
const NOT_HERE: &[(&str, &str)] = &[
    ("COPY has ended", "never seen: what ended it is"),
    ("cannot set up TLS", FAULT),
    ("cannot use the private key {}", "base/tests/it/tls.rs"),
    ("cannot take the lock of a lane", "as that of a load"),
    ("no user given", "a process without an account"),
    ("a thread that converts {} panicked", FAULT),
    ("{records} records were read, but {accepted} accepted and {rejected} rejected", FAULT),
    ("{}: {sent} rows were accepted, but {verb} {found}", FAULT),
    ("cannot read {} back", FAULT),
    ("cannot start", LIMITS),
    ("cannot generate {} products", "clap checks it"),
    ("cannot start a thread to read files", LIMITS),
    ("cannot start threads", LIMITS),
    ("cannot commit {}", LOST),
    ("cannot count the rows of {}", LOST),
    ("cannot query the published tables", LOST),
    ("cannot query the schemas", LOST),
    ("cannot query the contents of the schemas", LOST),
    ("cannot query what depends on the catalogue", LOST),
    ("cannot count the connections", LOST),
    ("cannot query the data directory", LOST),
    (
        "the database's disk ({directory}) has {} MB free, and the load needs about {} MB",
        "failures/needs.rs, which mounts a small disk",
    ),
    ("cannot create the schema atelier_staging", LOST),
    ("cannot query the size of the tables", LOST),
    ("cannot set up a session", LOST),
    ("cannot take the lock of a load", LOST),
    ("cannot write the table load", LOST),
    ("cannot write to standard output", "terminal.rs"),
    ("cannot read the size of", "of a directory that cannot be entered; root can enter all"),
    ("cannot replace", "of a directory that changes while files are generated into it"),
    ("load {} was published while load {} was read back", "verify.rs"),
    ("the database is PostgreSQL {}", "needs PostgreSQL 13"),
    ("{} changed while it was read", "failures/middle.rs"),
];

const FAULT: &str = "a fault of the program, or of the database";
const LIMITS: &str = "limits on threads, which do not hold for root";
const LOST: &str = "a session that ends at just that moment: as where it is struck";

/// A load of the hand-made catalogue, whose defects are more than the usual limit allows.
const LOAD: &[&str] = &["load", "--max-rejects", "50%"];

/// What happens to a load that is held at a gate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Strike {
    /// Its waiting session is terminated.
    Session,
    /// The session that holds its lock is terminated.
    Control,
    /// Its waiting statement is cancelled.
    Statement,
    /// Ctrl-C.
    Interrupt,
    /// Another load.
    Another,
}

/// A directory in which the program runs, so that all paths in its messages are short and do not vary.
struct Bench {
    place: TempDir,
    messages: Messages,
}

impl Bench {
    /// With the hand-made catalogue in `data`.
    fn new() -> Bench {
        let bench = Bench { place: tempfile::tempdir().unwrap(), messages: Messages::new(ABOUT) };
        bench.copy("data");
        bench
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join(name)
    }

    /// A copy of the hand-made catalogue, to be damaged.
    fn copy(&self, name: &str) {
        fs::create_dir(self.path(name)).unwrap();
        for file in fs::read_dir(example()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), self.path(name).join(file.file_name())).unwrap();
        }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn etl(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Etl {
        let mut etl = Etl::new(arguments).env("ATELIER_PROGRESS", "none");
        etl.command().current_dir(self.place.path());
        environment.iter().fold(etl, |etl, (name, value)| etl.env(name, value))
    }

    /// Runs the program and lists its standard error, and its standard output without summaries.
    fn say(&mut self, arguments: &[&str]) {
        self.say_with(arguments, &[]);
    }

    fn say_with(&mut self, arguments: &[&str], environment: &[(&str, &str)]) {
        let run = self.etl(arguments, environment).run();
        let quoted = arguments.iter().map(|argument| {
            match argument.contains([' ', '\'', '&']) || argument.is_empty() {
                true => format!("\"{argument}\""),
                false => (*argument).to_owned(),
            }
        });
        let variables = environment.iter().map(|(name, value)| format!("{name}={value}"));
        let command: Vec<String> = variables.chain(["atelier-etl".to_owned()]).chain(quoted).collect();
        self.list(&command.join(" "), &run);
    }

    /// The same with a database in this `situation`. Its URL is not shown.
    fn say_on(&mut self, situation: &str, url: &str, arguments: &[&str]) {
        let run = self.etl(arguments, &[("DATABASE_URL", url)]).run();
        self.list(&format!("atelier-etl {}    # {situation}", arguments.join(" ")), &run);
    }

    /// Lists the output of a run.
    fn list(&mut self, command: &str, run: &Run) {
        // Summaries have their own tests, and their numbers vary.
        let has_summary = run.stdout.lines().any(|line| line.starts_with("table "));
        let is_message = |line: &&str| {
            let words = [
                "warning: ",
                "the files ",
                "load ",
                "previous ",
                "staging ",
                "          the ",
                "the published ",
            ];
            !has_summary || words.iter().any(|word| line.starts_with(word))
        };
        let without_numbers =
            |line| if str::starts_with(line, "the files ") { "the files can be loaded: …" } else { line };
        let out: Vec<&str> = run.stdout.lines().filter(is_message).map(without_numbers).collect();
        self.messages.add(command, run.code, format!("{}\n{}", out.join("\n"), run.stderr).trim());
    }

    /// Replaces ports and paths of a server by names.
    fn name_server(&mut self, server: &Server) {
        self.messages.name(format!("127.0.0.1:{}", server.port()), "HOST:PORT");
        self.messages.name(format!("localhost:{}", server.port()), "HOST:PORT");
        self.messages.name(format!("127.0.0.2:{}", server.port()), "HOST:PORT");
        self.messages.name(format!("{}/.s.PGSQL.{}", server.dir().display(), server.port()), "SOCKET");
    }

    /// Does `strike` to a load that is held at `place`.
    fn strike(&mut self, database: &Database<'_>, place: Place, strike: Strike, arguments: &[&str]) {
        let gate = Gate::close(database, place);
        let url = database.url();
        // With one job it is always the same table.
        let load = self.etl(arguments, &[("DATABASE_URL", &url), ("ATELIER_JOBS", "1")]).spawn();
        let backend = gate.wait();
        let control = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND application_name = 'atelier-etl'";
        match strike {
            Strike::Session => database.execute(&format!("SELECT pg_terminate_backend({backend})")),
            Strike::Control => database.execute(control),
            Strike::Statement => database.execute(&format!("SELECT pg_cancel_backend({backend})")),
            Strike::Interrupt => load.signal(Signal::SIGINT),
            Strike::Another => {
                self.say_on("another load is running", &url, arguments);
                load.signal(Signal::SIGINT);
            }
        }
        let run = load.finish();
        if strike != Strike::Another {
            let situation = format!("struck at {place:?}: {strike:?}").to_lowercase();
            self.list(&format!("atelier-etl {}    # {situation}", arguments.join(" ")), &run);
        }
        drop(gate);
    }

    /// Checks a catalogue of which one file was damaged.
    fn damaged(&mut self, name: &str, damage: impl FnOnce(&Path)) {
        self.copy(name);
        damage(&self.path(name));
        self.say(&["check", "--data", name]);
    }
}

#[test]
fn every_message() {
    let mut bench = Bench::new();
    // It becomes a standby, and has another certificate authority.
    let other = Server::start(&[("wal_level", "replica")]);
    command_line(&mut bench);
    outputs(&mut bench);
    files(&mut bench);
    connections(&mut bench, &other);
    databases(&mut bench, &other);
    published(&mut bench);
    let text = bench.messages.text();
    expect_file!["messages.txt"].assert_eq(text);

    let sources = ["src", "../base/src", "../sample/src"]
        .map(|source| Path::new(env!("CARGO_MANIFEST_DIR")).join(source));
    let mut missing = sources.map(|source| unlisted(&source, text)).concat();
    let mut explained: Vec<&str> = NOT_HERE.iter().map(|(message, _)| *message).collect();
    missing.sort();
    missing.dedup();
    explained.sort();
    assert_eq!(missing, explained, "neither provoked nor explained, or explained in vain");
}

fn command_line(bench: &mut Bench) {
    bench.messages.section("The command line");
    let nobody = "postgresql://ann@db.example/shop";
    for arguments in [
        &["laod"][..],
        &["load", "--jbos", "2"],
        &["load", "--jobs", "two"],
        &["load", "--wait", "soon"],
        &["load", "--progress", "loud"],
        &["load", "csv"],
        &["generate"],
        &["generate", "--out", "csv", "--products", "0"],
        &["generate", "--out", "csv", "--defects", "some"],
        &["load"],
        &["status"],
        &["check", "--jobs", "0"],
        &["check", "--max-rejects", "many"],
        &["load", "--database-url", ""],
        &["load", "--database-url", "postgresql://ann:secret@db:port/shop"],
        &["load", "--database-url", "postgresql://ann:p@:/secret@db/shop"],
        &["load", "--database-url", "mysql://ann:secret@db/shop"],
        &["load", "--database-url", "host=db sslmode=always"],
        &["load", "--database-url", "host=db password='secret"],
        &["load", "--database-url", "postgresql://ann@db/shop?sslrootcert=%zz"],
        &["load", "--database-url", "postgresql://ann@db/shop?sslrootcert=%ff"],
        &["load", "--database-url", "postgresql://ann@db/shop?sslmode=verify-ca&sslrootcert=ca.pem"],
        &["load", "--database-url", "postgresql://ann:a@b@db/shop"],
        &["load", "postgresql://ann:secret@db/shop"],
        &["load", "--database-url", "postgresql://ann@db/shop?sslmod=require"],
        &["load", "--database-url", "hostaddr=127.0.0.1 sslmode=verify-full"],
        &["load", "--database-url", "host=db requirepeer=postgres"],
        &["load", "--database-url", "host=db gssencmode=require"],
        &["load", "--database-url", "host=db tcp_user_timeout=1min"],
        &["load", "--database-url", "service=shop"],
        &["load", "--database-url", "host=db sslcert=ann.crt"],
    ] {
        bench.say(arguments);
    }
    bench.say_with(&["status"], &[("PGHOST", "db"), ("PGSSLMODE", "always")]);
    bench.say_with(&["status"], &[("PGHOST", "db"), ("PGREQUIREAUTH", "scram-sha-256")]);
    bench.write("ann.crt", "");
    bench.write("ann.key", "");
    bench.say(&["status", "--database-url", "host=db sslcert=ann.crt sslkey=ann.key"]);
    bench.write("empty.pem", "");
    let url = "postgresql://ann@db/shop?sslmode=verify-full&sslrootcert=empty.pem";
    bench.say(&["status", "--database-url", url]);
    bench.say_with(&["status", "--database-url", nobody], &[("PGPASSFILE", "pgpass")]);
    bench.write("pgpass", "*:*:*:*:secret\n");
    fs::set_permissions(bench.path("pgpass"), Permissions::from_mode(0o644)).unwrap();
    bench.say_with(&["status", "--database-url", nobody], &[("PGPASSFILE", "pgpass")]);
}

fn outputs(bench: &mut Bench) {
    bench.messages.section("What is to be written");
    bench.say(&["check", "--max-rejects", "50%", "--report", "/dev/full"]);
    bench.say(&["check", "--rejects", "data"]);
    bench.say(&["check", "--report", "data/skus.csv"]);
    bench.say(&["check", "--report", "rejects/skus.csv"]);
    bench.say(&["check", "--report", "missing/report.json"]);
    bench.write("file", "");
    bench.say(&["check", "--rejects", "file"]);
    bench.say(&["generate", "--out", "file"]);
    bench.say(&["generate", "--out", "data"]);
    fs::create_dir_all(bench.path("taken/skus.csv")).unwrap();
    bench.say(&["check", "--rejects", "taken"]);
    fs::create_dir_all(bench.path("partial/skus.csv.partial")).unwrap();
    bench.say(&["check", "--rejects", "partial"]);
    fs::create_dir(bench.path("busy")).unwrap();
    let busy = fs::File::open(bench.path("busy")).unwrap();
    busy.lock().unwrap();
    bench.say(&["check", "--rejects", "busy"]);
}

fn files(bench: &mut Bench) {
    bench.messages.section("The files");
    bench.say(&["check", "--data", "nowhere"]);
    bench.say(&["check", "--data", "postgresql://ann:secret@db.example/shop"]);
    bench.damaged("twice", |data| {
        fs::copy(data.join("skus.csv"), data.join("sku.csv")).unwrap();
    });
    bench.damaged("directory", |data| {
        fs::remove_file(data.join("photos.csv")).unwrap();
        fs::create_dir(data.join("photos.csv")).unwrap();
    });
    let styles =
        |content: &'static [u8]| move |data: &Path| fs::write(data.join("styles.csv"), content).unwrap();
    bench.damaged("nothing", styles(b""));
    bench.damaged("zip", styles(b"PK\x03\x04\x14\0"));
    bench.damaged("delimiter", styles(b"sep=^\nid^productId"));
    bench.damaged("invisible", styles("id,product\u{200b}Id\n".as_bytes()));
    bench.damaged("cr", styles(b"id,productId,name,sale_price,original_price,default_style\r1,1,a,,5,1\r"));
    bench.damaged("header", styles(b"id,\"product\"Id\n"));
    bench.damaged("column", styles(b"id,productId,name,sale_price,default_style\n1,1,a,null,1\n"));
    bench.damaged("columns", styles(b"id,id,productId,name,sale_price,original_price,default_style\n"));
    bench.damaged("wide", |data| fs::write(data.join("styles.csv"), vec![b','; 5_000]).unwrap());
    bench.damaged("long", |data| fs::write(data.join("styles.csv"), vec![b'x'; 2 << 20]).unwrap());
    bench.damaged("products", |data| {
        let text = fs::read_to_string(data.join("product.csv")).unwrap();
        fs::write(data.join("product.csv"), text.lines().next().unwrap()).unwrap();
    });
    bench.damaged("cut", |data| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&fs::read(data.join("photos.csv")).unwrap()).unwrap();
        let compressed = gzip.finish().unwrap();
        fs::write(data.join("photos.csv.gz"), &compressed[..compressed.len() - 20]).unwrap();
        fs::remove_file(data.join("photos.csv")).unwrap();
    });
    bench.damaged("rejected", |_| ());
    bench.damaged("loop", |data| {
        fs::remove_file(data.join("photos.csv")).unwrap();
        std::os::unix::fs::symlink("photos.csv", data.join("photos.csv")).unwrap();
    });
    bench.copy("warned");
    bench.write("warned/related.csv", "id,current_product_id,related_product_id,weight\n");
    bench.write("warned/features.csv", "id,product_id,feature,value\n1,1,\"Fit\",\"a\n2,1,b,c\n\"\n");
    bench.say(&["check", "--data", "warned", "--max-rejects", "50%"]);
}

fn connections(bench: &mut Bench, other: &Server) {
    bench.messages.section("The way to the database");
    let server = Server::shared();
    let database = server.database();
    let ca = other.ca_certificate().display().to_string();
    server.create_role("messages_ann", "secret");
    server.execute("CREATE ROLE messages_crowd LOGIN PASSWORD 'secret' CONNECTION LIMIT 0");
    server.execute("CREATE ROLE messages_group PASSWORD 'secret'");
    bench.name_server(server);
    let ann = database.url_of("messages_ann", "secret");
    let full = database.tls_url("verify-full");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silence = silent.local_addr().unwrap();
    bench.messages.name(free, "HOST:PORT");
    bench.messages.name(silence, "HOST:PORT");
    for (situation, url) in [
        ("nobody listens", format!("postgresql://ann@{free}/shop")),
        ("no such socket", "host=/no/such/place dbname=shop user=ann".to_owned()),
        ("nobody answers", format!("postgresql://ann@{silence}/shop?connect_timeout=1")),
        ("a wrong password", database.url_of("messages_ann", "wrong")),
        ("no password", database.url_of("messages_ann", "").replace(":@", "@")),
        ("no such database", ann.replace(database.name(), "no_such")),
        ("too many sessions", database.url_of("messages_crowd", "secret")),
        ("a role that may not log in", database.url_of("messages_group", "secret")),
        ("another authority's certificate", format!("{full}&sslrootcert={ca}")),
    ] {
        bench.say_on(situation, &url, &["status"]);
    }
    fs::create_dir(bench.path("empty")).unwrap();
    bench.say_with(
        &["status", "--database-url", "postgresql://ann@db/shop?sslmode=verify-full"],
        &[("SSL_CERT_FILE", "empty.pem"), ("SSL_CERT_DIR", "empty")],
    );
}

fn databases(bench: &mut Bench, standby: &Server) {
    bench.messages.section("The database");
    let server = Server::shared();
    let database = server.database();
    let (name, ann) = (database.name(), database.url_of("messages_ann", "secret"));
    bench.say_on("a user without privileges", &ann, LOAD);
    database.execute(&format!("GRANT CREATE ON DATABASE {name} TO messages_ann; CREATE SCHEMA atelier"));
    bench.say_on("a schema that is no catalogue", &database.url(), LOAD);
    bench.say_on("a schema that is no catalogue", &database.url(), &["status"]);
    database.execute(
        "CREATE TABLE atelier.load
         (load_id uuid, started_at timestamptz, finished_at timestamptz, version text, tables jsonb)",
    );
    bench.say_on("a schema of a superuser", &ann, LOAD);
    database.execute("CREATE ROLE messages_owner; ALTER SCHEMA atelier OWNER TO messages_owner");
    bench.say_on("a schema of another owner", &ann, LOAD);
    database.execute(
        "ALTER TABLE atelier.load ADD COLUMN note text; CREATE VIEW atelier.extra AS SELECT 1 AS id",
    );
    bench.say_on("things of others in the schema", &database.url(), LOAD);
    database.execute("DROP VIEW atelier.extra; ALTER TABLE atelier.load DROP COLUMN note");
    database.execute("CREATE TABLE notes () INHERITS (atelier.load)");
    bench.say_on("a table that inherits", &database.url(), LOAD);
    database.execute("DROP SCHEMA atelier CASCADE; DROP ROLE messages_owner");
    database.execute("ALTER ROLE messages_ann CONNECTION LIMIT 3");
    bench.say_on("few connections", &ann, &[LOAD, &["--jobs", "2"]].concat());
    database.execute("ALTER ROLE messages_ann CONNECTION LIMIT -1");
    let read_only = format!("{ann}&options=-cdefault_transaction_read_only%3Don");
    bench.say_on("a database that takes no writes", &read_only, LOAD);
    server.execute("CREATE DATABASE messages_latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let latin = ann.replace(name, "messages_latin");
    bench.say_on("another encoding", &latin, LOAD);
    server.execute("DROP DATABASE messages_latin");

    bench.name_server(standby);
    let shop = standby.database();
    standby.stop();
    fs::write(standby.dir().join("data/standby.signal"), "").unwrap();
    standby.start_again();
    bench.say_on("a standby", &shop.url(), LOAD);

    let url = database.url();
    bench.say_on("sound", &url, &[LOAD, &["--keep-previous"]].concat());
    // More than the buffers between the loader and a database that does not read.
    bench.say(&["generate", "--out", "csv", "--products", "2000"]);
    for (place, which) in [
        (Place::Copy, Strike::Statement),
        (Place::Copy, Strike::Control),
        (Place::Index, Strike::Session),
        (Place::Publish, Strike::Session),
        (Place::Publish, Strike::Statement),
        (Place::Publish, Strike::Interrupt),
        (Place::Publish, Strike::Another),
    ] {
        bench.strike(&database, place, which, &["load", "--data", "csv"]);
    }
}

fn published(bench: &mut Bench) {
    bench.messages.section("What is published");
    let database = Server::shared().database();
    let url = database.url();
    for command in ["status", "verify", "rollback"] {
        bench.say_on("an empty database", &url, &[command]);
    }
    bench.say_on("an empty database", &url, LOAD);
    bench.say_on("the same files", &url, LOAD);
    bench.say_on("the same files", &url, &[LOAD, &["--force", "--keep-previous"]].concat());
    bench.say_on("a previous load is kept", &url, &["status"]);
    database.execute("CREATE MATERIALIZED VIEW sizes AS SELECT size FROM atelier.skus");
    bench.say_on("a previous load is kept, and others depend on the published one", &url, &["rollback"]);
    database.execute("CREATE MATERIALIZED VIEW names AS SELECT name FROM atelier.product");
    bench.say_on("others depend on both", &url, &[LOAD, &["--force", "--keep-previous"]].concat());
    database.execute("CREATE MATERIALIZED VIEW prices AS SELECT default_price FROM atelier.product");
    bench.say_on("others depend on both", &url, &[LOAD, &["--force"]].concat());
    bench.say_on("nothing depends on it", &url, &[LOAD, &["--force", "--keep-previous"]].concat());
    bench.say_on("sound", &url, &["verify"]);
    let ann = database.url_of("messages_ann", "secret");
    bench.say_on("a user without privileges", &ann, &["status"]);
    database.execute("CREATE SCHEMA atelier_staging; CREATE TABLE atelier_staging.load (LIKE atelier.load)");
    bench.say_on("a load has died", &url, &["status"]);
    database.execute(
        "UPDATE atelier.product SET name = name || '!' WHERE id = 1; DELETE FROM atelier.skus WHERE id = 1",
    );
    bench.say_on("rows were changed", &url, &["verify"]);
    database.execute("UPDATE atelier.load SET tables = tables #- '{product,content_digest}'");
    bench.say_on("a load of another version", &url, &["verify"]);
    database.execute("ALTER TABLE atelier.skus RENAME COLUMN size TO sizes");
    bench.say_on("a column was renamed", &url, &["verify"]);
}
