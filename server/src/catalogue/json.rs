//! Rows → the bytes that clients get: keys in the order of the contract, no white space, UTF-8. No I/O.
//!
//! Rows may come in any order, but for `related`, whose order is its content.

use serde::{Serialize, Serializer};

use crate::http::route::Document;

/// Rows of one statement, about any number of products.
#[derive(Debug, Default)]
pub struct Rows<'a> {
    /// Products, of which those with styles may be missing where only styles are asked for.
    pub products: Vec<Product<'a>>,
    /// Features of these products.
    pub features: Vec<Child<Feature<'a>>>,
    /// Styles of these products.
    pub styles: Vec<Child<Style<'a>>>,
    /// Photos of these styles.
    pub photos: Vec<Child<Photo<'a>>>,
    /// Stock-keeping units of these styles.
    pub skus: Vec<Child<Sku<'a>>>,
    /// Related products; of each product in the order of the source.
    pub related: Vec<Child<i32>>,
    /// Whether a style without photos or stock-keeping units is answered as the earlier API did.
    pub compat: bool,
}

/// A row that belongs to another.
#[derive(Clone, Copy, Debug)]
pub struct Child<T> {
    /// The id of what it belongs to.
    pub parent: i32,
    /// Its own id.
    pub id: i32,
    /// The rest of it.
    pub row: T,
}

/// A product. Its price is a decimal number with two digits, as in all that follow.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "columns of schema.sql")]
pub struct Product<'a> {
    pub id: i32,
    pub name: &'a str,
    pub slogan: &'a str,
    pub description: &'a str,
    pub category: &'a str,
    pub default_price: &'a str,
}

/// A feature.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "columns of schema.sql")]
pub struct Feature<'a> {
    pub feature: &'a str,
    pub value: Option<&'a str>,
}

/// A style.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "columns of schema.sql")]
pub struct Style<'a> {
    pub name: &'a str,
    pub original_price: &'a str,
    pub sale_price: Option<&'a str>,
    pub default_style: bool,
}

/// A photo.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "columns of schema.sql")]
pub struct Photo<'a> {
    pub thumbnail_url: &'a str,
    pub url: &'a str,
}

/// A stock-keeping unit.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "columns of schema.sql")]
pub struct Sku<'a> {
    pub quantity: i32,
    pub size: &'a str,
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

/// An array, made of rows as it is written.
struct Array<'r, T, F>(&'r [T], F);

impl<'r, T, F: Fn(&'r T) -> S, S: Serialize> Serialize for Array<'r, T, F> {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

/// Photos, or one that is none.
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

/// Stock-keeping units, keyed by their id as a string, or one that is none.
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
    /// Brings the rows into the order of the contract. Rendering needs it.
    pub fn sort(&mut self) {
        self.products.sort_unstable_by_key(|product| product.id);
        self.features.sort_unstable_by_key(Child::key);
        self.styles.sort_unstable_by_key(Child::key);
        self.photos.sort_unstable_by_key(Child::key);
        self.skus.sort_unstable_by_key(Child::key);
        self.related.sort_by_key(|row| row.parent); // stable: within a product the order is the source's
    }

    /// A document of one product, or nothing if there is no such product.
    pub fn document(&self, document: Document, id: i32) -> Option<Vec<u8>> {
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

    /// Whether there is such a product: by a row of its own, or by one of its styles.
    fn exists(&self, id: i32) -> bool {
        !children(&self.styles, id).is_empty() || self.product(id).is_some()
    }

    /// A page: all products, by id.
    pub fn page(&self) -> Vec<u8> {
        bytes(&self.products)
    }

    /// Products in the order asked; an unknown one is left out.
    pub fn products(&self, ids: &[i32]) -> Vec<u8> {
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

/// The rows of one parent among rows that are in order of their parents.
fn children<T>(rows: &[Child<T>], parent: i32) -> &[Child<T>] {
    let begin = rows.partition_point(|row| row.parent < parent);
    let end = begin + rows[begin..].partition_point(|row| row.parent == parent);
    &rows[begin..end]
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    // Strings, numbers, and keys that are either: there is nothing in them that could fail.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child<T>(parent: i32, id: i32, row: T) -> Child<T> {
        Child { parent, id, row }
    }

    /// Two products with all there is, in no order, and one with nothing.
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
    fn documents_are_as_the_contract_says() {
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
        for document in Document::ALL {
            assert_eq!(rows.document(document, 4), None);
        }
    }

    #[test]
    fn what_a_style_has_none_of_is_answered_as_by_the_earlier_api_if_asked_for() {
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
    fn lists_are_by_id_or_as_asked() {
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
    fn text_is_escaped_where_json_asks_for_it_and_nowhere_else() {
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
