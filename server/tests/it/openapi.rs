//! `openapi.json` is written by hand; here it is compared with the router and with answers of the running server.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use atelier_server::assets::docs::OPENAPI;
use atelier_server::http::parameters::MAX_IDS;
use atelier_server::http::route::{Site, route};
use atelier_server::telemetry::route_label::RouteLabel;
use atelier_testing::Server as Postgres;
use http::Method;
use serde_json::{Map, Value, json};

use crate::catalogue::{awkward, publish};
use crate::client::{Connection, Response, get, request};
use crate::reference;
use crate::server::Server;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(OPENAPI).unwrap());

const SITE: Site = Site { base: "", page: true };

/// Headers that belong to HTTP itself, or to a page.
const NOT_DESCRIBED: [&str; 5] =
    ["date", "content-type", "content-length", "content-security-policy", "x-content-type-options"];

/// Follows `$ref`.
fn resolved(value: &Value) -> &Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(to) => DOCUMENT.pointer(to.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("no {to}")),
        None => value,
    }
}

fn members(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}

fn assert_valid(what: &str, schema: &Value, value: &Value) {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "allOf": [schema],
        "components": DOCUMENT["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{what}: {error}"));
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

/// The text of a header or parameter as a value of its schema.
fn parsed(schema: &Value, text: &str) -> Value {
    if resolved(schema)["type"] == "integer" { json!(text.parse::<i64>().unwrap()) } else { json!(text) }
}

/// Compares an answer with the description of its path, method and status.
fn assert_described(path: &str, method: &str, answer: &Response) {
    let status = answer.status.to_string();
    let response = &DOCUMENT["paths"][path][method.to_ascii_lowercase()]["responses"][&status];
    assert!(response.is_object(), "{method} {path}: {status} is not described");
    assert_is(&format!("{method} {path} {status}"), resolved(response), answer);
}

fn assert_is(what: &str, response: &Value, answer: &Response) {
    let described: Vec<(String, &Value)> = members(&response["headers"])
        .iter()
        .map(|(name, header)| (name.to_ascii_lowercase(), resolved(header)))
        .collect();
    for (name, header) in &described {
        match answer.header(name) {
            Some(value) => {
                assert_valid(&format!("{what}: {name}"), &header["schema"], &parsed(&header["schema"], value))
            }
            None => assert_eq!(header["required"], false, "{what}: no {name}"),
        }
    }
    for (name, _) in &answer.headers {
        let known =
            described.iter().any(|(known, _)| known == name) || NOT_DESCRIBED.contains(&name.as_str());
        assert!(known, "{what}: {name} is not described");
    }
    let Some(content) = response.get("content") else {
        assert!(answer.body.is_empty(), "{what}: a body is not described");
        return;
    };
    let media = answer.header("content-type").unwrap().split(';').next().unwrap();
    let schema = &content[media]["schema"];
    assert!(schema.is_object(), "{what}: {media} is not described");
    let body = if media.ends_with("json") { answer.json() } else { json!(answer.text()) };
    assert_valid(what, schema, &body);
}

#[test]
fn it_has_the_paths_of_the_router() {
    let described: BTreeSet<String> = members(&DOCUMENT["paths"]).keys().cloned().collect();
    let routes = RouteLabel::all().map(RouteLabel::as_str).filter(|name| name.starts_with('/'));
    let known = routes.map(|name| name.replace("?ids", "").replace(":product_id", "{product_id}"));
    let known: BTreeSet<String> = known.chain(["/openapi.json".to_owned()]).collect(); // counted as /docs
    assert_eq!(described, known);
    for path in described {
        let path = path.replace("{product_id}", "1");
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(route(SITE, &method, &path, None).is_ok(), "{method} {path}");
        }
    }
}

