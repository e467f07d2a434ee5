//! The bytes of clean rows. A row is written after a line end, not before one, since the last line of a file has none. Its
//! content is a pure function of seed, product and the ids it gets.

use crate::random::{Random, Stream};
use crate::shape::{Catalogue, MAX_RELATED, ProductShape};
use crate::{text, words};

/// Ids of rows under one parent: they count up, except that two neighbours may be swapped.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    first: u32,
    swapped: Option<u32>,
}

impl Ids {
    /// `count` ids from `first`; two of them are swapped once in `every` parents.
    pub(crate) fn new(first: u32, count: u32, every: u32, random: &mut Random) -> Self {
        let swapped = (count >= 2 && random.one_in(every)).then(|| random.below(count - 1));
        Self { first, swapped }
    }

    /// The id of the row with this number, from 0, under the parent.
    pub(crate) fn id(&self, row: u32) -> u32 {
        match self.swapped {
            Some(swapped) if row == swapped => self.first + row + 1,
            Some(swapped) if row == swapped + 1 => self.first + row - 1,
            _ => self.first + row,
        }
    }
}

/// What is given of a row of styles; the rest is drawn.
pub(crate) struct Style {
    pub(crate) id: u32,
    pub(crate) product: u32,
    pub(crate) is_default: bool,
}

pub(crate) fn sizes(shoes: bool) -> &'static [&'static str] {
    if shoes { &words::SHOE_SIZES } else { &words::LETTER_SIZES }
}

impl Catalogue {
    /// The product whose row is at `position` in product.csv: `position` itself, except that two neighbours may be swapped.
    pub(crate) fn product_at(&self, position: u32) -> u32 {
        let pair = position & !1;
        let is_swapped = pair + 1 < self.products && self.random(Stream::Order, pair).one_in(500);
        if is_swapped { position ^ 1 } else { position }
    }

    /// A product's default price: 1 to 1000, or one of two outliers.
    fn price(&self, product: u32) -> u32 {
        let mut random = self.random(Stream::Price, product);
        match random.below(50_000) {
            0 => 500_000_000,
            1..=3 => 5_000_000,
            _ => 1 + random.below(1000),
        }
    }

    /// The ids of related products; only as many as `shape` has are used. The same one may be there twice, and the product
    /// itself too.
    pub(crate) fn related(&self, product: u32, shape: &ProductShape) -> [u32; MAX_RELATED] {
        let mut random = self.random(Stream::Related, product);
        let mut related = [0; MAX_RELATED];
        for row in 0..usize::from(shape.related) {
            related[row] = match random.below(128) {
                0 => product + 1,
                1 if row > 0 => related[row - 1],
                _ => 1 + random.below(self.products),
            };
        }
        related
    }

    /// `id,name,slogan,description,category,default_price`
    pub(crate) fn write_product(&self, out: &mut Vec<u8>, product: u32, shoes: bool) {
        let random = &mut self.random(Stream::Product, product);
        out.push(b'\n');
        text::number(out, product + 1);
        out.extend_from_slice(b",\"");
        text::name(out, random, shoes);
        out.extend_from_slice(b"\",\"");
        text::slogan(out, random);
        out.extend_from_slice(b"\",\"");
        text::description(out, random);
        out.extend_from_slice(b"\",\"");
        text::category(out, random, shoes);
        out.extend_from_slice(b"\",");
        text::number(out, self.price(product));
    }

    /// `id,productId,name,sale_price,original_price,default_style`
    pub(crate) fn write_style(&self, out: &mut Vec<u8>, style: Style, random: &mut Random) {
        let Style { id, product, is_default } = style;
        start(out, id, product + 1);
        out.push(b'"');
        text::colour(out, random);
        out.extend_from_slice(b"\",");
        let price = match random.one_in(8) {
            true => 1 + random.below(1000),
            false => self.price(product),
        };
        match price > 1 && random.below(100) >= 89 {
            true => text::number(out, 1 + random.below(price - 1)),
            false => out.extend_from_slice(b"null"),
        }
        out.push(b',');
        text::number(out, price);
        out.extend_from_slice(if is_default { b",1" } else { b",0" });
    }
}

/// `id,product_id,feature,value`
pub(crate) fn write_feature(out: &mut Vec<u8>, id: u32, product: u32, random: &mut Random) {
    start(out, id, product + 1);
    let (feature, value) = text::feature(random);
    quoted(out, feature);
    out.push(b',');
    match value {
        Some(value) => quoted(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// `id,styleId,url,thumbnail_url`
pub(crate) fn write_photo(out: &mut Vec<u8>, id: u32, style: u32, random: &mut Random) {
    start(out, id, style);
    text::photo(out, random);
}

/// `id,styleId,size,quantity`
pub(crate) fn write_sku(out: &mut Vec<u8>, id: u32, style: u32, size: &str, random: &mut Random) {
    start(out, id, style);
    quoted(out, size);
    out.push(b',');
    text::number(out, random.below(61));
}

/// `id,current_product_id,related_product_id`
pub(crate) fn write_related(out: &mut Vec<u8>, id: u32, product: u32, related: u32) {
    start(out, id, product + 1);
    text::number(out, related);
}

fn start(out: &mut Vec<u8>, id: u32, parent: u32) {
    out.push(b'\n');
    text::number(out, id);
    out.push(b',');
    text::number(out, parent);
    out.push(b',');
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}
