//! The expected answers, byte for byte, computed from the CSV files in the simplest way. Shares no code with the loader or the
//! server, or it would share their bugs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Products by id.
pub(crate) type Catalogue = BTreeMap<i32, Product>;

/// Children are in order of their ids, related products in the order of their file.
#[derive(Default)]
pub(crate) struct Product {
    id: i32,
    name: String,
    slogan: String,
    description: String,
    category: String,
    default_price: String,
    features: BTreeMap<i32, (String, Option<String>)>,
    pub(crate) styles: BTreeMap<i32, Style>,
    related: Vec<i32>,
}

#[derive(Default)]
pub(crate) struct Style {
    name: String,
    sale_price: Option<String>,
    original_price: String,
    pub(crate) default_style: bool,
    photos: BTreeMap<i32, (String, String)>,
    skus: BTreeMap<i32, (String, String)>,
}

/// Reads the six files of a catalogue without defects.
pub(crate) fn read(data: &Path) -> Catalogue {
    let mut products = Catalogue::new();
    for [id, name, slogan, description, category, price] in table(data, "product.csv") {
        let (id, default_price) = (number(&id), decimals(&price.unwrap()));
        let [name, slogan, description, category] = [name, slogan, description, category].map(Option::unwrap);
        let product =
            Product { id, name, slogan, description, category, default_price, ..Product::default() };
        assert!(products.insert(id, product).is_none(), "product {id} stands twice");
    }
    for [id, product, feature, value] in table(data, "features.csv") {
        let features = &mut products.get_mut(&number(&product)).unwrap().features;
        assert!(features.insert(number(&id), (feature.unwrap(), value)).is_none());
    }
    let mut product_of = BTreeMap::new();
    for [id, product, name, sale_price, original_price, default_style] in table(data, "styles.csv") {
        let (id, product) = (number(&id), number(&product));
        let style = Style {
            name: name.unwrap(),
            sale_price: sale_price.as_deref().map(decimals),
            original_price: decimals(&original_price.unwrap()),
            default_style: default_style.unwrap() == "1",
            ..Style::default()
        };
        assert!(product_of.insert(id, product).is_none(), "style {id} stands twice");
        products.get_mut(&product).unwrap().styles.insert(id, style);
    }
    let mut with_style = |id: i32, add: &mut dyn FnMut(&mut Style)| {
        add(products.get_mut(&product_of[&id]).unwrap().styles.get_mut(&id).unwrap());
    };
    for [id, style, url, thumbnail_url] in table(data, "photos.csv") {
        let photo = (thumbnail_url.unwrap(), url.unwrap());
        with_style(number(&style), &mut |style| {
            assert!(style.photos.insert(number(&id), photo.clone()).is_none());
        });
    }
    for [id, style, size, quantity] in table(data, "skus.csv") {
        let sku = (quantity.unwrap(), size.unwrap());
        with_style(number(&style), &mut |style| {
            assert!(style.skus.insert(number(&id), sku.clone()).is_none());
        });
    }
    for [_, product, related] in table(data, "related.csv") {
        products.get_mut(&number(&product)).unwrap().related.push(number(&related));
    }
    products
}

/// `/products`, of these products.
pub(crate) fn list<'a>(products: impl IntoIterator<Item = &'a Product>) -> String {
    array(products.into_iter().map(|product| format!("{{{}}}", product.members())))
}

