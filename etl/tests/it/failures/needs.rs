//! Servers with too few connections or too little disk space: a load says so before the first row.

use std::fs::{self, File};
use std::io::Write as _;

use atelier_testing::Server;

use super::disk::SmallDisk;
use super::{copy_of_example, example, load, schemas};
use crate::run::Run;

#[test]
fn connections() {
    // As many as a load with one job needs, besides those reserved for superusers and one of another client.
    let server = Server::start(&[("max_connections", "7"), ("superuser_reserved_connections", "3")]);
    let database = server.database();
    let name = database.name();
    server.create_role("needs_ann", "secret");
    database.execute(&format!("GRANT CREATE ON DATABASE {name} TO needs_ann"));
    let url = database.url_of("needs_ann", "secret");
    let ann = |jobs: &str| load(&url, &example()).env("ATELIER_JOBS", jobs).run();
    for (limit, unlimit, jobs, telling) in [
        (
            "ALTER ROLE needs_ann CONNECTION LIMIT 2".to_owned(),
            "ALTER ROLE needs_ann CONNECTION LIMIT -1".to_owned(),
            "1",
            &[
                "--jobs 1 needs 3 connections",
                "role \"needs_ann\" may have 2, 0 of them in use by others",
                "ALTER ROLE \"needs_ann\" CONNECTION LIMIT 3",
            ][..],
        ),
        (
            "ALTER ROLE needs_ann CONNECTION LIMIT 3".to_owned(),
            "ALTER ROLE needs_ann CONNECTION LIMIT -1".to_owned(),
            "2",
            &["--jobs 2 needs 4 connections", "CONNECTION LIMIT 4; or --jobs 1"],
        ),
        (
            format!("ALTER DATABASE {name} CONNECTION LIMIT 2"),
            format!("ALTER DATABASE {name} CONNECTION LIMIT -1"),
            "1",
            &["database \"test_", "\" may have 2, 0 of them in use", "ALTER DATABASE \"test_"],
        ),
        (
            String::new(),
            String::new(),
            "6",
            &[
                "--jobs 6 needs 8 connections, and the server has 4, 0 of them",
                "raise max_connections",
                "or --jobs 2",
            ],
        ),
    ] {
        database.execute(&limit);
        // A session that has just ended may be counted for longer where the machine is busy.
        let tells = |run: &Run| telling.iter().all(|text| run.stderr.contains(text));
        let run = (0..5).map(|_| ann(jobs)).find(tells).unwrap_or_else(|| ann(jobs));
        run.failed(4, telling);
        assert_eq!(schemas(&database), "");
        database.execute(&unlimit);
    }
    database.execute("ALTER ROLE needs_ann CONNECTION LIMIT 3");
    // Sessions of the previous load have just ended.
    for _ in 0..3 {
        let run = ann("1");
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    }
}

#[test]
fn disk() {
    let Some(disk) = SmallDisk::mount("200m") else { return };
    let server = Server::start_in(disk.path(), &[]);
    let database = server.database();
    server.create_role("needs_bob", "secret");
    database.execute(&format!("GRANT CREATE ON DATABASE {} TO needs_bob; CHECKPOINT", database.name()));
    // 20 MB that are all rejected: 32 MB by the estimate, but in fact almost nothing.
    let data = copy_of_example();
    let mut skus = File::options().append(true).open(data.path().join("skus.csv")).unwrap();
    for id in 1_000..21_000 {
        writeln!(skus, "{id},999999999,\"{:01000}\",3", 0).unwrap();
    }
    let loads = |url: &str| load(url, data.path()).env("ATELIER_MAX_REJECTS", "100%").run();

    disk.fill_but(6 << 20);
    let run = loads(&database.url());
    run.failed(4, &["the database's disk (", "MB free, and the load needs about 33 MB", "free space there"]);
    assert_eq!(schemas(&database), "");
    fs::remove_file(disk.path().join("ballast")).unwrap();

    disk.fill_but(25 << 20);
    let run = loads(&database.url());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(run.stdout.starts_with("warning: the database's disk ("), "{}", run.stdout);
    assert_eq!(run.stdout.matches("warning: the database's disk").count(), 1, "{}", run.stdout);

    // If the data directory is not known, there is no message.
    database.execute("DROP SCHEMA atelier CASCADE");
    let run = loads(&database.url_of("needs_bob", "secret"));
    assert!(run.code == 0 && !run.stdout.contains("the database's disk"), "{run:?}");
    fs::remove_file(disk.path().join("ballast")).unwrap();

    let run = loads(&database.url());
    assert!(run.code == 0 && !run.stdout.contains("the database's disk"), "{run:?}");
}
