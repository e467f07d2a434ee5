//! One block of neighbouring products as the bytes of six files, and what is in them. A block depends on
//! nothing but where it begins, so blocks are drawn up in parallel and in any order. No I/O.

use crate::damage::{damage, fold};
use crate::defects::Code;
use crate::manifest::Tally;
use crate::plan::{Fate, Fates, Plan, SLOT, Site};
use crate::random::{Random, Stream};
use crate::rows::{self, Ids};
use crate::shape::{Catalogue, Cursor, Shape};
use atelier_base::tables::TableId;

/// Products in a block: about 600 KB in six buffers. Even, so that no block parts two neighbours that
/// changed places. The output depends on it: the first row of a block is never repaired.
pub(crate) const BLOCK: u32 = 256;

/// What was drawn up. Kept and used again, since fresh memory costs as much as filling it.
#[derive(Default)]
pub(crate) struct Block {
    /// The rows for each file, each behind a line end.
    pub(crate) bytes: [Vec<u8>; 6],
    /// What is in them.
    pub(crate) tallies: [Tally; 6],
}

/// The products of a block.
fn products(catalogue: &Catalogue, block: u32) -> std::ops::Range<u32> {
    block * BLOCK..catalogue.products.min((block + 1) * BLOCK)
}

/// How much a block takes up in each table.
pub(crate) fn measure(catalogue: &Catalogue, block: u32) -> Cursor {
    let mut size = Cursor::default();
    for product in products(catalogue, block) {
        let shape = catalogue.shape(product);
        size.skip_gap(&shape);
        size.pass(&shape);
    }
    size
}

/// Draws up a block whose rows begin at `cursor`, in place of what `into` held.
pub(crate) fn render(catalogue: &Catalogue, plan: &Plan, block: u32, mut cursor: Cursor, into: &mut Block) {
    into.bytes.iter_mut().for_each(Vec::clear);
    into.tallies = Default::default();
    let mut pens = Pens { block: into, is_guarded: [true; 6] };
    let products = products(catalogue, block);
    let mut slot = products.start / SLOT;
    let mut site = plan.site(slot);
    for product in products {
        if product / SLOT != slot {
            slot = product / SLOT;
            site = plan.site(slot);
        }
        let shape = catalogue.shape(product);
        cursor.skip_gap(&shape);
        let product = Product { catalogue, plan, product, shape, site, cursor: &cursor };
        product.render(&mut pens);
        cursor.pass(&shape);
    }
}

/// The six buffers, and of each whether the row written last may be defective.
struct Pens<'a> {
    block: &'a mut Block,
    is_guarded: [bool; 6],
}

impl Pens<'_> {
    /// Writes a row: `write` appends the clean bytes, `decide` says what becomes of them, given whether the
    /// row before may be defective.
    fn row(
        &mut self,
        table: TableId,
        random: impl FnOnce() -> Random,
        write: impl FnOnce(&mut Vec<u8>),
        decide: impl FnOnce(bool) -> Fate,
    ) {
        let bytes = &mut self.block.bytes[table as usize];
        let tally = &mut self.block.tallies[table as usize];
        let is_guarded = &mut self.is_guarded[table as usize];
        let start = bytes.len();
        write(bytes);
        let fate = decide(*is_guarded);
        *is_guarded = !matches!(fate, Fate::Sound | Fate::Orphaned);
        match fate {
            Fate::Sound => tally.sound(),
            Fate::Orphaned => tally.defective(Code::Orphan),
            Fate::Folded => {
                fold(bytes, start);
                tally.sound();
            }
            Fate::Planted(code) => {
                if code == Code::DuplicateId {
                    tally.sound();
                }
                match damage(bytes, start, table.table(), code, &mut random()) {
                    true => tally.defective(code),
                    false => tally.sound(),
                }
            }
        }
    }
}

/// A product on its way into the six files.
struct Product<'a> {
    catalogue: &'a Catalogue,
    plan: &'a Plan,
    product: u32,
    shape: Shape,
    /// Of the slot that the product is in.
    site: Option<Site>,
    /// Where the product's rows begin.
    cursor: &'a Cursor,
}

