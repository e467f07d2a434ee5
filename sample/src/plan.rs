//! Which rows have which defect. What is planned here is what a correct loader must find, so the rules that keep the
//! expectation exact are here too: at most one defect a row, none in a row after a defective one, none in the last
//! row of a file, none in a row that is an orphan already because its parent is rejected. How a defect looks in bytes is
//! in `damage`.

use atelier_base::tables::{TABLES, TableId};
use enum_map::{Enum as _, EnumMap};

use crate::defect::Defect;
use crate::options::Defects;
use crate::random::{Random, Stream};
use crate::shape::Catalogue;

/// What a row is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is loaded.
    Clean,
    /// It is loaded, with a text of two lines.
    Folded,
    /// It is rejected because its parent is.
    Orphaned,
    Defective(Defect),
}

/// Every kind of rejected row, once: a cycle of them. Those of `Product` are first.
const SITES: [(TableId, Defect); 45] = {
    use Defect::*;
    use TableId::*;
    [
        (Product, FieldCount),
        (Product, BadQuote),
        (Product, BadInteger),
        (Product, BadPrice),
        (Product, MissingValue),
        (Product, BadEncoding),
        (Product, DuplicateId),
        (Product, RecordTooLong),
        (Features, FieldCount),
        (Features, BadQuote),
        (Features, BadInteger),
        (Features, MissingValue),
        (Features, BadEncoding),
        (Features, DuplicateId),
        (Features, Orphan),
        (Styles, FieldCount),
        (Styles, BadQuote),
        (Styles, BadInteger),
        (Styles, BadPrice),
        (Styles, BadBoolean),
        (Styles, MissingValue),
        (Styles, BadEncoding),
        (Styles, DuplicateId),
        (Styles, Orphan),
        (Photos, FieldCount),
        (Photos, BadQuote),
        (Photos, BadInteger),
        (Photos, MissingValue),
        (Photos, BadEncoding),
        (Photos, DuplicateId),
        (Photos, Orphan),
        (Photos, RecordTooLong),
        (Skus, FieldCount),
        (Skus, BadQuote),
        (Skus, BadInteger),
        (Skus, MissingValue),
        (Skus, BadEncoding),
        (Skus, DuplicateId),
        (Skus, Orphan),
        (Related, FieldCount),
        (Related, BadQuote),
        (Related, BadInteger),
        (Related, MissingValue),
        (Related, DuplicateId),
        (Related, Orphan),
    ]
};
/// Product rows among `SITES`.
const PRODUCT_SITES: u32 = 8;
/// Prime to 45, so that a cycle reaches every site; wide enough that two slots of `Product` never follow each
/// other.
const SITE_STEP: u32 = 14;
/// Products in a slot, of which one has a row that is rejected. Even, so that a pair of neighbours is in one slot. 45 × 44
/// is just below 2,000 products, so that a catalogue of that size has every site. Only 6 in 1,980 products are rejected,
/// so that with all their children no file loses as much as 0.9 %.
pub(crate) const SLOT: u32 = 44;
/// Rows over 1 MiB are in this many cycles only: each is as long as 4,000 others.
const LONG_CYCLES: u32 = 2;

/// The one row of a slot that is rejected for a defect of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) product: u32,
    pub(crate) table: TableId,
    /// Which of the product's rows in the table, from 0.
    pub(crate) row: u32,
    pub(crate) defect: Defect,
}

/// Lines of photos.csv (the header is line 1) without their last quote. A reader that ends a record where the number of
/// quotes is even makes one row of each pair and loses 48 + 35 + 40 + 45 + 25 = 193 rows, as with the real copies.
const LEGACY_PAIRS: [(u32, u32); 5] = [(12, 60), (75, 110), (120, 160), (170, 215), (230, 255)];
/// One in so many related rows is related to product 0, and the first row is, so that the smallest catalogue
/// has one: 58 of the 4,508,263 rows of the real copies.
const LEGACY_ZERO_EVERY: u32 = 78_000;

/// Where the defects of a catalogue are.
pub(crate) struct Plan {
    catalogue: Catalogue,
    defects: Defects,
    /// The product that has the last row of each file; none in a file without rows.
    tail: EnumMap<TableId, Option<u32>>,
    /// Lines of `LEGACY_PAIRS` before this one have the defect.
    legacy_end: u32,
}

