//! Rows → JSON bodies: keys in the order of `docs/api.md`, no white space, UTF-8. No I/O.
//!
//! Rows may come in any order, except those of `related`, whose order is part of the answer.

use serde::{Serialize, Serializer};

use crate::catalogue::resource::Document;

/// The rows that one statement returned, about any number of products.
#[derive(Debug, Default)]
pub(crate) struct Rows<'a> {
    /// Products with styles may be missing if only styles were queried.
    pub(crate) products: Vec<Product<'a>>,
    pub(crate) features: Vec<Child<Feature<'a>>>,
    pub(crate) styles: Vec<Child<Style<'a>>>,
    pub(crate) photos: Vec<Child<Photo<'a>>>,
    pub(crate) skus: Vec<Child<Sku<'a>>>,
    /// For each product, in the order of the source file.
    pub(crate) related: Vec<Child<i32>>,
    /// `--compat`: a style without photos or skus is rendered as by the earlier API.
    pub(crate) compat: bool,
}

/// A row that belongs to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child<T> {
    pub(crate) parent: i32,
    pub(crate) id: i32,
    pub(crate) row: T,
}

/// Prices are decimal numbers with two decimal places, here and below. Fields are named as in `schema.sql`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Product<'a> {
    pub(crate) id: i32,
    pub(crate) name: &'a str,
    pub(crate) slogan: &'a str,
    pub(crate) description: &'a str,
    pub(crate) category: &'a str,
    pub(crate) default_price: &'a str,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Feature<'a> {
    pub(crate) feature: &'a str,
    pub(crate) value: Option<&'a str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Style<'a> {
    pub(crate) name: &'a str,
    pub(crate) original_price: &'a str,
    pub(crate) sale_price: Option<&'a str>,
    pub(crate) default_style: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Photo<'a> {
    pub(crate) thumbnail_url: &'a str,
    pub(crate) url: &'a str,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sku<'a> {
    pub(crate) quantity: i32,
    pub(crate) size: &'a str,
}

/// `/products/:product_id`
#[derive(Serialize)]
struct ProductDocument<'a, Features> {
    #[serde(flatten)]
    product: Product<'a>,
    features: Features,
}

/// `/products/:product_id/styles`. The id is a string there: published clients rely on it.
#[derive(Serialize)]
struct StylesDocument<Results> {
    product_id: String,
    results: Results,
}

#[derive(Serialize)]
struct StyleDocument<'a, Photos, Skus> {
    style_id: i32,
    name: &'a str,
    original_price: &'a str,
    sale_price: Option<&'a str>,
    #[serde(rename = "default?")]
    default_style: bool,
    photos: Photos,
    skus: Skus,
}

/// `/products/:product_id/profile`
#[derive(Serialize)]
struct ProfileDocument<Product, Styles, Related> {
    product: Product,
    styles: Styles,
    related: Related,
}

/// An array whose items are made from rows while it is serialized.
struct Array<'r, T, F>(&'r [T], F);

impl<'r, T, F: Fn(&'r T) -> S, S: Serialize> Serialize for Array<'r, T, F> {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

/// Photos; with `compat`, one of nulls if there are none.
struct Photos<'r, 'a> {
    rows: &'r [Child<Photo<'a>>],
    compat: bool,
}

impl Serialize for Photos<'_, '_> {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        #[derive(Serialize)]
        struct NoPhoto {
            thumbnail_url: (),
            url: (),
        }
        if self.compat && self.rows.is_empty() {
            return [NoPhoto { thumbnail_url: (), url: () }].serialize(serializer);
        }
        serializer.collect_seq(self.rows.iter().map(|photo| photo.row))
    }
}

/// An object of skus, keyed by their id as a string; with `compat`, one of nulls if there are none.
struct Skus<'r, 'a> {
    rows: &'r [Child<Sku<'a>>],
    compat: bool,
}

impl Serialize for Skus<'_, '_> {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        #[derive(Serialize)]
        struct NoSku {
            quantity: (),
            size: (),
        }
        if self.compat && self.rows.is_empty() {
            return serializer.collect_map([("null", NoSku { quantity: (), size: () })]);
        }
        serializer.collect_map(self.rows.iter().map(|sku| (sku.id, sku.row)))
    }
}

