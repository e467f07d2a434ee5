//! Interrupted commands without a database end soon and leave no file behind.

use std::fs;
use std::path::Path;

use atelier_testing::until;
use nix::sys::signal::Signal;

use super::example;
use crate::run::Etl;

fn bytes(path: &Path) -> u64 {
    path.metadata().map_or(0, |file| file.len())
}

#[test]
fn generating_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("catalogue");
        // 110 GB, if it were not interrupted.
        let generate = Etl::new(["generate", "--products", "50000000", "--out"]).arg(&out).spawn();
        until("photos are written", || bytes(&out.join("photos.csv.partial")) > 10_000_000);
        generate.signal(signal);
        generate.finish().failed(130, &["atelier-etl: interrupted"]);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    }
}

#[test]
fn checking_keeps_the_reject_files_of_the_last_run_and_leaves_none_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let (data, rejects) = (place.path().join("data"), place.path().join("rejects"));
    fs::create_dir(&data).unwrap();
    for file in fs::read_dir(example()).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), data.join(file.file_name())).unwrap();
    }
    // 2 GB of one row, over and over: far more than is read before the signal comes.
    let header = fs::read_to_string(data.join("product.csv")).unwrap().lines().next().unwrap().to_owned();
    let row = zstd::bulk::compress(&b"1,\"n\",\"s\",\"d\",\"c\",1\n".repeat(100_000), 1).unwrap();
    let header = zstd::bulk::compress(format!("{header}\n").as_bytes(), 1).unwrap();
    fs::write(data.join("product.csv.zst"), [header, row.repeat(1_000)].concat()).unwrap();
    fs::remove_file(data.join("product.csv")).unwrap();
    fs::create_dir(&rejects).unwrap();
    fs::write(rejects.join("product.csv"), "of the last run").unwrap();

    let check = Etl::new(["check", "--data"]).arg(&data).arg("--rejects").arg(&rejects).spawn();
    until("rows are rejected", || bytes(&rejects.join("product.csv.partial")) > 1_000_000);
    check.signal(Signal::SIGINT);
    check.finish().failed(130, &["atelier-etl: interrupted"]);
    let left: Vec<_> = fs::read_dir(&rejects).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["product.csv"]);
    assert_eq!(fs::read_to_string(rejects.join("product.csv")).unwrap(), "of the last run");
}
