//! Method, path and query → what is asked for, or why not. Pure: no I/O, and the same for every load.

use std::sync::Arc;

use http::Method;

use crate::http::parameters::{Parameters, positive};
use crate::http::path;
use crate::http::problem::Problem;

/// Longest request target, path and query together, in bytes. A hundred ids of ten digits take 1,100.
pub const MAX_TARGET_BYTES: usize = 8 * 1024;

/// Something that has an answer as long as a load is published. Its answer depends on nothing but this and the load,
/// so it is the key of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// `/products?page=&count=`
    Page(Page),
    /// `/products?ids=`: in the order asked, 1 to [`crate::http::parameters::MAX_IDS`] of them.
    Products(Arc<[i32]>),
    /// What is known of one product.
    Document(Document, i32),
}

impl Resource {
    /// The product whose document this is.
    pub fn product(&self) -> Option<i32> {
        if let Resource::Document(_, id) = self { Some(*id) } else { None }
    }
}

/// A page of the catalogue. Both numbers are positive; `count` is at most [`crate::http::parameters::MAX_COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// From 1.
    pub page: i32,
    /// Products on it.
    pub count: i32,
}

/// What of a product is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Document {
    /// `/products/:product_id`
    Product,
    /// `/products/:product_id/styles`
    Styles,
    /// `/products/:product_id/related`
    Related,
    /// `/products/:product_id/profile`
    Profile,
}

impl Document {
    /// All of them.
    pub const ALL: [Document; 4] =
        [Document::Product, Document::Styles, Document::Related, Document::Profile];
}

/// What there is, and where.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// What every path begins with: nothing, or whole segments, as `/shop`.
    pub base: &'static str,
    /// Whether there is a page at `/`.
    pub page: bool,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A resource of the catalogue; `GET` or `HEAD`.
    Resource(Resource),
    /// `/openapi.json`
    OpenApi,
    /// `/docs`, or a file below it.
    Docs(String),
    /// `/`, or a file below `/page/`.
    Page(String),
    /// `OPTIONS` on a path that exists.
    Options,
}

/// The routes under which requests are counted: a path's pattern, never a path, of which there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `/products`, by page
    Products,
    /// `/products?ids=`
    ProductsByIds,
    /// `/products/:product_id`
    Product,
    /// `/products/:product_id/styles`
    Styles,
    /// `/products/:product_id/related`
    Related,
    /// `/products/:product_id/profile`
    Profile,
    /// `/openapi.json` and `/docs`
    Docs,
    /// `/`, the page
    Page,
    /// `OPTIONS`
    Options,
    /// Whatever was refused before it was known what it is.
    Refused,
}

impl Name {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Name; 10] = [
        Name::Products,
        Name::ProductsByIds,
        Name::Product,
        Name::Styles,
        Name::Related,
        Name::Profile,
        Name::Docs,
        Name::Page,
        Name::Options,
        Name::Refused,
    ];

    /// As it stands in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Name::Products => "/products",
            Name::ProductsByIds => "/products?ids",
            Name::Product => "/products/:product_id",
            Name::Styles => "/products/:product_id/styles",
            Name::Related => "/products/:product_id/related",
            Name::Profile => "/products/:product_id/profile",
            Name::Docs => "/docs",
            Name::Page => "/",
            Name::Options => "OPTIONS",
            Name::Refused => "refused",
        }
    }
}

impl Route {
    /// What it is counted under.
    pub fn name(&self) -> Name {
        match self {
            Route::Resource(Resource::Page(_)) => Name::Products,
            Route::Resource(Resource::Products(_)) => Name::ProductsByIds,
            Route::Resource(Resource::Document(Document::Product, _)) => Name::Product,
            Route::Resource(Resource::Document(Document::Styles, _)) => Name::Styles,
            Route::Resource(Resource::Document(Document::Related, _)) => Name::Related,
            Route::Resource(Resource::Document(Document::Profile, _)) => Name::Profile,
            Route::OpenApi | Route::Docs(_) => Name::Docs,
            Route::Page(_) => Name::Page,
            Route::Options => Name::Options,
        }
    }
}

