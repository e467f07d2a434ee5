//! Generates a catalogue of any size, optionally with the defects of real copies, and a manifest of what a correct load
//! must make of it. The same products, seed and defects give the same bytes on every machine and with any number of
//! threads: there is integer arithmetic only, and every row is a pure function of the seed, its product, and the ids used
//! before it.
//!
//! Blocks of products are measured in parallel, their starts are summed up, and then they are rendered in parallel, while
//! the batch of blocks before is written. There are two batches, so memory does not grow with the catalogue.

mod block;
mod damage;
mod defect;
mod files;
mod manifest;
mod options;
mod plan;
mod random;
mod rows;
mod shape;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use manifest::{Manifest, TableManifest};
pub use options::{Defects, MAX_PRODUCTS, Options};

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use atelier_base::error::{Error, Result};
use atelier_base::tables::TableId;
use block::{BLOCK, Block};
use enum_map::{EnumMap, enum_map};
use files::{Files, file_name};
use manifest::FileCounts;
use plan::Plan;
use rayon::prelude::*;
use shape::{Catalogue, Cursor};

/// Blocks that are rendered together: about 12 MB, of which two are in memory. Enough to keep a dozen threads
/// busy; more would only take more memory.
const BATCH: u32 = 20;

/// Generates a catalogue. Calls `check_interrupt` for every batch, and ends with its error.
///
/// # Errors
///
/// `Usage` if the options are out of range, or the directory holds a catalogue that was not generated; `Input` if the
/// files cannot be written. No partial file is left then.
pub fn generate(options: &Options, check_interrupt: &dyn Fn() -> Result<()>) -> Result<Manifest> {
    if !(1..=MAX_PRODUCTS).contains(&options.products) {
        let what = format!("cannot generate {} products", options.products);
        return Err(Error::usage(what).hint(format!("give --products a number from 1 to {MAX_PRODUCTS}")));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads.max(1)).build();
    let pool = pool.map_err(|error| {
        Error::usage("cannot start threads").cause(error).hint("raise the limit on threads (ulimit -u)")
    })?;
    let mut files = Files::create(&options.out)?;
    let catalogue = Catalogue { products: options.products, seed: options.seed };
    let plan = Plan::new(catalogue, options.defects);
    let mut counts = EnumMap::default();

    let (full_sender, full) = channel();
    let (empty_sender, empty) = channel();
    thread::scope(|scope| {
        for _ in 0..2 {
            let batch: Vec<Block> = (0..BATCH).map(|_| Block::default()).collect();
            // The receiver is alive until the next statement.
            let _ = empty_sender.send(batch);
        }
        scope.spawn(|| pool.install(|| render(&catalogue, &plan, empty, full_sender)));
        write(&mut files, &mut counts, full, empty_sender, check_interrupt)
    })?;

    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        products: options.products,
        seed: options.seed,
        defects: options.defects,
        tables: enum_map! { table => counts[table].manifest(file_name(table), files.bytes(table)?) },
    };
    files.publish(&manifest)?;
    Ok(manifest)
}

/// Renders all blocks in order, batch by batch. Ends early when `full` is closed.
fn render(catalogue: &Catalogue, plan: &Plan, empty: Receiver<Vec<Block>>, full: Sender<Vec<Block>>) {
    let blocks = catalogue.products.div_ceil(BLOCK);
    let mut end = Cursor::default();
    for first in (0..blocks).step_by(BATCH as usize) {
        let Ok(mut batch) = empty.recv() else { return };
        let numbers = first..blocks.min(first + BATCH);
        batch.resize_with(numbers.len(), Block::default);
        let sizes: Vec<Cursor> =
            numbers.clone().into_par_iter().map(|block| block::measure(catalogue, block)).collect();
        let starts = sizes.iter().map(|size| {
            let start = end;
            end.add(size);
            start
        });
        let starts: Vec<(u32, Cursor)> = numbers.zip(starts).collect();
        batch.par_iter_mut().zip(starts).for_each(|(into, (block, start))| {
            block::render(catalogue, plan, block, start, into);
        });
        if full.send(batch).is_err() {
            return;
        }
    }
}

/// Writes the batches as they come, and returns them to be used again.
fn write(
    files: &mut Files,
    counts: &mut EnumMap<TableId, FileCounts>,
    full: Receiver<Vec<Block>>,
    empty: Sender<Vec<Block>>,
    check_interrupt: &dyn Fn() -> Result<()>,
) -> Result<()> {
    for batch in full {
        check_interrupt()?;
        for (table, counts) in counts.iter_mut() {
            for block in &batch {
                files.write(table, &block.bytes[table])?;
                counts.add(&block.counts[table]);
            }
        }
        // After the last batch there is no receiver.
        let _ = empty.send(batch);
    }
    Ok(())
}
