//! Which PostgreSQL the tests run, and the account it runs as.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, iter};

use nix::unistd::User;

/// PostgreSQL refuses to run as root: the package's account, or one that every system has.
pub(super) fn server_account() -> User {
    let found = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
    found.expect("an account named postgres or nobody")
}

/// The PostgreSQL that `scripts/test --postgres` names, or the newest one that is installed.
pub(super) fn find_programs() -> PathBuf {
    if let Some(named) = env::var_os("ATELIER_TEST_POSTGRES") {
        return named.into();
    }
    let of_config = Command::new("pg_config").arg("--bindir").output().ok();
    let of_config = of_config.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let of_packages = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let of_packages = of_packages.map(|version| version.path().join("bin"));
    let of_path: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    let version = |bin: &Path| -> Option<u32> {
        let complete = ["initdb", "psql"].iter().all(|program| bin.join(program).is_file());
        let output =
            Command::new(bin.join("postgres")).arg("--version").output().ok().filter(|_| complete)?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.split(|c: char| !c.is_ascii_digit()).find_map(|number| number.parse().ok())
    };
    iter::empty()
        .chain(of_config)
        .chain(of_packages)
        .chain(of_path)
        .filter_map(|bin| Some((version(&bin)?, bin)))
        .max_by_key(|(version, _)| *version)
        .expect("PostgreSQL's programs (postgres, initdb, psql): scripts/test installs them")
        .1
}
