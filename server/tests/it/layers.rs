//! What the modules may not do, held against their source.

use std::fs;
use std::path::{Path, PathBuf};

/// The source of a module without its tests.
fn source(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

/// All modules, in folders too.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn pure_modules_never_see_tokio_and_all_sql_is_in_one() {
    let mut seen = Vec::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let source = source(&path);
        let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = code.join("\n");
        if [
            "route",
            "parameters",
            "path",
            "host",
            "json",
            "problem",
            "encoding",
            "etag",
            "load",
            "kind",
            "client",
        ]
        .contains(&name.as_str())
        {
            assert!(!code.contains("tokio"), "{name} sees tokio");
        }
        let has_sql = code.contains("SELECT ") || code.contains("atelier.load");
        assert_eq!(has_sql, name == "queries", "SQL in {name}");
        seen.push(name);
    }
    for name in
        ["route", "parameters", "path", "host", "json", "problem", "encoding", "etag", "load", "queries"]
    {
        assert!(seen.iter().any(|known| known == name), "there is no module {name}");
    }
}
