//! The label `route` of the metrics: the pattern of a path, never a path itself, since there is no bound on those. No I/O.

use enum_map::Enum;

#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
pub enum RouteLabel {
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
    /// `/`, the page for browsers
    WebPage,
    /// `OPTIONS`
    Options,
    /// Any request that is refused before it is routed.
    Refused,
}

impl RouteLabel {
    pub fn all() -> impl Iterator<Item = RouteLabel> {
        (0..RouteLabel::LENGTH).map(RouteLabel::from_usize)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            RouteLabel::Products => "/products",
            RouteLabel::ProductsByIds => "/products?ids",
            RouteLabel::Product => "/products/:product_id",
            RouteLabel::Styles => "/products/:product_id/styles",
            RouteLabel::Related => "/products/:product_id/related",
            RouteLabel::Profile => "/products/:product_id/profile",
            RouteLabel::Docs => "/docs",
            RouteLabel::WebPage => "/",
            RouteLabel::Options => "OPTIONS",
            RouteLabel::Refused => "refused",
        }
    }
}
