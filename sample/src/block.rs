//! One block of neighbouring products as the bytes of six files, and what is in them. A block depends on nothing but where
//! it begins, so blocks are rendered in parallel and in any order. No I/O.

use atelier_base::tables::TableId;
use enum_map::{Enum as _, EnumMap};

use crate::damage::{damage, fold};
use crate::defect::Defect;
use crate::manifest::FileCounts;
use crate::plan::{Fate, Fates, Neighbours, Plan, SLOT, Site};
use crate::random::{Random, Stream};
use crate::rows::{self, Ids, Style, sizes};
use crate::shape::{Catalogue, Cursor, ProductShape};

/// Products in a block: about 600 KB in six buffers. Even, so that no block separates two neighbours that
/// are swapped. The output depends on it: the first row of a block is never repaired.
pub(crate) const BLOCK: u32 = 256;

/// Kept and used again, since fresh memory costs as much as filling it.
#[derive(Default)]
pub(crate) struct Block {
    /// The rows for each file, each after a line end.
    pub(crate) bytes: EnumMap<TableId, Vec<u8>>,
    pub(crate) counts: EnumMap<TableId, FileCounts>,
}

/// The products of a block.
fn products(catalogue: &Catalogue, block: u32) -> std::ops::Range<u32> {
    block * BLOCK..catalogue.products.min((block + 1) * BLOCK)
}

/// How many rows and ids a block has in each table.
pub(crate) fn measure(catalogue: &Catalogue, block: u32) -> Cursor {
    let mut size = Cursor::default();
    for product in products(catalogue, block) {
        let shape = catalogue.shape(product);
        size.skip_gap(&shape);
        size.pass(&shape);
    }
    size
}

/// Renders a block whose rows begin at `cursor`, in place of what `into` held.
pub(crate) fn render(catalogue: &Catalogue, plan: &Plan, block: u32, mut cursor: Cursor, into: &mut Block) {
    into.bytes.values_mut().for_each(Vec::clear);
    into.counts = EnumMap::default();
    let mut writer = RowWriter { block: into, after_defect: EnumMap::from_fn(|_| true) };
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
        product.render(&mut writer);
        cursor.pass(&shape);
    }
}

/// Appends rows to a block.
struct RowWriter<'a> {
    block: &'a mut Block,
    /// The row written last may have a defect.
    after_defect: EnumMap<TableId, bool>,
}

impl RowWriter<'_> {
    /// Writes a row: `write` appends the clean bytes; `decide` gets whether the row before may have a defect; `random`
    /// returns the draws for a defect.
    fn row(
        &mut self,
        table: TableId,
        random: impl FnOnce() -> Random,
        write: impl FnOnce(&mut Vec<u8>),
        decide: impl FnOnce(bool) -> Fate,
    ) {
        let bytes = &mut self.block.bytes[table];
        let counts = &mut self.block.counts[table];
        let start = bytes.len();
        write(bytes);
        let fate = decide(self.after_defect[table]);
        self.after_defect[table] = !matches!(fate, Fate::Clean | Fate::Orphaned);
        match fate {
            Fate::Clean => counts.clean(),
            Fate::Orphaned => counts.defective(Defect::Orphan),
            Fate::Folded => {
                fold(bytes, start);
                counts.clean();
            }
            Fate::Defective(defect) => {
                if defect == Defect::DuplicateId {
                    counts.clean();
                }
                match damage(bytes, start, table.table(), defect, &mut random()) {
                    true => counts.defective(defect),
                    false => counts.clean(),
                }
            }
        }
    }
}

struct Product<'a> {
    catalogue: &'a Catalogue,
    plan: &'a Plan,
    product: u32,
    shape: ProductShape,
    /// Of the slot that the product is in.
    site: Option<Site>,
    /// Where the product's rows begin.
    cursor: &'a Cursor,
}

