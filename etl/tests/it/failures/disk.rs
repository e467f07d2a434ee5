//! Full disks.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;

use atelier_testing::Server;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use super::{Shop, copy_of_example, generated, skipped};

/// A file system in memory. Making one needs root, and a container may not let even root.
pub(super) struct SmallDisk(TempDir);

impl SmallDisk {
    pub(super) fn mount(size: &str) -> Option<SmallDisk> {
        let place = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        match mount(Some("tmpfs"), place.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())) {
            Ok(()) => Some(SmallDisk(place)),
            Err(Errno::EPERM) => {
                skipped("mounting a small file system takes root");
                None
            }
            Err(error) => panic!("cannot mount a tmpfs: {error}"),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills it up to about `bytes`.
    pub(super) fn fill_but(&self, bytes: u64) {
        let disk = statvfs(self.path()).unwrap();
        let ballast = (disk.blocks_available() * disk.fragment_size()).checked_sub(bytes).unwrap();
        let mut file = File::create(self.path().join("ballast")).unwrap();
        match std::io::copy(&mut std::io::Read::take(std::io::repeat(0), ballast), &mut file) {
            // Another program may have filled it first.
            Err(error) if error.kind() != ErrorKind::StorageFull => panic!("cannot write ballast: {error}"),
            _ => {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached, since a test that failed may still have something open there.
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

#[test]
fn of_the_database() {
    let Some(disk) = SmallDisk::mount("250m") else { return };
    let server = Server::start_in(disk.path(), &[]);
    let mut shop = Shop::new(&server);
    // The WAL has a new segment and room for another, so it is the tables that find no space.
    shop.database.execute("SELECT pg_switch_wal()");
    shop.database.execute("CHECKPOINT");
    disk.fill_but(36 << 20);
    let data = generated(20_000);
    for _ in 0..2 {
        let run = shop.load(data.path()).run();
        run.failed(4, &["cannot copy ", "into the database", "SQLSTATE 53100", "free space", "is unchanged"]);
        shop.is_untouched();
    }
    shop.loads();
    fs::remove_file(disk.path().join("ballast")).unwrap();
    let run = shop.load(data.path()).run();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
}

/// Without space for their headers, nothing begins.
#[test]
fn of_the_reject_files() {
    let mut shop = Shop::new(Server::shared());
    let rejects = tempfile::tempdir().unwrap();
    symlink("/dev/full", rejects.path().join("styles.csv.partial")).unwrap();
    let run = shop.load(copy_of_example().path()).arg("--rejects").arg(rejects.path()).run();
    run.failed(2, &["cannot write ", "styles.csv", "No space left on device", "with --rejects"]);
    shop.is_untouched();
    shop.loads();
}

/// With space for a few rows, the load ends at the first that cannot be written.
#[test]
fn of_the_reject_files_in_the_middle() {
    let Some(disk) = SmallDisk::mount("40k") else { return };
    let mut shop = Shop::new(Server::shared());
    let data = copy_of_example();
    let mut skus = File::options().append(true).open(data.path().join("skus.csv")).unwrap();
    for id in 0..10_000 {
        writeln!(skus, "{},999999999,\"M\",3", 1_000 + id).unwrap();
    }
    let run =
        shop.load(data.path()).env("ATELIER_MAX_REJECTS", "100%").arg("--rejects").arg(disk.path()).run();
    run.failed(3, &["cannot write rejected rows to ", "skus.csv", "No space left on device", "free space"]);
    shop.is_untouched();
    shop.loads();
}