impl Product {
    /// `/products/:product_id`
    pub(crate) fn document(&self) -> String {
        let features = self.features.values().map(|(feature, value)| {
            format!(r#"{{"feature":{},"value":{}}}"#, text(feature), nullable(value.as_deref()))
        });
        format!(r#"{{{},"features":{}}}"#, self.members(), array(features))
    }

    /// `/products/:product_id/styles`
    pub(crate) fn styles_document(&self) -> String {
        format!(r#"{{"product_id":"{}","results":{}}}"#, self.id, self.results())
    }

    /// `/products/:product_id/related`
    pub(crate) fn related_document(&self) -> String {
        array(self.related.iter().map(i32::to_string))
    }

    /// `/products/:product_id/profile`
    pub(crate) fn profile(&self) -> String {
        let (product, styles, related) = (self.document(), self.results(), self.related_document());
        format!(r#"{{"product":{product},"styles":{styles},"related":{related}}}"#)
    }

    fn members(&self) -> String {
        format!(
            r#""id":{},"name":{},"slogan":{},"description":{},"category":{},"default_price":"{}""#,
            self.id,
            text(&self.name),
            text(&self.slogan),
            text(&self.description),
            text(&self.category),
            self.default_price
        )
    }

    /// `/products/:product_id/styles` with `--compat`.
    pub(crate) fn styles_document_compat(&self) -> String {
        compat(&self.styles_document())
    }

    /// `/products/:product_id/profile` of `--compat`.
    pub(crate) fn profile_compat(&self) -> String {
        compat(&self.profile())
    }

    fn results(&self) -> String {
        array(self.styles.iter().map(|(id, style)| {
            let photos = style.photos.values().map(|(thumbnail_url, url)| {
                format!(r#"{{"thumbnail_url":{},"url":{}}}"#, text(thumbnail_url), text(url))
            });
            let skus = style.skus.iter().map(|(id, (quantity, size))| {
                format!(r#""{id}":{{"quantity":{quantity},"size":{}}}"#, text(size))
            });
            format!(
                r#"{{"style_id":{id},"name":{},"original_price":"{}","sale_price":{},"default?":{},"photos":{},"skus":{{{}}}}}"#,
                text(&style.name),
                style.original_price,
                nullable(style.sale_price.as_deref()),
                style.default_style,
                array(photos),
                skus.collect::<Vec<_>>().join(",")
            )
        }))
    }
}

/// No text of a catalogue may contain this: quotes are escaped in it.
fn compat(document: &str) -> String {
    document
        .replace(r#""photos":[]"#, r#""photos":[{"thumbnail_url":null,"url":null}]"#)
        .replace(r#""skus":{}"#, r#""skus":{"null":{"quantity":null,"size":null}}"#)
}

/// The records after the header, each with `N` fields. An unquoted `null` is `None`.
fn table<const N: usize>(data: &Path, file: &str) -> Vec<[Option<String>; N]> {
    let csv = fs::read_to_string(data.join(file)).unwrap();
    let records = records(&csv).into_iter().skip(1);
    records
        .map(|record| {
            record.try_into().unwrap_or_else(|record| panic!("{file}: {record:?} has not {N} fields"))
        })
        .collect()
}

/// RFC 4180, and whether a field was quoted, which the `csv` crate does not tell.
fn records(csv: &str) -> Vec<Vec<Option<String>>> {
    let (mut records, mut record) = (Vec::new(), Vec::new());
    let (mut field, mut quoted, mut inside) = (String::new(), false, false);
    let mut characters = csv.trim_end_matches('\n').chars().chain(['\n']).peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if inside && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => (inside, quoted) = (!inside, true),
            ',' | '\n' if !inside => {
                record.push(Some(std::mem::take(&mut field)).filter(|field| quoted || field != "null"));
                quoted = false;
                if character == '\n' {
                    records.push(std::mem::take(&mut record));
                }
            }
            _ => field.push(character),
        }
    }
    assert!(!inside, "a quote is not closed");
    records
}

fn number(field: &Option<String>) -> i32 {
    field.as_deref().unwrap().parse().unwrap()
}

/// A price with two decimals.
fn decimals(price: &str) -> String {
    let (whole, part) = price.split_once('.').unwrap_or((price, ""));
    assert!(part.len() <= 2 && !whole.is_empty(), "{price}");
    format!("{whole}.{part:0<2}")
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn nullable(value: Option<&str>) -> String {
    value.map_or_else(|| "null".to_owned(), text)
}

/// A JSON string, with no more escapes than RFC 8259, section 7 requires, in their short forms.
fn text(value: &str) -> String {
    let mut json = String::from("\"");
    for character in value.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\0'..='\u{1f}' => write!(json, "\\u{:04x}", u32::from(character)).unwrap(),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}