impl<'a> Rows<'a> {
    /// Brings the rows into the order of the answer. Must be called before anything is rendered.
    pub(crate) fn sort(&mut self) {
        self.products.sort_unstable_by_key(|product| product.id);
        self.features.sort_unstable_by_key(Child::key);
        self.styles.sort_unstable_by_key(Child::key);
        self.photos.sort_unstable_by_key(Child::key);
        self.skus.sort_unstable_by_key(Child::key);
        self.related.sort_by_key(|row| row.parent); // stable: keeps the order of the source file
    }

    /// `None` if there is no such product.
    pub(crate) fn document(&self, document: Document, id: i32) -> Option<Vec<u8>> {
        match document {
            Document::Product => Some(bytes(&self.with_features(self.product(id)?))),
            Document::Styles => self
                .exists(id)
                .then(|| bytes(&StylesDocument { product_id: id.to_string(), results: self.styles(id) })),
            Document::Related => self.exists(id).then(|| bytes(&self.related(id))),
            Document::Profile => Some(bytes(&ProfileDocument {
                product: self.with_features(self.product(id)?),
                styles: self.styles(id),
                related: self.related(id),
            })),
        }
    }

    /// A product exists if it has a row or one of its styles does.
    fn exists(&self, id: i32) -> bool {
        !children(&self.styles, id).is_empty() || self.product(id).is_some()
    }

    /// A page: all products, by id.
    pub(crate) fn page(&self) -> Vec<u8> {
        bytes(&self.products)
    }

    /// Products in the order of `ids`; unknown ids are left out.
    pub(crate) fn products(&self, ids: &[i32]) -> Vec<u8> {
        bytes(&ids.iter().filter_map(|id| self.product(*id)).collect::<Vec<_>>())
    }

    fn product(&self, id: i32) -> Option<Product<'a>> {
        self.products.binary_search_by_key(&id, |product| product.id).ok().map(|at| self.products[at])
    }

    fn with_features(&self, product: Product<'a>) -> ProductDocument<'a, impl Serialize> {
        ProductDocument {
            product,
            features: Array(children(&self.features, product.id), |row: &Child<_>| row.row),
        }
    }

    fn styles(&self, product: i32) -> impl Serialize {
        Array(children(&self.styles, product), |style: &Child<Style<'a>>| StyleDocument {
            style_id: style.id,
            name: style.row.name,
            original_price: style.row.original_price,
            sale_price: style.row.sale_price,
            default_style: style.row.default_style,
            photos: Photos { rows: children(&self.photos, style.id), compat: self.compat },
            skus: Skus { rows: children(&self.skus, style.id), compat: self.compat },
        })
    }

    fn related(&self, product: i32) -> impl Serialize {
        Array(children(&self.related, product), |row: &Child<_>| row.row)
    }
}

impl<T> Child<T> {
    fn key(&self) -> (i32, i32) {
        (self.parent, self.id)
    }
}

