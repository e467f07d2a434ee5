//! Files and options that are not accepted.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use atelier_testing::Server;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, User, mkfifo};

use super::{Shop, copy_of_example, example, generated};
use crate::run::{Etl, etl};

/// Does something to a file of a catalogue.
type Damage = fn(&Path);

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
}

/// The first line of a file and nothing more.
fn header_only(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    write(path, text.split_inclusive('\n').next().unwrap());
}

/// Replaces a file by a compressed one whose last bytes are missing.
fn compress_and_cut(path: &Path, compress: impl Fn(&[u8]) -> Vec<u8>, extension: &str) {
    let compressed = compress(&fs::read(path).unwrap());
    write(&path.with_extension(extension), &compressed[..compressed.len() - 20]);
    fs::remove_file(path).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_file_that_cannot_be_used_ends_the_load_before_it_begins() {
    let cases: [(&str, Damage, &[&str]); 12] = [
        (
            "skus.csv",
            |file| fs::remove_file(file).unwrap(),
            &["no file for skus", "skus.csv and sku.csv not found in {dir}", "--data"],
        ),
        (
            "skus.csv",
            |file| write(&file.with_extension("csv.gz"), gzip(b"id")),
            &["two files for skus", "{dir}/skus.csv ", "{dir}/skus.csv.gz", "remove the other"],
        ),
        (
            "photos.csv",
            |file| {
                fs::remove_file(file).unwrap();
                fs::create_dir(file).unwrap();
            },
            &["{dir}/photos.csv is not a file", "CSV of photos"],
        ),
        (
            // It could not be read twice.
            "skus.csv",
            |file| {
                fs::remove_file(file).unwrap();
                mkfifo(file, Mode::S_IRWXU).unwrap();
            },
            &["{dir}/skus.csv is not a file", "CSV of skus"],
        ),
        ("styles.csv", |file| write(file, ""), &["{dir}/styles.csv is empty", "header"]),
        (
            "styles.csv",
            |file| write(file, "id,productId,name,sale_price,default_style\n1,1,a,null,1\n"),
            &[
                "{dir}/styles.csv, line 1: no column \"original_price\"",
                "\"sale_price\"",
                "the header of styles is id,productId,name,sale_price,original_price,default_style",
            ],
        ),
        (
            "related.csv",
            |file| write(file, "id,id,current_product_id,related_product_id\n"),
            &["{dir}/related.csv, line 1", "\"id\" appears twice"],
        ),
        (
            "related.csv",
            |file| write(file, vec![b'x'; 70_000]),
            &["{dir}/related.csv, line 1", "no column \"id\""],
        ),
        (
            "related.csv",
            |file| write(file, vec![b'x'; 700_000]),
            &["{dir}/related.csv, line 1", "no line end within"],
        ),
        (
            "product.csv",
            header_only,
            &["product: no row can be loaded from {dir}/product.csv", "at least one product"],
        ),
        (
            "photos.csv",
            |file| compress_and_cut(file, gzip, "csv.gz"),
            &[
                "cannot decompress {dir}/photos.csv.gz with gzip",
                "the end of the file is missing: fetch it again",
            ],
        ),
        (
            "photos.csv",
            |file| compress_and_cut(file, |bytes| zstd::encode_all(bytes, 3).unwrap(), "csv.zst"),
            &[
                "cannot decompress {dir}/photos.csv.zst with zstd",
                "the end of the file is missing: fetch it again",
            ],
        ),
    ];
    let mut shop = Shop::new(Server::shared());
    for (file, damage, telling) in cases {
        let data = copy_of_example();
        damage(&data.path().join(file));
        let dir = data.path().display().to_string();
        let telling: Vec<String> = telling.iter().map(|text| text.replace("{dir}", &dir)).collect();
        let run = shop.load(data.path()).run();
        run.failed(3, &telling.iter().map(String::as_str).collect::<Vec<_>>());
        shop.is_untouched();
    }
    shop.loads();
}

/// The damage is so far into the file that rows are copied before it is found.
#[test]
fn a_truncated_compressed_file_ends_the_load() {
    let mut shop = Shop::new(Server::shared());
    for (extension, compress) in
        [("csv.gz", gzip as fn(&[u8]) -> Vec<u8>), ("csv.zst", |bytes| zstd::encode_all(bytes, 3).unwrap())]
    {
        let whole: fn(Vec<u8>) -> Vec<u8> = |bytes| bytes;
        let cut: fn(Vec<u8>) -> Vec<u8> = |bytes| bytes[..bytes.len() - 20].to_vec();
        let garbled: fn(Vec<u8>) -> Vec<u8> = |mut bytes| {
            let end = bytes.len();
            bytes[end - 20_000..end - 10_000].fill(0xa5);
            bytes
        };
        for (damage, code, to_do) in [
            (cut, 3, "the end of the file is missing: fetch it again"),
            (garbled, 3, "check it with "),
            (whole, 0, ""),
        ] {
            let data = generated(4_000);
            let photos = data.path().join("photos.csv");
            let compressed = photos.with_extension(extension);
            write(&compressed, damage(compress(&fs::read(&photos).unwrap())));
            fs::remove_file(&photos).unwrap();
            let run = shop.load(data.path()).run();
            if code == 0 {
                assert_eq!(run.code, 0, "{run:?}");
                continue;
            }
            let what = format!("cannot decompress {}", compressed.display());
            run.failed(code, &[&what, to_do]);
            shop.is_untouched();
        }
        shop.loads();
    }
}

/// Root may read everything, so as root the program runs as another account.
#[test]
fn a_file_that_may_not_be_read() {
    let shop = Shop::new(Server::shared());
    let data = copy_of_example();
    let skus = data.path().join("skus.csv");
    fs::set_permissions(&skus, Permissions::from_mode(0o000)).unwrap();
    let program = tempfile::tempdir().unwrap();
    let mut etl = if Uid::effective().is_root() {
        let nobody = User::from_name("nobody").unwrap().unwrap();
        for place in [program.path(), data.path()] {
            fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap();
        }
        // It may have been built in a directory that no other account can read.
        let copy = program.path().join("atelier-etl");
        fs::copy(env!("CARGO_BIN_EXE_atelier-etl"), &copy).unwrap();
        let mut etl =
            Etl::of(&copy, ["load", "--progress", "none", "--database-url", &shop.database.tcp_url()]);
        chown(etl.cwd(), Some(nobody.uid.as_raw()), None).unwrap();
        etl.command().uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
        etl
    } else {
        Etl::new(["load", "--progress", "none", "--database-url", &shop.database.tcp_url()])
    };
    etl.command().arg("--data").arg(data.path());
    let what = format!("cannot read {}", skus.display());
    etl.run().failed(3, &[&what, "Permission denied", "permission to read it"]);
    shop.is_untouched();
}

#[test]
fn a_table_without_rows_is_a_warning() {
    let shop = Shop::new(Server::shared());
    let data = copy_of_example();
    header_only(&data.path().join("related.csv"));
    let run = shop.load(data.path()).run();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(run.stdout.contains("warning: related: the file has a header but no rows"), "{}", run.stdout);
    assert_eq!(shop.database.query("SELECT count(*) FROM atelier.related")[0][0].as_deref(), Some("0"));
}

#[test]
fn too_many_rejects_refuse_the_load_and_are_all_reported() {
    let mut shop = Shop::new(Server::shared());
    let place = tempfile::tempdir().unwrap();
    let (report, rejects) = (place.path().join("report.json"), place.path().join("rejects"));
    let run = shop
        .load(&example())
        .arg("--max-rejects=1%")
        .arg("--report")
        .arg(&report)
        .arg("--rejects")
        .arg(&rejects)
        .run();
    let file = rejects.join("product.csv").display().to_string();
    run.failed(
        3,
        &["product: ", "rows rejected, more than --max-rejects 1 % allows", &file, "raise --max-rejects"],
    );
    shop.is_untouched();

    assert!(run.stdout.starts_with("table "), "the summary is shown: {}", run.stdout);
    assert!(run.stdout.contains(&format!("the rejected rows are in {file}")), "{}", run.stdout);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!(report["load_id"], serde_json::Value::Null);
    for (table, found) in report["tables"].as_object().unwrap() {
        let rejected: u64 =
            found["rejected"].as_object().unwrap().values().map(|rows| rows.as_u64().unwrap()).sum();
        assert_eq!(found["read"].as_u64().unwrap(), found["loaded"].as_u64().unwrap() + rejected, "{table}");
        let recorded = match found["rejects_file"].as_str() {
            Some(path) => csv::Reader::from_path(path).unwrap().byte_records().map(Result::unwrap).count(),
            None => 0,
        };
        assert_eq!(recorded as u64, rejected, "{table}");
    }
    assert_eq!(report["tables"].as_object().unwrap().len(), 6);
    shop.loads();
}

#[test]
fn outputs_that_cannot_be_written_end_the_load_before_it_begins() {
    let mut shop = Shop::new(Server::shared());
    let place = tempfile::tempdir().unwrap();
    write(&place.path().join("file"), "");
    let at = |name: &str| place.path().join(name).display().to_string();

    let report = at("missing/report.json");
    let etl = shop.load(&example()).arg("--rejects").arg(at("rejects")).arg("--report").arg(&report);
    etl.run().failed(2, &[&format!("cannot write {report}"), "No such file", "with --report"]);
    assert!(!place.path().join("rejects").exists(), "nothing had begun");
    shop.is_untouched();

    let etl = shop.load(&example()).arg("--rejects").arg(at("file/rejects"));
    etl.run()
        .failed(2, &[&format!("cannot write rejected rows to {}", at("file/rejects")), "with --rejects"]);
    shop.is_untouched();
    shop.loads();
}

/// Reject files have the names of the tables, as the inputs have.
#[test]
fn outputs_that_are_inputs_are_refused_before_anything_is_overwritten() {
    let shop = Shop::new(Server::shared());
    let data = copy_of_example();
    let size = |name: &str| data.path().join(name).metadata().unwrap().len();
    let before = [size("product.csv"), size("skus.csv")];
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(data.path().join("product.csv"), elsewhere.path().join("product.csv")).unwrap();
    for (flag, path, telling) in [
        ("--rejects", data.path().to_owned(), "is the directory of the input files"),
        ("--rejects", elsewhere.path().to_owned(), "is an input"),
        ("--report", data.path().join("skus.csv"), "is an input"),
    ] {
        for command in ["load", "check"] {
            let etl = if command == "load" {
                shop.load(data.path())
            } else {
                Etl::new(["check", "--data"]).arg(data.path())
            };
            etl.arg(flag).arg(&path).run().failed(2, &[telling, "another", flag]);
            assert_eq!([size("product.csv"), size("skus.csv")], before, "{command} {flag}");
        }
    }
}

/// Next to a compressed input, a reject file would be a second input of the next run.
#[test]
fn rejects_among_compressed_inputs_are_refused() {
    let data = copy_of_example();
    let plain = data.path().join("product.csv");
    write(&data.path().join("product.csv.gz"), gzip(&fs::read(&plain).unwrap()));
    fs::remove_file(&plain).unwrap();
    let link = tempfile::tempdir().unwrap();
    symlink(data.path(), link.path().join("rejects")).unwrap();
    for rejects in [data.path().to_owned(), link.path().join("rejects")] {
        let check = || Etl::new(["check", "--max-rejects=50%", "--data"]).arg(data.path());
        let what = format!("{} is the directory of the input files", rejects.display());
        let run = check().arg("--rejects").arg(&rejects).run();
        run.failed(2, &[&what, "name another directory with --rejects"]);
        assert_eq!(check().run().code, 0, "the data is as it was");
    }
}

/// One would overwrite the other, whether or not they exist yet.
#[test]
fn a_report_that_is_a_reject_file_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let check = |report: &str| {
        let mut etl = Etl::new(["check", "--max-rejects=50%", "--rejects=rejects", "--report", report]);
        etl.command().arg("--data").arg(example()).current_dir(place.path());
        etl.run()
    };
    let refused = |report: &str| {
        let what = format!("{report} cannot be the report: rejected rows are written to rejects/");
        check(report).failed(2, &[&what, "name another file with --report"]);
    };
    let rejects = place.path().join("rejects");
    fs::create_dir(&rejects).unwrap();
    refused("rejects/product.csv");
    refused("./rejects/../rejects/skus.csv.partial");
    assert_eq!(fs::read_dir(&rejects).unwrap().count(), 0, "nothing is written");

    write(&rejects.join("features.csv"), "of the last run");
    symlink("rejects/features.csv", place.path().join("link.json")).unwrap();
    refused("rejects/features.csv");
    refused("link.json");
    assert_eq!(fs::read_to_string(rejects.join("features.csv")).unwrap(), "of the last run");

    // Another name in the same directory is accepted, and the same name in another one.
    for report in ["rejects/report.json", "product.csv"] {
        assert_eq!(check(report).code, 0);
        assert!(fs::read_to_string(place.path().join(report)).unwrap().starts_with('{'), "{report}");
    }
}

