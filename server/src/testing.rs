//! What must hold for every request: for the property test, and for the fuzz target, which includes this file.

use http::Method;

use crate::http::parameters::{MAX_COUNT, MAX_IDS};
use crate::http::route::{Document, Page, Resource, Route, Site, route};

/// All there is, at the root.
pub(crate) const WHOLE: Site = Site { base: "", page: true };
/// The same below a path.
pub(crate) const SHOP: Site = Site { base: "/shop", page: true };

/// Whatever comes in: no panic, what is taken is in range, it is the same below a path, and asking for it in the plainest
/// way gives it again.
pub(crate) fn assert_routed(method: &str, path: &str, query: Option<&str>) {
    let method = Method::from_bytes(method.as_bytes()).unwrap_or_else(|error| panic!("{method}: {error}"));
    let found = route(WHOLE, &method, path, query);
    if path.starts_with('/') {
        let below = route(SHOP, &method, &format!("/shop{path}"), query);
        assert_eq!(
            below.as_ref().map_err(|problem| problem.status),
            found.as_ref().map_err(|problem| problem.status)
        );
    }
    let resource = match found {
        Ok(Route::Resource(resource)) => resource,
        Ok(Route::OpenApi | Route::Docs(_) | Route::Page(_) | Route::Options) => return,
        Err(problem) => {
            assert!([400, 404, 405].contains(&problem.status.as_u16()), "{problem:?}");
            return;
        }
    };
    assert!(method == Method::GET || method == Method::HEAD, "{method} is taken");
    let (path, query) = match &resource {
        Resource::Page(Page { page, count }) => {
            assert!(*page >= 1 && (1..=MAX_COUNT).contains(count), "{resource:?}");
            ("/products".to_owned(), Some(format!("page={page}&count={count}")))
        }
        Resource::Products(ids) => {
            assert!((1..=MAX_IDS).contains(&ids.len()) && ids.iter().all(|id| *id >= 1), "{resource:?}");
            let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
            ("/products".to_owned(), Some(format!("ids={}", ids.join(","))))
        }
        Resource::Document(document, id) => {
            assert!(*id >= 1, "{resource:?}");
            let below = match document {
                Document::Product => "",
                Document::Styles => "/styles",
                Document::Related => "/related",
                Document::Profile => "/profile",
            };
            (format!("/products/{id}{below}"), None)
        }
    };
    assert_eq!(route(WHOLE, &Method::GET, &path, query.as_deref()), Ok(Route::Resource(resource)));
}