#[test]
fn every_answer_is_described() {
    let data = awkward();
    let database = Postgres::shared().database();
    let load = publish(&database, data.path());
    let server = Server::start(&database.url(), &[]);
    let broken = Server::start(&database.url(), &["--cache-bytes", "0"]); // in the end
    let mut connection = Connection::open(server.public);
    let tag = format!("If-None-Match: W/\"{load}\"");
    let long = format!("X-Large: {}", "y".repeat(16_384));
    let pad = "y".repeat(8192);

    // Also with --compat, whose answers are described too.
    let compat = Server::start(&database.url(), &["--compat"]);
    for id in reference::read(data.path()).into_keys() {
        for path in ["/products/{product_id}/styles", "/products/{product_id}/profile"] {
            assert_described(
                path,
                "GET",
                &get(compat.public, &path.replace("{product_id}", &id.to_string())),
            );
        }
    }
    let mut targets: Vec<(&str, String)> =
        ["", "page=2&count=2", "page=99", "count=1001", "ids=8,4,1,1", "ids=4"]
            .map(|query| ("/products", format!("/products?{query}")))
            .into();
    targets.extend(["page=0", "count=0", "ids=x"].map(|query| ("/products", format!("/products?{query}"))));
    targets.push(("/products", format!("/products?{pad}")));
    for document in ["", "/styles", "/related", "/profile"] {
        let path = members(&DOCUMENT["paths"])
            .keys()
            .find(|path| path.strip_prefix("/products/{product_id}") == Some(document))
            .unwrap();
        let ids = reference::read(data.path()).into_keys().map(|id| id.to_string());
        for id in ids.chain(["4", "0", "x"].map(str::to_owned)) {
            targets.push((path, format!("/products/{id}{document}")));
        }
        targets.push((path, format!("/products/1{document}?{pad}")));
    }
    targets.extend(["/openapi.json", "/docs", "/"].map(|path| (path, path.to_owned())));
    let mut statuses = BTreeSet::new();
    for (path, target) in &targets {
        let described = members(&DOCUMENT["paths"][path]);
        for method in ["GET", "HEAD", "OPTIONS"] {
            if !described.contains_key(&method.to_ascii_lowercase()) {
                continue;
            }
            let cached = if path.starts_with("/products") { &[tag.as_str()][..] } else { &[] };
            for headers in [&[][..], &["Accept-Encoding: identity"], &[&long], cached] {
                let answer = connection.request(method, target, headers).unwrap();
                statuses.insert(answer.status);
                assert_described(path, method, &answer);
            }
            if method == "GET" {
                let coded = connection.request(method, target, &["Accept-Encoding: br"]).unwrap();
                let headers = &DOCUMENT["paths"][path]["get"]["responses"]["200"]["headers"];
                assert!(coded.status != 200 || headers.get("Content-Encoding").is_some());
            }
        }
        for method in ["POST", "DELETE"] {
            let answer = connection.request(method, target, &[]).unwrap();
            if answer.status != 414 {
                assert_is(
                    &format!("{method} {target}"),
                    &DOCUMENT["components"]["responses"]["MethodNotAllowed"],
                    &answer,
                );
            }
        }
    }
    let nowhere = connection.request("GET", "/nowhere", &[]).unwrap();
    assert_is("/nowhere", &DOCUMENT["components"]["responses"]["NoSuchPath"], &nowhere);

    database.execute("ALTER TABLE atelier.product RENAME TO gone");
    for path in members(&DOCUMENT["paths"]).keys().filter(|path| path.starts_with("/products")) {
        for method in ["GET", "HEAD"] {
            let answer = request(broken.public, method, &path.replace("{product_id}", "1"), &[]);
            statuses.insert(answer.status);
            assert_described(path, method, &answer);
        }
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [200, 204, 304, 400, 404, 414, 431, 503]);
}

#[test]
fn parameters_have_the_range_of_the_router() {
    let parameters = &DOCUMENT["components"]["parameters"];
    let accepts = |target: &str| {
        let (path, query) = target.split_once('?').unwrap();
        route(SITE, &Method::GET, path, Some(query)).is_ok()
    };
    assert_eq!(parameters["ids"]["schema"]["maxItems"], MAX_IDS);
    for (parameter, target) in
        [("page", "/products?page="), ("ids", "/products?ids="), ("product_id", "/products/*/styles?")]
    {
        let schema = &parameters[parameter]["schema"];
        let schema = resolved(schema.get("items").unwrap_or(schema));
        let bound = |name: &str| schema[name].as_i64().unwrap();
        let accepts = |value: i64| {
            let value = value.to_string();
            accepts(&if target.contains('*') {
                target.replace('*', &value)
            } else {
                format!("{target}{value}")
            })
        };
        assert!(accepts(bound("minimum")) && accepts(bound("maximum")), "{parameter}");
        assert!(!accepts(bound("minimum") - 1) && !accepts(bound("maximum") + 1), "{parameter}");
    }
    let count = &parameters["count"]["schema"];
    assert_eq!((&count["minimum"], count.get("maximum")), (&json!(1), None));
    assert!(accepts("/products?count=9223372036854775808") && !accepts("/products?count=0"));
}

