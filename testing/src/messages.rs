//! All messages of a program in one text, to be read by people and compared by a test. What differs from one run to the
//! next is replaced by a name. Messages that are in the source and not in the text are found.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use regex::{Captures, Regex};

/// A text that messages are added to.
pub struct Messages {
    text: String,
    names: Vec<(Regex, &'static str)>,
}

impl Messages {
    /// `about` says what the text is.
    pub fn new(about: &str) -> Messages {
        let mut messages = Messages { text: about.to_owned(), names: Vec::new() };
        for (pattern, name) in [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "LOAD"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]+", "TIME"),
            (r"backend \d+", "backend PID"),
            (r"\d+ open files, and this process may open \d+", "N open files, and this process may open M"),
            (r"\btest_\d+\b", "shop"),
        ] {
            messages.names.push((Regex::new(pattern).unwrap(), name));
        }
        messages
    }

    /// Replaces `value` by `name` from here on.
    pub fn name(&mut self, value: impl ToString, name: &'static str) {
        self.names.push((Regex::new(&regex::escape(&value.to_string())).unwrap(), name));
    }

    pub fn section(&mut self, title: &str) {
        let _ = write!(self.text, "\n\n# {title}\n");
    }

    /// Adds the output of `command` and its exit code.
    pub fn add(&mut self, command: &str, code: i32, output: &str) {
        let mut entry = format!("\n$ {command}\n{}\nexit {code}\n", output.trim_end());
        for (value, name) in &self.names {
            entry = value.replace_all(&entry, *name).into_owned();
        }
        self.text += &entry;
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The messages of errors in the source files of `directory` that are not in `listed`, as they are in the source.
pub fn unlisted(directory: &Path, listed: &str) -> Vec<String> {
    let call = r#"(?:Error::(?:usage|input|database|mismatch)|tracing::(?:warn|error)!|\b(?:failed|wrong|refused|cannot_start)!?|let what = format!)\("#;
    let literal =
        Regex::new(&format!(r#"{call}[^"();]*?(?:\|\|\s*|format!\(\s*)?"((?:[^"\\]|\\.)*)""#)).unwrap();
    let continued = Regex::new(r"\\\n\s*").unwrap();
    let argument = Regex::new(r"\\\{[^}]*\\\}").unwrap();
    let mut found = Vec::new();
    for source in sources(directory) {
        let text = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        for literal in literal.captures_iter(&text) {
            let message = continued.replace_all(&literal[1], "").replace("\\\"", "\"");
            let pattern = regex::escape(&message);
            let pattern = argument.replace_all(&pattern, |_: &Captures<'_>| ".*");
            if !Regex::new(&pattern).unwrap().is_match(listed) {
                found.push(message);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn sources(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            all.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") && !entry.ends_with("tests.rs")
        {
            all.push(fs::read_to_string(entry).unwrap());
        }
    }
    all
}