/// A path that exists, before the method and the query are looked at.
enum Path<'a> {
    Products,
    Document(Document, &'a str),
    OpenApi,
    Docs(&'a str),
    Page(&'a str),
}

/// Finds what is asked for. First the path (404), then the method (405), then the parameters (400). A path that is none
/// (RFC 3986, section 2.1) is 400 before all that.
pub fn route(site: Site, method: &Method, path: &str, query: Option<&str>) -> Result<Route, Problem> {
    let asks_the_server = path == "*" && method == Method::OPTIONS; // RFC 9110, section 9.3.7
    if asks_the_server {
        return Ok(Route::Options);
    }
    let path = path::decoded(path)
        .map_err(|_| Problem::bad_request("a % in the path must have two hexadecimal digits behind it"))?;
    let found = path::below(site.base, &path).and_then(find);
    let path = found
        .filter(|path| site.page || !matches!(path, Path::Page(_)))
        .ok_or_else(|| Problem::no_such_path(site.base))?;
    if method == Method::OPTIONS {
        return Ok(Route::Options);
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(Problem::method_not_allowed(method));
    }
    match path {
        Path::Products => products(query.unwrap_or_default()).map(Route::Resource),
        Path::Document(document, id) => match positive(id) {
            Some(id) => Ok(Route::Resource(Resource::Document(document, id))),
            None => Err(Problem::bad_request(format!(
                "the product_id in the path must be a number from 1 to {}",
                i32::MAX
            ))),
        },
        Path::OpenApi => Ok(Route::OpenApi),
        Path::Docs(file) => Ok(Route::Docs(file.to_owned())),
        Path::Page(file) => Ok(Route::Page(file.to_owned())),
    }
}

fn find(path: &str) -> Option<Path<'_>> {
    match path {
        "/products" => return Some(Path::Products),
        "/openapi.json" => return Some(Path::OpenApi),
        "/docs" => return Some(Path::Docs("")),
        "/" => return Some(Path::Page("")),
        _ => {}
    }
    if let Some(file) = path.strip_prefix("/docs/").filter(|file| !file.is_empty()) {
        return Some(Path::Docs(file));
    }
    if let Some(file) = path.strip_prefix("/page/").filter(|file| !file.is_empty()) {
        return Some(Path::Page(file));
    }
    let rest = path.strip_prefix("/products/").filter(|rest| !rest.is_empty())?;
    match rest.split_once('/') {
        None => Some(Path::Document(Document::Product, rest)),
        Some((id, "styles")) => Some(Path::Document(Document::Styles, id)),
        Some((id, "related")) => Some(Path::Document(Document::Related, id)),
        Some((id, "profile")) => Some(Path::Document(Document::Profile, id)),
        Some(_) => None,
    }
}

fn products(query: &str) -> Result<Resource, Problem> {
    let Parameters { page, count, ids } = Parameters::parse(query)?;
    Ok(ids.map_or(Resource::Page(Page { page, count }), Resource::Products))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{SHOP, WHOLE};

    fn get(target: &str) -> Result<Route, u16> {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        route(WHOLE, &Method::GET, path, query).map_err(|problem| problem.status.as_u16())
    }

    fn page(page: i32, count: i32) -> Result<Route, u16> {
        Ok(Route::Resource(Resource::Page(Page { page, count })))
    }

    #[test]
    fn every_resource_is_found() {
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
            ("/", Ok(Route::Page(String::new()))),
            ("/?utm_source=x", Ok(Route::Page(String::new()))),
            ("/page/main.js", Ok(Route::Page("main.js".into()))),
        ] {
            assert_eq!(get(target), expected, "{target}");
        }
    }

    #[test]
    fn what_is_not_a_positive_integer_in_range_is_refused() {
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
    fn the_path_comes_before_the_method_and_the_method_before_the_parameters() {
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
            route(WHOLE, &method, path, None).map_err(|problem| problem.status.as_u16())
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
    fn below_a_path_is_all_there_is_and_without_the_page_there_is_none() {
        let status =
            |site, path| route(site, &Method::GET, path, None).map_err(|problem| problem.status.as_u16());
        assert_eq!(status(SHOP, "/shop/products/"), page(1, 5));
        assert_eq!(status(SHOP, "/%73hop"), Ok(Route::Page(String::new())));
        for path in ["/", "/products", "/docs", "/shopping", "/shop/shop/products", "//shop/products"] {
            assert_eq!(status(SHOP, path).err(), Some(404), "{path}");
        }
        let site = Site { page: false, ..WHOLE };
        for path in ["/", "/page/main.js", "/%70age/main.js"] {
            assert_eq!(status(site, path).err(), Some(404), "{path}");
        }
        assert_eq!(status(site, "/docs"), Ok(Route::Docs(String::new())));
    }

    proptest! {
        #[test]
        fn nothing_out_of_range_is_taken(
            method in prop_oneof![Just("GET"), Just("HEAD"), Just("OPTIONS"), Just("POST"), Just("X-Y")],
            path in prop_oneof![
                "/products(/[0-9a-z+%-]{0,12}(/(styles|related|profile|x))?)?/?",
                "/(docs|openapi.json|page)?/?[a-z]{0,3}",
                ".{0,20}",
            ],
            query in proptest::option::of(prop_oneof![
                "((page|count|ids|x)=[0-9,%+-]{0,12}&?){0,4}",
                ".{0,30}",
            ]),
        ) {
            crate::testing::assert_routed(method, &path, query.as_deref());
        }
    }

    #[test]
    fn names_stand_at_their_discriminants() {
        for (index, name) in Name::ALL.into_iter().enumerate() {
            assert_eq!(name as usize, index);
        }
    }
}