/// The output says that the load is published, and the message that the report is missing.
#[test]
fn a_report_that_cannot_be_written_is_an_error_after_publishing() {
    let shop = Shop::new(Server::shared());
    let run = shop.load(&example()).arg("--report=/dev/full").run();
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("cannot write the report to /dev/full"), "{}", run.stderr);
    assert!(
        run.stderr.contains("No space left on device") && run.stderr.contains("hint: "),
        "{}",
        run.stderr
    );
    let id = shop.database.query("SELECT load_id FROM atelier.load")[0][0].clone().unwrap();
    assert!(run.stdout.starts_with("table "), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("load {id} is published")), "{}", run.stdout);
    assert_ne!(super::published(&shop.database), shop.published);
}

#[test]
fn wrong_options_are_named() {
    // All of them are found before the database is connected to.
    let url = "postgresql://nobody@127.0.0.1:1/nothing";
    for (option, code, telling) in [
        ("--max-rejects=many", 2, &["--max-rejects \"many\" is neither", "a number of rows such as 250"][..]),
        ("--max-rejects=101%", 2, &["--max-rejects \"101%\" is neither", "such as 0.5%"]),
        ("--data=/no/such/place", 3, &["no file for product", "/no/such/place", "--data"]),
    ] {
        let mut etl = Etl::new(["load", "--database-url", url, option]).env("ATELIER_PROGRESS", "none");
        if code == 2 {
            etl.command().arg("--data").arg(example());
        }
        etl.run().failed(code, telling);
    }
    // What clap finds, in clap's form.
    for (arguments, telling) in [
        (&["load", "--jobs", "two"][..], "invalid value 'two' for '--jobs <N>': give a number from 1 to 64"),
        (&["load", "--jobs", "0"], "give a number from 1 to 64"),
        (&["load", "--jobs", "65"], "give a number from 1 to 64"),
        (&["load", "--wait", "-1"], "unexpected argument '-1'"),
        (&["load", "--progress", "loud"], "possible values: auto, bar, plain, none"),
        (&["laod"], "similar subcommand exists: 'load'"),
    ] {
        let run = etl(arguments);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(telling), "{}", run.stderr);
    }
}
