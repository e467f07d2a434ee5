//! Properties of the router that hold for every request: for a property test, and for the fuzz target, which includes
//! this file.

use http::Method;

use crate::catalogue::resource::{ProductPage, Resource};
use crate::http::parameters::{MAX_COUNT, MAX_IDS};
use crate::http::route::{Route, Site, route};

const ROOT: Site = Site { base: "", page: true };
const BELOW_SHOP: Site = Site { base: "/shop", page: true };

/// No panic; accepted numbers are in range; the answer is the same below a base path; the canonical request for the same
/// resource has the same route.
pub(crate) fn assert_routed(method: &str, path: &str, query: Option<&str>) {
    let method = Method::from_bytes(method.as_bytes()).unwrap_or_else(|error| panic!("{method}: {error}"));
    let found = route(ROOT, &method, path, query);
    if path.starts_with('/') {
        let below = route(BELOW_SHOP, &method, &format!("/shop{path}"), query);
        assert_eq!(
            below.as_ref().map_err(|problem| problem.status),
            found.as_ref().map_err(|problem| problem.status)
        );
    }
    let resource = match found {
        Ok(Route::Resource(resource)) => resource,
        Ok(Route::OpenApi | Route::Docs(_) | Route::WebPage(_) | Route::Options) => return,
        Err(problem) => {
            assert!([400, 404, 405].contains(&problem.status.as_u16()), "{problem:?}");
            return;
        }
    };
    assert!(method == Method::GET || method == Method::HEAD, "{method} is accepted");
    let (path, query) = match &resource {
        Resource::Page(ProductPage { page, count }) => {
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
            (format!("/products/{id}{}", document.subpath()), None)
        }
    };
    assert_eq!(route(ROOT, &Method::GET, &path, query.as_deref()), Ok(Route::Resource(resource)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::assert_routed;

    proptest! {
        #[test]
        fn nothing_out_of_range_is_accepted(
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
            assert_routed(method, &path, query.as_deref());
        }
    }
}
