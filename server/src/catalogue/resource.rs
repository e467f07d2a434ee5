//! What a client can ask the catalogue for. A resource and a load determine the answer: together they are the key of the
//! cache. No I/O.

use std::sync::Arc;

use enum_map::Enum;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// `/products?page=&count=`
    Page(ProductPage),
    /// `/products?ids=`: in the order asked for, 1 to `http::parameters::MAX_IDS` of them.
    Products(Arc<[i32]>),
    /// A document about the product with this id.
    Document(Document, i32),
}

impl Resource {
    /// The product that this is a document about.
    pub fn product(&self) -> Option<i32> {
        if let Resource::Document(_, id) = self { Some(*id) } else { None }
    }
}

/// One page of the list of products. Both numbers are positive; `count` is at most `http::parameters::MAX_COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProductPage {
    /// From 1.
    pub page: i32,
    /// Products on a page.
    pub count: i32,
}

#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq, Hash)]
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
    pub fn all() -> impl Iterator<Item = Document> {
        (0..Document::LENGTH).map(Document::from_usize)
    }

    /// Its path below `/products/:product_id`.
    pub fn subpath(self) -> &'static str {
        match self {
            Document::Product => "",
            Document::Styles => "/styles",
            Document::Related => "/related",
            Document::Profile => "/profile",
        }
    }
}