impl Plan {
    pub(crate) fn new(catalogue: Catalogue, defects: Defects) -> Self {
        let mut tail = EnumMap::<TableId, Option<u32>>::default();
        for product in (0..catalogue.products).rev() {
            let shape = catalogue.shape(product);
            for (table, tail) in &mut tail {
                let has_rows = shape.rows(table) > 0;
                *tail = tail.or(has_rows.then_some(product));
            }
            if tail.values().all(Option::is_some) {
                break;
            }
        }
        // A pair fits if a line follows it. Lines are counted no further than needed.
        let (_, longest) = LEGACY_PAIRS[LEGACY_PAIRS.len() - 1];
        let mut lines = 1;
        for product in 0..catalogue.products {
            lines += catalogue.shape(product).rows(TableId::Photos);
            if lines > longest {
                break;
            }
        }
        let fitting = LEGACY_PAIRS.iter().rev().find(|&&(_, second)| second < lines);
        let legacy_end = fitting.map_or(0, |&(_, second)| second + 1);
        Self { catalogue, defects, tail, legacy_end }
    }

    /// Whether the photo with this number in its file, from 0, has an unterminated quote.
    pub(crate) fn is_legacy_photo(&self, row: u32) -> bool {
        let line = row + 2;
        self.defects == Defects::Legacy
            && line < self.legacy_end
            && LEGACY_PAIRS.iter().any(|&(first, second)| line == first || line == second)
    }

    /// Whether the related row with this number in its file, from 0, is related to product 0.
    pub(crate) fn is_legacy_related(&self, row: u32) -> bool {
        self.defects == Defects::Legacy && row.is_multiple_of(LEGACY_ZERO_EVERY)
    }

    /// Whether the product's row is rejected, and with it all rows that point at it.
    pub(crate) fn is_rejected(&self, product: u32) -> bool {
        if self.defects != Defects::Heavy {
            return false;
        }
        let slot = product / SLOT;
        let (index, _) = site_of(slot);
        // Called for each related row, and a site in another table is found slowly: the index tells which table it is in.
        index < PRODUCT_SITES
            && self.site(slot).is_some_and(|site| site.product == product && site.defect.loses_id())
    }

    /// The slot's rejected row. There is none in a catalogue too small for it.
    pub(crate) fn site(&self, slot: u32) -> Option<Site> {
        let (index, cycle) = site_of(slot);
        let (table, defect) = SITES[index as usize];
        let is_too_many = defect == Defect::RecordTooLong && cycle >= LONG_CYCLES;
        if self.defects != Defects::Heavy || is_too_many {
            return None;
        }
        let mut random = self.catalogue.random(Stream::Site, slot);
        // Never the first or the last product of a slot, so that two sites are never neighbours.
        let offset = random.below(SLOT - 2);
        let choice = random.bits();
        (0..SLOT - 2)
            .map(|step| slot * SLOT + 1 + (offset + step) % (SLOT - 2))
            .filter(|&product| product < self.catalogue.products && self.tail[table] != Some(product))
            .find_map(|product| {
                let row = self.site_row(table, product, choice)?;
                Some(Site { product, table, row, defect })
            })
    }

    /// A row of the product in the table that may have a defect. It is never the first one: the row before it must be
    /// clean, and a row of another product is not planned together with it.
    fn site_row(&self, table: TableId, product: u32, choice: u64) -> Option<u32> {
        if table == TableId::Product {
            return Some(0);
        }
        let shape = self.catalogue.shape(product);
        let others = shape.rows(table).checked_sub(1).filter(|&others| others > 0)?;
        let row = 1 + (choice % u64::from(others)) as u32;
        if table == TableId::Related {
            let related = self.catalogue.related(product, &shape)[row as usize];
            return (!self.is_rejected(related - 1)).then_some(row);
        }
        Some(row)
    }

    /// The fates of the rows of a product in a table; `site` is that of the product's slot.
    pub(crate) fn fates(&self, table: TableId, product: u32, site: Option<Site>) -> Fates {
        let is_heavy = self.defects == Defects::Heavy;
        Fates {
            table,
            site: site.filter(|site| site.table == table && site.product == product),
            is_repairable: is_heavy && self.tail[table] != Some(product),
            random: self
                .catalogue
                .random(Stream::Repair, product * TABLES.len() as u32 + table.into_usize() as u32),
        }
    }

    /// The product whose row is at `position` of product.csv. Beside a site no rows are swapped.
    pub(crate) fn product_at(&self, position: u32, site: Option<Site>) -> u32 {
        match site {
            Some(site) if site.product / 2 == position / 2 => position,
            _ => self.catalogue.product_at(position),
        }
    }
}