impl Product<'_> {
    fn render(&self, writer: &mut RowWriter) {
        let is_rejected = self.plan.is_rejected(self.product);
        self.row(writer);
        self.features(writer, is_rejected);
        self.styles(writer, is_rejected);
        self.related(writer, is_rejected);
    }

    /// The row of product.csv: that of a neighbour if the two are swapped.
    fn row(&self, writer: &mut RowWriter) {
        let position = self.product;
        let product = self.plan.product_at(position, self.site);
        let shoes = match product == position {
            true => self.shape.shoes,
            false => self.catalogue.shape(product).shoes,
        };
        let before_defect =
            self.site.is_some_and(|site| site.table == TableId::Product && site.product == position + 1);
        writer.row(
            TableId::Product,
            || self.damage(TableId::Product, 0),
            |out| self.catalogue.write_product(out, product, shoes),
            |after_defect| {
                let neighbours = Neighbours { after_defect, before_defect, orphan: false };
                self.fates(TableId::Product).next(0, neighbours)
            },
        );
    }

    fn features(&self, writer: &mut RowWriter, is_rejected: bool) {
        let random = &mut self.catalogue.random(Stream::Features, self.product);
        let fates = &mut self.fates(TableId::Features);
        let count = self.shape.features.into();
        let ids = Ids::new(self.first(TableId::Features), count, 16, random);
        for row in 0..count {
            writer.row(
                TableId::Features,
                || self.damage(TableId::Features, row),
                |out| rows::write_feature(out, ids.id(row), self.product, random),
                |after_defect| fates.next(row, neighbours(after_defect, is_rejected)),
            );
        }
    }

    /// The styles, and under each its photos and skus.
    fn styles(&self, writer: &mut RowWriter, is_rejected: bool) {
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
            writer.row(
                TableId::Styles,
                || self.damage(TableId::Styles, row),
                |out| {
                    let style = Style { id, product: self.product, is_default: default == Some(row) };
                    self.catalogue.write_style(out, style, random);
                },
                |after_defect| fates.next(row, neighbours(after_defect, is_rejected)),
            );
            let orphan = is_rejected || fates.loses(row);
            photos.parent = Parent { id, children: self.shape.photos[row as usize].into(), orphan };
            self.photos(writer, &mut photos);
            skus.parent = Parent { id, children: self.shape.skus[row as usize].into(), orphan };
            self.skus(writer, &mut skus);
        }
    }

    fn photos(&self, writer: &mut RowWriter, photos: &mut Children) {
        let Children { random, fates, row, parent } = photos;
        let ids = Ids::new(self.first(TableId::Photos) + *row, parent.children, 16, random);
        for photo in 0..parent.children {
            let in_file = self.cursor.rows[TableId::Photos] + *row;
            writer.row(
                TableId::Photos,
                || self.damage(TableId::Photos, *row),
                |out| rows::write_photo(out, ids.id(photo), parent.id, random),
                |after_defect| match self.plan.is_legacy_photo(in_file) {
                    true => Fate::Defective(Defect::UnterminatedQuote),
                    false => fates.next(*row, neighbours(after_defect, parent.orphan)),
                },
            );
            *row += 1;
        }
    }

    fn skus(&self, writer: &mut RowWriter, skus: &mut Children) {
        let Children { random, fates, row, parent } = skus;
        let ids = Ids::new(self.first(TableId::Skus) + *row, parent.children, 8, random);
        let sizes = sizes(self.shape.shoes);
        for sku in 0..parent.children {
            writer.row(
                TableId::Skus,
                || self.damage(TableId::Skus, *row),
                |out| rows::write_sku(out, ids.id(sku), parent.id, sizes[sku as usize], random),
                |after_defect| fates.next(*row, neighbours(after_defect, parent.orphan)),
            );
            *row += 1;
        }
    }

    /// Their ids rise, as in the real copies.
    fn related(&self, writer: &mut RowWriter, is_rejected: bool) {
        let fates = &mut self.fates(TableId::Related);
        let related = self.catalogue.related(self.product, &self.shape);
        for row in 0..self.shape.related.into() {
            let is_zero = self.plan.is_legacy_related(self.cursor.rows[TableId::Related] + row);
            let related = if is_zero { 0 } else { related[row as usize] };
            let orphan = is_zero || is_rejected || self.plan.is_rejected(related - 1);
            writer.row(
                TableId::Related,
                || self.damage(TableId::Related, row),
                |out| rows::write_related(out, self.first(TableId::Related) + row, self.product, related),
                |after_defect| fates.next(row, neighbours(after_defect, orphan)),
            );
        }
    }

    /// The id of the product's first row in a table.
    fn first(&self, table: TableId) -> u32 {
        self.cursor.ids[table] + 1
    }

    fn fates(&self, table: TableId) -> Fates {
        self.plan.fates(table, self.product, self.site)
    }

    fn children(&self, table: TableId, stream: Stream) -> Children {
        Children {
            random: self.catalogue.random(stream, self.product),
            fates: self.fates(table),
            row: 0,
            parent: Parent::default(),
        }
    }

    /// The draws for the damage of a row. A product has fewer than 100 rows in any table.
    fn damage(&self, table: TableId, row: u32) -> Random {
        let mut random = self.catalogue.random(Stream::Damage, self.product);
        Random::new(random.bits(), Stream::Damage, table.into_usize() as u32 * 100 + row)
    }
}

/// Of a row that is not followed by a site of another product.
fn neighbours(after_defect: bool, orphan: bool) -> Neighbours {
    Neighbours { after_defect, orphan, before_defect: false }
}

/// Rows under the styles of one product: they are counted, and their fates decided, across its styles.
struct Children {
    random: Random,
    fates: Fates,
    row: u32,
    /// The style whose rows are next.
    parent: Parent,
}

#[derive(Clone, Copy, Default)]
struct Parent {
    id: u32,
    children: u32,
    /// The style is rejected.
    orphan: bool,
}