/// The rows of one parent. `rows` must be sorted by parent.
fn children<T>(rows: &[Child<T>], parent: i32) -> &[Child<T>] {
    let begin = rows.partition_point(|row| row.parent < parent);
    let end = begin + rows[begin..].partition_point(|row| row.parent == parent);
    &rows[begin..end]
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    // Cannot fail: there are only strings and numbers, and maps with such keys.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child<T>(parent: i32, id: i32, row: T) -> Child<T> {
        Child { parent, id, row }
    }

    /// Two products with all kinds of rows, unsorted, and one with none.
    fn rows() -> Rows<'static> {
        let product = |id, name| Product {
            id,
            name,
            slogan: "s",
            description: "d",
            category: "c",
            default_price: "140.00",
        };
        let style = |name, sale_price| Style {
            name,
            original_price: "0.00",
            sale_price,
            default_style: sale_price.is_none(),
        };
        let photo = |url| Photo { thumbnail_url: "t", url };
        let mut rows = Rows {
            products: vec![product(9, "nine"), product(2, "two"), product(5, "five")],
            features: vec![
                child(9, 3, Feature { feature: "Lenses", value: Some("Ultrasheen") }),
                child(2, 4, Feature { feature: "UV Protection", value: None }),
                child(2, 1, Feature { feature: "Fabric", value: Some("") }),
            ],
            styles: vec![
                child(2, 12, style("b", Some("500000000.00"))),
                child(9, 11, style("c", None)),
                child(2, 10, style("a", None)),
            ],
            photos: vec![child(10, 7, photo("u7")), child(12, 8, photo("u8")), child(10, 6, photo("u6"))],
            skus: vec![
                child(12, 3, Sku { quantity: 0, size: "XS" }),
                child(12, 21, Sku { quantity: 8, size: "7 1/2" }),
            ],
            related: vec![child(2, 5, 9), child(9, 2, 2), child(2, 1, 5), child(2, 3, 9)],
            compat: false,
        };
        rows.sort();
        rows
    }

    fn text(bytes: Option<Vec<u8>>) -> String {
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    #[test]
    fn documents_have_the_documented_form() {
        let rows = rows();
        let product = r#"{"id":2,"name":"two","slogan":"s","description":"d","category":"c","default_price":"140.00","features":[{"feature":"Fabric","value":""},{"feature":"UV Protection","value":null}]}"#;
        let styles = r#"[{"style_id":10,"name":"a","original_price":"0.00","sale_price":null,"default?":true,"photos":[{"thumbnail_url":"t","url":"u6"},{"thumbnail_url":"t","url":"u7"}],"skus":{}},{"style_id":12,"name":"b","original_price":"0.00","sale_price":"500000000.00","default?":false,"photos":[{"thumbnail_url":"t","url":"u8"}],"skus":{"3":{"quantity":0,"size":"XS"},"21":{"quantity":8,"size":"7 1/2"}}}]"#;
        assert_eq!(text(rows.document(Document::Product, 2)), product);
        assert_eq!(
            text(rows.document(Document::Styles, 2)),
            format!(r#"{{"product_id":"2","results":{styles}}}"#)
        );
        assert_eq!(text(rows.document(Document::Related, 2)), "[9,5,9]");
        assert_eq!(
            text(rows.document(Document::Profile, 2)),
            format!(r#"{{"product":{product},"styles":{styles},"related":[9,5,9]}}"#)
        );
        assert_eq!(text(rows.document(Document::Styles, 5)), r#"{"product_id":"5","results":[]}"#);
        assert_eq!(text(rows.document(Document::Related, 5)), "[]");
        for document in [Document::Product, Document::Styles, Document::Related, Document::Profile] {
            assert_eq!(rows.document(document, 4), None);
        }
    }

    #[test]
    fn compat_renders_a_style_without_photos_or_skus_like_the_earlier_api() {
        let style = Style { name: "a", original_price: "0.00", sale_price: None, default_style: false };
        let mut rows = Rows {
            products: vec![Product { id: 2, ..Product::default() }],
            styles: vec![child(2, 10, style), child(2, 11, style)],
            photos: vec![child(11, 1, Photo { thumbnail_url: "t", url: "u" })],
            skus: vec![child(11, 3, Sku { quantity: 1, size: "S" })],
            compat: true,
            ..Rows::default()
        };
        rows.sort();
        let none =
            r#""photos":[{"thumbnail_url":null,"url":null}],"skus":{"null":{"quantity":null,"size":null}}"#;
        let some = r#""photos":[{"thumbnail_url":"t","url":"u"}],"skus":{"3":{"quantity":1,"size":"S"}}"#;
        for document in [Document::Styles, Document::Profile] {
            let body = text(rows.document(document, 2));
            assert!(body.contains(none) && body.contains(some), "{body}");
        }
        rows.compat = false;
        assert!(text(rows.document(Document::Styles, 2)).contains(r#""photos":[],"skus":{}}"#));
    }

    #[test]
    fn lists_are_in_order_of_ids_or_of_the_request() {
        let rows = rows();
        let ids = |body: Vec<u8>| -> Vec<i64> {
            let products: serde_json::Value = serde_json::from_slice(&body).unwrap();
            products.as_array().unwrap().iter().map(|product| product["id"].as_i64().unwrap()).collect()
        };
        assert_eq!(ids(rows.page()), [2, 5, 9]);
        assert_eq!(ids(rows.products(&[9, 4, 2, 9])), [9, 2, 9]);
        assert_eq!(rows.products(&[4]), b"[]");
    }

    #[test]
    fn only_characters_that_json_requires_are_escaped() {
        let mut rows = Rows {
            products: vec![Product {
                id: 1,
                name: "\"\\/\u{8}\u{c}\n\r\t\u{1}\u{7f}é\u{2028}🧥",
                ..Product::default()
            }],
            ..Rows::default()
        };
        rows.sort();
        let body = String::from_utf8(rows.page()).unwrap();
        assert!(
            body.starts_with("[{\"id\":1,\"name\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\u{7f}é\u{2028}🧥\","),
            "{body}"
        );
    }
}
