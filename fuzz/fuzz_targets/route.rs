//! Routing of a request's method and target: the properties in `route_properties`.
//!
//! The input: a byte for the method (`0` GET, `1` HEAD, `2` OPTIONS, `3` POST), then the target.

#![no_main]

use libfuzzer_sys::fuzz_target;

// Only these files: building the whole server would take as long as everything else here.
#[allow(dead_code, reason = "the server uses it")]
#[path = "../../server/src/catalogue"]
mod catalogue {
    pub mod resource;
}
#[allow(dead_code, reason = "the server uses it")]
#[path = "../../server/src/http"]
mod http {
    pub mod parameters;
    pub mod path;
    pub mod problem;
    pub mod route;
    pub mod route_properties;
}

fuzz_target!(|input: &[u8]| {
    let Some((&method, target)) = input.split_first() else { return };
    let Ok(target) = std::str::from_utf8(target) else { return };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    http::route_properties::assert_routed(
        ["GET", "HEAD", "OPTIONS", "POST"][usize::from(method % 4)],
        path,
        query,
    );
});
