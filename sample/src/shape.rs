//! How many rows a product has in each table, and which ids they get. A shape is a pure function of seed and product; ids
//! continue from product to product, so that a block of products can be rendered when the counts of those before it are
//! summed up. No bytes are written here.

use atelier_base::tables::TableId;
use enum_map::EnumMap;

use crate::random::{Random, Stream};

/// The catalogue that is generated, without its defects.
#[derive(Clone, Copy)]
pub(crate) struct Catalogue {
    /// Products have the ids 1 to this, and the indexes 0 to one less.
    pub(crate) products: u32,
    pub(crate) seed: u64,
}

/// Of a product.
pub(crate) const MAX_STYLES: usize = 9;
/// Rows of a product.
pub(crate) const MAX_RELATED: usize = 9;

/// A weight is out of this many.
const WHOLE: u32 = 10_000;

/// (how many, weight). The weights give the means of the real copies to four digits, and about their spread.
type Weights = [(u8, u32)];
const STYLES: &Weights =
    &[(0, 2100), (1, 2929), (2, 1971), (3, 1200), (4, 850), (5, 430), (6, 260), (7, 130), (8, 80), (9, 50)];
const PHOTOS: &Weights =
    &[(0, 1408), (1, 3200), (2, 1792), (4, 1200), (6, 1400), (8, 500), (9, 300), (11, 200)];
const FEATURES: &Weights = &[(0, 800), (1, 2300), (2, 2700), (3, 2307), (4, 1893)];
const RELATED: &Weights =
    &[(0, 800), (2, 1400), (3, 1500), (4, 1359), (5, 1400), (6, 1341), (7, 900), (8, 700), (9, 600)];
/// Products whose styles come in shoe sizes, of `WHOLE`.
const SHOES: u32 = 2458;
/// Styles without skus, of `WHOLE`.
const WITHOUT_SKUS: u32 = 2000;
/// Letter sizes of a style, and shoe sizes of a style.
const LETTER_SIZES: u8 = 6;
const SHOE_SIZES: u8 = 11;
/// One id in a table is left out once in this many products, for each table but `product`.
const GAP_EVERY: u32 = 8192;

/// The rows of one product.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProductShape {
    pub(crate) features: u8,
    pub(crate) related: u8,
    pub(crate) styles: u8,
    /// Photos of each style.
    pub(crate) photos: [u8; MAX_STYLES],
    /// Skus of each style.
    pub(crate) skus: [u8; MAX_STYLES],
    /// Sold in shoe sizes.
    pub(crate) shoes: bool,
    /// The table in which an id is left out before this product's rows.
    pub(crate) gap: Option<TableId>,
}

impl Catalogue {
    /// The draws of a stream for a product.
    pub(crate) fn random(&self, stream: Stream, product: u32) -> Random {
        Random::new(self.seed, stream, product)
    }

    /// How many rows the product has in each table.
    pub(crate) fn shape(&self, product: u32) -> ProductShape {
        let mut random = self.random(Stream::Shape, product);
        let mut shape = ProductShape {
            features: weighted(&mut random, FEATURES),
            related: weighted(&mut random, RELATED),
            styles: weighted(&mut random, STYLES),
            shoes: random.below(WHOLE) < SHOES,
            ..ProductShape::default()
        };
        shape.gap = match random.below(GAP_EVERY) {
            0 => Some(TableId::Features),
            1 => Some(TableId::Styles),
            2 => Some(TableId::Photos),
            3 => Some(TableId::Skus),
            4 => Some(TableId::Related),
            _ => None,
        };
        for style in 0..usize::from(shape.styles) {
            shape.photos[style] = weighted(&mut random, PHOTOS);
            shape.skus[style] = match random.below(WHOLE) < WITHOUT_SKUS {
                true => 0,
                false if shape.shoes => SHOE_SIZES,
                false => LETTER_SIZES,
            };
        }
        shape
    }
}

impl ProductShape {
    pub(crate) fn rows(&self, table: TableId) -> u32 {
        match table {
            TableId::Product => 1,
            TableId::Features => self.features.into(),
            TableId::Styles => self.styles.into(),
            TableId::Photos => self.photos.iter().map(|&count| u32::from(count)).sum(),
            TableId::Skus => self.skus.iter().map(|&count| u32::from(count)).sum(),
            TableId::Related => self.related.into(),
        }
    }
}

/// Where a product's rows begin, for each table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cursor {
    /// Ids used so far: the next one is one more. At 50 million products they stay below 600 million.
    pub(crate) ids: EnumMap<TableId, u32>,
    /// Rows so far.
    pub(crate) rows: EnumMap<TableId, u32>,
}

impl Cursor {
    /// Leaves out an id if `shape` has a gap.
    pub(crate) fn skip_gap(&mut self, shape: &ProductShape) {
        if let Some(table) = shape.gap {
            self.ids[table] += 1;
        }
    }

    /// Moves past a product's rows, whose gap was skipped.
    pub(crate) fn pass(&mut self, shape: &ProductShape) {
        for (table, ids) in &mut self.ids {
            let rows = shape.rows(table);
            *ids += rows;
            self.rows[table] += rows;
        }
    }

    /// Moves past products with the rows and ids of `other`.
    pub(crate) fn add(&mut self, other: &Cursor) {
        for (table, ids) in &mut self.ids {
            *ids += other.ids[table];
            self.rows[table] += other.rows[table];
        }
    }
}

fn weighted(random: &mut Random, weights: &Weights) -> u8 {
    let mut draw = random.below(WHOLE);
    for &(value, weight) in weights {
        if draw < weight {
            return value;
        }
        draw -= weight;
    }
    // Not reached: the weights add up to `WHOLE`, which a test checks.
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_whole() {
        for weights in [STYLES, PHOTOS, FEATURES, RELATED] {
            assert_eq!(weights.iter().map(|&(_, weight)| weight).sum::<u32>(), WHOLE);
        }
    }

    #[test]
    fn means_are_those_of_the_real_copies() {
        let catalogue = Catalogue { products: 20_000, seed: 42 };
        let mut end = Cursor::default();
        let mut without_styles = 0;
        for product in 0..catalogue.products {
            let shape = catalogue.shape(product);
            end.skip_gap(&shape);
            end.pass(&shape);
            without_styles += u32::from(shape.styles == 0);
        }
        let [products, features, styles, photos, skus, related] = end.rows.into_array().map(f64::from);
        for (name, mean, real) in [
            ("features", features / products, 2.2192),
            ("styles", styles / products, 1.9581),
            ("photos", photos / styles, 2.8883),
            ("skus", skus / styles, 5.7831),
            ("related", related / products, 4.5082),
            ("without styles", f64::from(without_styles) / products, 0.21),
        ] {
            // Three standard deviations of the widest of them at this size.
            assert!((mean / real - 1.0).abs() < 0.03, "{name}: {mean}, not {real}");
        }
        assert!(end.ids.iter().all(|(table, ids)| (end.rows[table]..end.rows[table] + 20).contains(ids)));
    }
}
