//! Method, path and query → a route, or a problem. No I/O, and independent of the load.

use http::Method;

use crate::catalogue::resource::{Document, ProductPage, Resource};
use crate::http::parameters::{Parameters, positive};
use crate::http::path;
use crate::http::problem::Problem;

/// Longest request target: path and query together. A hundred ids of ten digits take 1,100 bytes.
pub(crate) const MAX_TARGET_BYTES: usize = 8 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// `--base-path`: empty, or whole segments such as `/shop`.
    pub base: &'static str,
    /// Whether the page for browsers is served.
    pub page: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET` or `HEAD`.
    Resource(Resource),
    /// `/openapi.json`
    OpenApi,
    /// `/docs`, or a file below it.
    Docs(String),
    /// `/`, or a file below `/page/`.
    WebPage(String),
    /// `OPTIONS` on a path that exists.
    Options,
}

/// A path that exists; method and query are not checked yet.
enum Endpoint<'a> {
    Products,
    Document(Document, &'a str),
    OpenApi,
    Docs(&'a str),
    WebPage(&'a str),
}

/// Checks the path first (404), then the method (405), then the parameters (400). A malformed path (RFC 3986, section 2.1)
/// is a 400 before all that.
pub fn route(site: Site, method: &Method, path: &str, query: Option<&str>) -> Result<Route, Problem> {
    let is_for_whole_server = path == "*" && method == Method::OPTIONS; // RFC 9110, section 9.3.7
    if is_for_whole_server {
        return Ok(Route::Options);
    }
    let path = path::decode_unreserved(path)
        .map_err(|_| Problem::bad_request("a % in the path must be followed by two hexadecimal digits"))?;
    let endpoint = path::strip_base(site.base, &path).and_then(find_endpoint);
    let endpoint = endpoint
        .filter(|endpoint| site.page || !matches!(endpoint, Endpoint::WebPage(_)))
        .ok_or_else(|| Problem::no_such_path(site.base))?;
    if method == Method::OPTIONS {
        return Ok(Route::Options);
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(Problem::method_not_allowed(method));
    }
    match endpoint {
        Endpoint::Products => products(query.unwrap_or_default()).map(Route::Resource),
        Endpoint::Document(document, id) => match positive(id) {
            Some(id) => Ok(Route::Resource(Resource::Document(document, id))),
            None => Err(Problem::bad_request(format!(
                "the product_id in the path must be a number from 1 to {}",
                i32::MAX
            ))),
        },
        Endpoint::OpenApi => Ok(Route::OpenApi),
        Endpoint::Docs(file) => Ok(Route::Docs(file.to_owned())),
        Endpoint::WebPage(file) => Ok(Route::WebPage(file.to_owned())),
    }
}

fn find_endpoint(path: &str) -> Option<Endpoint<'_>> {
    match path {
        "/products" => return Some(Endpoint::Products),
        "/openapi.json" => return Some(Endpoint::OpenApi),
        "/docs" => return Some(Endpoint::Docs("")),
        "/" => return Some(Endpoint::WebPage("")),
        _ => {}
    }
    if let Some(file) = path.strip_prefix("/docs/").filter(|file| !file.is_empty()) {
        return Some(Endpoint::Docs(file));
    }
    if let Some(file) = path.strip_prefix("/page/").filter(|file| !file.is_empty()) {
        return Some(Endpoint::WebPage(file));
    }
    let rest = path.strip_prefix("/products/").filter(|rest| !rest.is_empty())?;
    let (id, subpath) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let document = Document::all().find(|document| document.subpath() == subpath)?;
    Some(Endpoint::Document(document, id))
}

fn products(query: &str) -> Result<Resource, Problem> {
    let Parameters { page, count, ids } = Parameters::parse(query)?;
    Ok(ids.map_or(Resource::Page(ProductPage { page, count }), Resource::Products))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Site = Site { base: "", page: true };
    const BELOW_SHOP: Site = Site { base: "/shop", page: true };

    fn get(target: &str) -> Result<Route, u16> {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        route(ROOT, &Method::GET, path, query).map_err(|problem| problem.status.as_u16())
    }

    fn page(page: i32, count: i32) -> Result<Route, u16> {
        Ok(Route::Resource(Resource::Page(ProductPage { page, count })))
    }

    #[test]
    fn every_endpoint_is_routed() {
        let document = |document, id| Ok(Route::Resource(Resource::Document(document, id)));
        let ids = |ids: &[i32]| Ok(Route::Resource(Resource::Products(ids.into())));
        for (target, expected) in [
            ("/products", page(1, 5)),
            ("/products?", page(1, 5)),
            ("/products?page=3", page(3, 5)),
            ("/products?count=1000&page=200000", page(200_000, 1000)),
            ("/products?page=2147483647", page(i32::MAX, 5)),
            ("/products?count=1001", page(1, 1000)),
            ("/products?count=00000000000000000000005", page(1, 5)),
            ("/products?count=2147483648", page(1, 1000)),
            ("/products?page=2&count=99999999999999999999999999", page(2, 1000)),
            ("/products?colour=red&page=2&page_=x", page(2, 5)),
            ("/products?p%61ge=%32", page(2, 5)),
            ("/products?ids=2,3,8", ids(&[2, 3, 8])),
            ("/products?ids=8%2C3%2C8", ids(&[8, 3, 8])),
            ("/products?ids=7&count=3", ids(&[7])),
            ("/products?ids=3&ids=1", ids(&[3, 1])),
            ("/products?ids=3,2&page=1&ids=1&i%64s=3", ids(&[3, 2, 1, 3])),
            ("/products/1", document(Document::Product, 1)),
            ("/products/007", document(Document::Product, 7)),
            ("/products/1?x=y", document(Document::Product, 1)),
            ("/%70roducts/%31%30", document(Document::Product, 10)),
            ("/products/2/s%74yles/", document(Document::Styles, 2)),
            ("/products/", page(1, 5)),
            ("/products/?count=3", page(1, 3)),
            ("/products/1/", document(Document::Product, 1)),
            ("/products/1/profile/", document(Document::Profile, 1)),
            ("/products/2147483647/styles", document(Document::Styles, i32::MAX)),
            ("/products/2/related", document(Document::Related, 2)),
            ("/products/3/profile", document(Document::Profile, 3)),
            ("/openapi.json", Ok(Route::OpenApi)),
            ("/docs", Ok(Route::Docs(String::new()))),
            ("/docs/", Ok(Route::Docs(String::new()))),
            ("/openapi.json/", Ok(Route::OpenApi)),
            ("/docs/swagger-ui.css", Ok(Route::Docs("swagger-ui.css".into()))),
            ("/", Ok(Route::WebPage(String::new()))),
            ("/?utm_source=x", Ok(Route::WebPage(String::new()))),
            ("/page/main.js", Ok(Route::WebPage("main.js".into()))),
        ] {
            assert_eq!(get(target), expected, "{target}");
        }
    }

    #[test]
    fn numbers_that_are_not_positive_or_out_of_range_are_refused() {
        let too_many = ["2147483648", "99999999999999999999"];
        let none = ["0", "00", "-1", "+1", "1.0", "1e3", "", "%20", "abc", "*", "١", "1,", "%zz", "1%2F2"];
        for value in none.into_iter().chain(too_many) {
            assert_eq!(get(&format!("/products/{value}/styles")).err(), Some(400), "{value} as an id");
            assert_eq!(get(&format!("/products?page={value}")).err(), Some(400), "page {value}");
            assert_eq!(get(&format!("/products?ids=1,{value}")).err(), Some(400), "ids 1,{value}");
            assert_eq!(get(&format!("/products?ids=1&ids={value}")).err(), Some(400), "ids 1 and {value}");
        }
        for value in none.into_iter().chain(["-99999999999999999999"]) {
            assert_eq!(get(&format!("/products?count={value}")).err(), Some(400), "count {value}");
        }
        assert_eq!(get("/products?ids=").err(), Some(400));
        assert_eq!(get("/products?ids=1&page=0").err(), Some(400));
        assert_eq!(get("/products?page=1&page=1").err(), Some(400));
        let many = |count: usize| format!("/products?ids={}", vec!["1"; count].join(","));
        assert!(get(&many(100)).is_ok());
        assert_eq!(get(&many(101)).err(), Some(400));
        assert!(get(&(many(99) + "&ids=1")).is_ok());
        assert_eq!(get(&(many(99) + "&ids=1,1")).err(), Some(400));
    }

    #[test]
    fn the_path_is_checked_before_the_method_and_the_method_before_the_parameters() {
        for path in [
            "",
            "//",
            "/page",
            "/page/",
            "/product",
            "/products//",
            "/products/1//",
            "/products/1/styles//",
            "/products%2F1",
            "/products/1/reviews",
            "//products",
            "*",
        ] {
            assert_eq!(get(path).err(), Some(404), "{path}");
        }
        let status = |method: Method, path| {
            route(ROOT, &method, path, None).map_err(|problem| problem.status.as_u16())
        };
        assert_eq!(status(Method::POST, "/nowhere").err(), Some(404));
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE] {
            assert_eq!(status(method, "/products/abc").err(), Some(405));
        }
        assert_eq!(status(Method::HEAD, "/products"), page(1, 5));
        assert_eq!(status(Method::OPTIONS, "/products/1"), Ok(Route::Options));
        assert_eq!(status(Method::OPTIONS, "/products/"), Ok(Route::Options));
        assert_eq!(status(Method::OPTIONS, "*"), Ok(Route::Options));
        assert_eq!(status(Method::OPTIONS, "/nowhere").err(), Some(404));
    }

    #[test]
    fn everything_is_below_the_base_path_and_the_page_can_be_disabled() {
        let status =
            |site, path| route(site, &Method::GET, path, None).map_err(|problem| problem.status.as_u16());
        assert_eq!(status(BELOW_SHOP, "/shop/products/"), page(1, 5));
        assert_eq!(status(BELOW_SHOP, "/%73hop"), Ok(Route::WebPage(String::new())));
        for path in ["/", "/products", "/docs", "/shopping", "/shop/shop/products", "//shop/products"] {
            assert_eq!(status(BELOW_SHOP, path).err(), Some(404), "{path}");
        }
        let site = Site { page: false, ..ROOT };
        for path in ["/", "/page/main.js", "/%70age/main.js"] {
            assert_eq!(status(site, path).err(), Some(404), "{path}");
        }
        assert_eq!(status(site, "/docs"), Ok(Route::Docs(String::new())));
    }
}