impl Product<'_> {
    fn render(&self, pens: &mut Pens) {
        let is_rejected = self.plan.is_rejected(self.product);
        self.row(pens);
        self.features(pens, is_rejected);
        self.styles(pens, is_rejected);
        self.related(pens, is_rejected);
    }

    /// The row of product.csv: that of a neighbour if the two changed places.
    fn row(&self, pens: &mut Pens) {
        let position = self.product;
        let product = self.plan.product_at(position, self.site);
        let shoes = match product == position {
            true => self.shape.shoes,
            false => self.catalogue.shape(product).shoes,
        };
        let is_followed =
            self.site.is_some_and(|site| site.table == TableId::Product && site.product == position + 1);
        pens.row(
            TableId::Product,
            || self.damage(TableId::Product, 0),
            |out| self.catalogue.write_product(out, product, shoes),
            |is_guarded| self.fates(TableId::Product).next(0, false, is_guarded, is_followed),
        );
    }

    fn features(&self, pens: &mut Pens, is_rejected: bool) {
        let random = &mut self.catalogue.random(Stream::Features, self.product);
        let fates = &mut self.fates(TableId::Features);
        let count = self.shape.features.into();
        let ids = Ids::new(self.first(TableId::Features), count, 16, random);
        for row in 0..count {
            pens.row(
                TableId::Features,
                || self.damage(TableId::Features, row),
                |out| rows::write_feature(out, ids.id(row), self.product, random),
                |is_guarded| fates.next(row, is_rejected, is_guarded, false),
            );
        }
    }

    /// The styles, and under each its photos and skus.
    fn styles(&self, pens: &mut Pens, is_rejected: bool) {
        let random = &mut self.catalogue.random(Stream::Styles, self.product);
        let fates = &mut self.fates(TableId::Styles);
        let count = self.shape.styles.into();
        let ids = Ids::new(self.first(TableId::Styles), count, 16, random);
        // One in ten products has no default style.
        let default = if random.one_in(10) { None } else { Some(random.below(count)) };
        let mut photos = self.children(TableId::Photos, Stream::Photos);
        let mut skus = self.children(TableId::Skus, Stream::Skus);
        for row in 0..count {
            let id = ids.id(row);
            pens.row(
                TableId::Styles,
                || self.damage(TableId::Styles, row),
                |out| self.catalogue.write_style(out, id, self.product, default == Some(row), random),
                |is_guarded| fates.next(row, is_rejected, is_guarded, false),
            );
            let is_lost = is_rejected || fates.loses(row);
            self.photos(pens, &mut photos, self.shape.photos[row as usize].into(), id, is_lost);
            self.skus(pens, &mut skus, self.shape.skus[row as usize].into(), id, is_lost);
        }
    }

    fn photos(&self, pens: &mut Pens, photos: &mut Children, count: u32, style: u32, is_orphan: bool) {
        let Children { random, fates, row } = photos;
        let ids = Ids::new(self.first(TableId::Photos) + *row, count, 16, random);
        for photo in 0..count {
            let in_file = self.cursor.rows[TableId::Photos as usize] + *row;
            pens.row(
                TableId::Photos,
                || self.damage(TableId::Photos, *row),
                |out| rows::write_photo(out, ids.id(photo), style, random),
                |is_guarded| match self.plan.is_legacy_photo(in_file) {
                    true => Fate::Planted(Code::UnterminatedQuote),
                    false => fates.next(*row, is_orphan, is_guarded, false),
                },
            );
            *row += 1;
        }
    }

    fn skus(&self, pens: &mut Pens, skus: &mut Children, count: u32, style: u32, is_orphan: bool) {
        let Children { random, fates, row } = skus;
        let ids = Ids::new(self.first(TableId::Skus) + *row, count, 8, random);
        let shoes = self.shape.shoes;
        for sku in 0..count {
            pens.row(
                TableId::Skus,
                || self.damage(TableId::Skus, *row),
                |out| rows::write_sku(out, ids.id(sku), style, sku, shoes, random),
                |is_guarded| fates.next(*row, is_orphan, is_guarded, false),
            );
            *row += 1;
        }
    }

    /// Their ids ascend, as those of the real copies do.
    fn related(&self, pens: &mut Pens, is_rejected: bool) {
        let fates = &mut self.fates(TableId::Related);
        let related = self.catalogue.related(self.product, &self.shape);
        for row in 0..self.shape.related.into() {
            let is_zero = self.plan.is_legacy_related(self.cursor.rows[TableId::Related as usize] + row);
            let related = if is_zero { 0 } else { related[row as usize] };
            let is_orphan = is_zero || is_rejected || self.plan.is_rejected(related - 1);
            pens.row(
                TableId::Related,
                || self.damage(TableId::Related, row),
                |out| rows::write_related(out, self.first(TableId::Related) + row, self.product, related),
                |is_guarded| fates.next(row, is_orphan, is_guarded, false),
            );
        }
    }

    /// The id of the product's first row in a table.
    fn first(&self, table: TableId) -> u32 {
        self.cursor.ids[table as usize] + 1
    }

    fn fates(&self, table: TableId) -> Fates {
        self.plan.fates(table, self.product, self.site)
    }

    fn children(&self, table: TableId, stream: Stream) -> Children {
        Children { random: self.catalogue.random(stream, self.product), fates: self.fates(table), row: 0 }
    }

    /// The draws for the damage of a row. A product has fewer than 100 rows in any table.
    fn damage(&self, table: TableId, row: u32) -> Random {
        let mut random = self.catalogue.random(Stream::Damage, self.product);
        Random::new(random.bits(), Stream::Damage, table as u32 * 100 + row)
    }
}

/// Rows under the styles of one product: they are counted, and their fates decided, across its styles.
struct Children {
    random: Random,
    fates: Fates,
    row: u32,
}
