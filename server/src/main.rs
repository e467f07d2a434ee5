//! `atelier-server`, the read-only HTTP API. It is not written yet: the loader comes first.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!(
        "atelier-server: not built yet; this version loads the catalogue only (see atelier-etl --help)"
    );
    ExitCode::from(2)
}
