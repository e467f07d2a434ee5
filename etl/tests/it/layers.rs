//! What the modules may not do, held against their source.

use std::fs;
use std::path::Path;

/// Bytes in, values out.
const PURE: [&str; 14] = [
    "check", "convert", "decode", "defect", "digest", "encode", "ending", "excerpt", "header", "number",
    "parse", "record", "split", "value",
];

/// The source of a module without its tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn pure_modules_do_no_io() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for name in PURE {
        let code = code(&source.join(format!("{name}.rs")));
        for foreign in
            ["tokio", "std::fs", "std::io", "std::net", "std::thread", "crate::source", "crate::session"]
        {
            assert!(!code.contains(foreign), "{name} sees {foreign}");
        }
    }
}

#[test]
fn what_reads_files_knows_no_database() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for name in ["pipeline", "rejects", "scan", "source", "verdict"] {
        let code = code(&source.join(format!("{name}.rs")));
        for foreign in ["tokio", "crate::session", "crate::publish", "crate::copy"] {
            assert!(!code.contains(foreign), "{name} sees {foreign}");
        }
    }
}