#[test]
fn examples_match_their_schemas() {
    let mut examples = 0;
    let mut hold = |what: &str, schema: &Value, value: &Value| {
        examples += 1;
        assert_valid(what, schema, value);
    };
    let mut waiting = vec![("#".to_owned(), &*DOCUMENT)];
    while let Some((at, value)) = waiting.pop() {
        if let Some(to) = value.get("$ref") {
            resolved(value);
            assert!(to.as_str().unwrap().starts_with("#/components/"), "{at}");
        }
        // A header, a parameter, or a body of a certain type.
        if let (Some(schema), Some(example)) = (value.get("schema"), value.get("example")) {
            hold(&at, schema, example);
        }
        if let (Some(schema), Some(Value::Object(examples))) = (value.get("schema"), value.get("examples")) {
            for (name, example) in examples {
                hold(&format!("{at}/examples/{name}"), schema, &example["value"]);
            }
        }
        // A schema.
        if let Some(Value::Array(examples)) = value.get("examples") {
            for example in examples {
                hold(&at, value, example);
            }
        }
        if let Some(default) = value.get("default") {
            hold(&at, value, default);
        }
        match value {
            Value::Object(members) => {
                let members = members.iter().filter(|(name, _)| !name.starts_with("example"));
                waiting.extend(members.map(|(name, value)| (format!("{at}/{name}"), value)));
            }
            Value::Array(items) => {
                waiting
                    .extend(items.iter().enumerate().map(|(index, value)| (format!("{at}/{index}"), value)));
            }
            _ => {}
        }
    }
    assert!(examples > 50, "{examples}");
}

#[test]
fn every_component_is_referenced() {
    let unused = ["MethodNotAllowed"]; // of no path: its description has the condition
    for (kind, components) in members(&DOCUMENT["components"]) {
        for name in members(components).keys().filter(|name| !unused.contains(&name.as_str())) {
            assert!(OPENAPI.contains(&format!("\"#/components/{kind}/{name}\"")), "{kind}/{name}");
        }
    }
}

#[test]
fn the_documentation_works_offline() {
    let database = Postgres::shared().database();
    publish(&database, awkward().path());
    let server = Server::start(&database.url(), &[]);
    let page = get(server.public, "/docs");
    assert_eq!(get(server.public, "/docs/").body, page.body);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("http"), "{policy}");
    assert!(!page.text().contains("http://") && !page.text().contains("https://"), "{}", page.text());
    let attributes = page.text().split([' ', '>']);
    let links: Vec<&str> = attributes
        .filter_map(|text| text.strip_prefix("href=\"").or_else(|| text.strip_prefix("src=\"")))
        .map(|link| link.trim_end_matches('"'))
        .collect();
    assert_eq!(links.len(), 6, "{links:?}");
    for link in links {
        let expected = match link.rsplit_once('.').unwrap().1 {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            _ => "image/png",
        };
        let file = get(server.public, link);
        assert_eq!((file.status, file.header("content-type")), (200, Some(expected)), "{link}");
        assert!(!file.body.is_empty(), "{link}");
    }
    assert!(get(server.public, "/docs/start.js").text().contains("url: \"/openapi.json\""));
    assert_eq!(get(server.public, "/openapi.json").text(), OPENAPI);
    for unknown in ["/docs/nothing", "/docs/../docs/index.css", "/docs/index.css//", "/docs//"] {
        assert_eq!(get(server.public, unknown).status, 404, "{unknown}");
    }
}