/// The index in `SITES` of a slot's site, and the number of cycles before it.
fn site_of(slot: u32) -> (u32, u32) {
    const CYCLE: u32 = SITES.len() as u32;
    (slot % CYCLE * SITE_STEP % CYCLE, slot / CYCLE)
}

/// What the rows around a row are, as far as it matters for the row.
#[derive(Clone, Copy, Default)]
pub(crate) struct Neighbours {
    /// Its parent is rejected.
    pub(crate) orphan: bool,
    /// The row before it may have a defect.
    pub(crate) after_defect: bool,
    /// The row after it is a site of another product.
    pub(crate) before_defect: bool,
}

/// Decides the fates of the rows of one product in one table, in their order.
pub(crate) struct Fates {
    table: TableId,
    site: Option<Site>,
    is_repairable: bool,
    random: Random,
}

impl Fates {
    /// Of the next row, `row`, from 0.
    pub(crate) fn next(&mut self, row: u32, neighbours: Neighbours) -> Fate {
        if neighbours.orphan {
            return Fate::Orphaned;
        }
        match self.site {
            Some(site) if site.row == row => return Fate::Defective(site.defect),
            Some(site) if site.row == row + 1 => return Fate::Clean,
            _ => {}
        }
        if !self.is_repairable || neighbours.after_defect || neighbours.before_defect {
            return Fate::Clean;
        }
        use TableId::{Features, Photos, Product, Styles};
        // In thousandths, a little over the shares meant, since rows after a defect are left out.
        match (self.random.below(1000), self.table) {
            (0..11, _) => Fate::Defective(Defect::Spacing),
            (11..16, Features | Photos) => Fate::Defective(Defect::UnterminatedQuote),
            (20..110, Product | Styles) => Fate::Defective(Defect::PriceFormat),
            (110..115, Product) => Fate::Folded,
            _ => Fate::Clean,
        }
    }

    /// Whether the row with this number loses its id by a defect of its own.
    pub(crate) fn loses(&self, row: u32) -> bool {
        self.site.is_some_and(|site| site.row == row && site.defect.loses_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(products: u32, defects: Defects) -> Plan {
        Plan::new(Catalogue { products, seed: 42 }, defects)
    }

    #[test]
    fn sites_of_products_are_first() {
        assert!(SITES[..PRODUCT_SITES as usize].iter().all(|(table, _)| *table == TableId::Product));
        assert_eq!(
            SITES.iter().filter(|(table, _)| *table == TableId::Product).count() as u32,
            PRODUCT_SITES
        );
    }

    #[test]
    fn two_thousand_products_hold_every_site_and_no_two_are_neighbours() {
        let plan = plan(2000, Defects::Heavy);
        let sites: Vec<_> = (0..2000 / SLOT).filter_map(|slot| plan.site(slot)).collect();
        for wanted in SITES {
            assert!(sites.iter().any(|site| (site.table, site.defect) == wanted), "{wanted:?}");
        }
        assert!(sites.windows(2).all(|pair| pair[1].product - pair[0].product > 1));
        let rejected: Vec<_> = (0..45 * SLOT).filter(|&product| plan.is_rejected(product)).collect();
        assert_eq!(rejected.len() as u32, PRODUCT_SITES - 1, "all but the duplicate");
    }

    #[test]
    fn legacy_has_only_pairs_that_fit() {
        let defective = |products| {
            let plan = plan(products, Defects::Legacy);
            (0..400).filter(|&row| plan.is_legacy_photo(row)).map(|row| row + 2).collect::<Vec<_>>()
        };
        assert_eq!(defective(1000), [12, 60, 75, 110, 120, 160, 170, 215, 230, 255]);
        let photos = |products: u32| -> u32 {
            let catalogue = Catalogue { products, seed: 42 };
            (0..products).map(|product| catalogue.shape(product).rows(TableId::Photos)).sum()
        };
        for products in 1..60 {
            let lines = defective(products);
            assert_eq!(lines.len() % 2, 0);
            assert!(lines.iter().all(|&line| line < photos(products) + 1), "{products} products");
        }
    }

    #[test]
    fn legacy_has_58_related_rows_without_a_product_at_full_size() {
        let plan = plan(1, Defects::Legacy);
        assert_eq!((0..4_508_263).filter(|&row| plan.is_legacy_related(row)).count(), 58);
        assert!(plan.is_legacy_related(0));
    }
}
