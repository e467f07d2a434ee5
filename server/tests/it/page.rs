//! The files of the page at `/`; `tests/test_page.py` tests it in a browser.

use std::fs;
use std::path::Path;

use atelier_testing::Server as Postgres;

use crate::catalogue::{awkward, publish};
use crate::client::{get, request};
use crate::server::Server;

/// The files in `server/page`, but for the page itself.
fn files() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let names =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "index.html").collect();
    names.sort();
    names
}

/// The values of the attributes `href` and `src` of a page, the arguments of a script's imports.
fn links(text: &str) -> Vec<&str> {
    let begins = ["href=\"/", "src=\"/", "from \"./"];
    let found = begins.iter().flat_map(|begin| text.split(begin).skip(1));
    found.map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn every_file_of_the_page_is_served_and_all_are_used() {
    let database = Postgres::shared().database();
    publish(&database, awkward().path());
    let server = Server::start(&database.url(), &[]);
    let page = get(server.public, "/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(get(server.public, "/?utm_source=letter").body, page.body);
    assert_eq!(page.header("cache-control"), Some("public, no-cache"), "never an old page with a new script");
    let mut used: Vec<String> = links(page.text()).iter().map(|link| link.replace("page/", "")).collect();
    for name in files() {
        let target = format!("/page/{name}");
        let expected = match name.rsplit_once('.').unwrap().1 {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => panic!("{name}: what is that?"),
        };
        let file = get(server.public, &target);
        assert_eq!((file.status, file.header("content-type")), (200, Some(expected)), "{target}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"), "{target}");
        used.extend(links(file.text()).iter().map(|link| (*link).to_owned()));
        // Nothing is loaded from other origins, and data never becomes HTML.
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "url("] {
            assert!(!file.text().contains(forbidden), "{target} has {forbidden}");
        }
    }
    used.retain(|name| name != "docs" && name != "openapi.json"); // links of the API
    used.sort();
    used.dedup();
    assert_eq!(used, files());
    for unknown in ["/page", "/page/", "/page/index.html", "/page/nothing.js", "/page/../page/main.js"] {
        assert_eq!(get(server.public, unknown).status, 404, "{unknown}");
    }
}

#[test]
fn the_content_security_policy_only_allows_the_page_and_photos() {
    let database = Postgres::shared().database();
    publish(&database, awkward().path());
    let server = Server::start(&database.url(), &[]);
    for target in ["/", "/page/main.js"] {
        let policy = get(server.public, target).header("content-security-policy").unwrap().to_owned();
        let mut directives: Vec<&str> = policy.split("; ").collect();
        directives.sort_unstable();
        assert_eq!(
            directives,
            [
                "base-uri 'none'",
                "connect-src 'self'",
                "default-src 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
                "img-src 'self' https: data:",
                "require-trusted-types-for 'script'",
                "script-src 'self'",
                "style-src 'self'",
                "trusted-types 'none'",
            ],
            "{target}"
        );
    }
    let page = get(server.public, "/");
    for inline in ["<style", " style=", "javascript:", "onclick=", "onload="] {
        assert!(!page.text().contains(inline), "{inline} would not be let in");
    }
    assert_eq!(
        page.text().matches("<script").count(),
        page.text().matches("<script type=\"module\" src=").count()
    );
}

#[test]
fn unchanged_files_are_not_sent_again() {
    let database = Postgres::shared().database();
    let load = publish(&database, awkward().path());
    let server = Server::start(&database.url(), &[]);
    let again = Server::start(&database.url(), &["--cache-bytes", "0"]);
    for target in ["/", "/page/main.js", "/page/icon.svg", "/docs", "/docs/index.css", "/openapi.json"] {
        let send = |method: &str, tags: &str| {
            request(server.public, method, target, &[&format!("If-None-Match: {tags}")])
        };
        let file = get(server.public, target);
        let tag = file.header("etag").unwrap();
        assert!(tag.starts_with("W/\"") && tag.len() == "W/\"\"".len() + 32, "{target}: {tag}");
        assert_eq!(get(again.public, target).header("etag"), Some(tag), "{target}: from another server");
        let strong = tag.trim_start_matches("W/");
        for tags in [tag, strong, "*", &format!("\"other\", {tag}")] {
            for method in ["GET", "HEAD"] {
                let answer = send(method, tags);
                assert_eq!((answer.status, answer.body.len()), (304, 0), "{method} {target} {tags}");
                for header in ["etag", "cache-control", "vary", "content-security-policy"] {
                    assert_eq!(answer.header(header), file.header(header), "{method} {target}: {header}");
                }
            }
        }
        for tags in ["\"other\"", "W/\"\"", &format!("W/\"{load}\"")] {
            assert_eq!(send("GET", tags).body, file.body, "{target} {tags}");
        }
        let head = request(server.public, "HEAD", target, &[]);
        assert_eq!(head.header("content-length"), Some(file.body.len().to_string().as_str()), "{target}");
    }
    let tag = |target: &str| get(server.public, target).header("etag").unwrap().to_owned();
    assert_ne!(tag("/page/main.js"), tag("/page/api.js"));
}

#[test]
fn the_page_can_be_disabled() {
    let database = Postgres::shared().database();
    publish(&database, awkward().path());
    let server = Server::start(&database.url(), &["--no-page"]);
    for target in ["/", "/?x=y", "/page/main.js", "/page/nothing"] {
        for method in ["GET", "HEAD", "OPTIONS", "POST"] {
            let answer = request(server.public, method, target, &[]);
            assert_eq!(answer.status, 404, "{method} {target}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {target}");
        }
    }
    for target in ["/products", "/docs", "/openapi.json"] {
        assert_eq!(get(server.public, target).status, 200, "{target}");
    }
    for (value, status) in [("yes", 404), ("1", 404), ("true", 404), ("0", 200), ("no", 200)] {
        let server = Server::start_with(&database.url(), &[("ATELIER_NO_PAGE", value)]);
        assert_eq!(get(server.public, "/").status, status, "ATELIER_NO_PAGE={value}");
    }
}
