//! Generates a catalogue of any size, with the defects of real copies on demand, and a manifest of what a
//! correct load must make of it. The same (products, seed, defects) give the same bytes on every machine and
//! with any number of threads: integers only, and every row a pure function of the seed, its product, and
//! the ids used before it.
//!
//! Blocks of products are measured in parallel, their beginnings summed, and then drawn up in parallel,
//! while the wave of blocks before is written. Two waves go round, so memory is flat at any size.

mod block;
mod damage;
mod defects;
mod files;
mod manifest;
mod plan;
mod random;
mod rows;
mod shape;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use manifest::{Manifest, TableManifest};

use atelier_base::error::{Error, Result};

use atelier_base::tables::TABLES;
use block::{BLOCK, Block};
use files::Files;
use manifest::Tally;
use plan::Plan;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use shape::{Catalogue, Cursor};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// The largest catalogue whose ids keep away from the ids of nobody and from the end of `int`.
pub const MOST_PRODUCTS: u32 = 50_000_000;

/// Blocks that are drawn up together: about 12 MB, of which two are in memory. Enough to keep a dozen threads
/// busy; more would only take more memory.
const WAVE: u32 = 20;

/// What is to be generated.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory for the six files and `manifest.json`; made if missing.
    pub out: PathBuf,
    /// How many products, 1 to [`MOST_PRODUCTS`]. The real copies have 1,000,011.
    pub products: u32,
    /// Another seed is another catalogue.
    pub seed: u64,
    /// Which defects.
    pub defects: Defects,
    /// How many threads draw up rows. The bytes do not depend on it.
    pub threads: usize,
}

/// Which defects a generated catalogue has.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Defects {
    /// None
    None,
    /// Those of the real copies: ten unterminated quotes, and rows related to nothing
    Legacy,
    /// Every defect the loader knows, in every table it can occur in
    Heavy,
}

/// Generates a catalogue. `going_on` is asked now and then, and its error ends it.
///
/// # Errors
///
/// `Usage` if the options ask for what cannot be, or the directory holds a catalogue that was not generated;
/// `Input` if the files cannot be written. Nothing half-written is left then.
pub fn generate(options: &Options, going_on: &dyn Fn() -> Result<()>) -> Result<Manifest> {
    if !(1..=MOST_PRODUCTS).contains(&options.products) {
        let what = format!("cannot generate {} products", options.products);
        return Err(Error::usage(what).hint(format!("give --products a number from 1 to {MOST_PRODUCTS}")));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads.max(1)).build();
    let pool = pool.map_err(|error| {
        Error::usage("cannot start the threads").cause(error).hint("raise the limits on threads (ulimit -u)")
    })?;
    let mut files = Files::create(&options.out)?;
    let catalogue = Catalogue { products: options.products, seed: options.seed };
    let plan = Plan::new(catalogue, options.defects);
    let mut tallies: [Tally; 6] = Default::default();

    let (full_sender, full) = channel();
    let (empty_sender, empty) = channel();
    thread::scope(|scope| {
        for _ in 0..2 {
            let wave: Vec<Block> = (0..WAVE).map(|_| Block::default()).collect();
            // The receiver is alive until the next statement.
            let _ = empty_sender.send(wave);
        }
        scope.spawn(|| pool.install(|| render(&catalogue, &plan, empty, full_sender)));
        write(&mut files, &mut tallies, full, empty_sender, going_on)
    })?;

    let tables = TABLES.iter().zip(&tallies).enumerate().map(|(index, (table, tally))| {
        Ok((table.id, tally.manifest(Files::name(index), files.bytes(index)?)))
    });
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        products: options.products,
        seed: options.seed,
        defects: options.defects,
        tables: tables.collect::<Result<_>>()?,
    };
    files.publish(&manifest)?;
    Ok(manifest)
}

/// Draws up all blocks, wave by wave, in order. Ends early when nobody takes them any more.
fn render(catalogue: &Catalogue, plan: &Plan, empty: Receiver<Vec<Block>>, full: Sender<Vec<Block>>) {
    let blocks = catalogue.products.div_ceil(BLOCK);
    let mut end = Cursor::default();
    for first in (0..blocks).step_by(WAVE as usize) {
        let Ok(mut wave) = empty.recv() else { return };
        let numbers = first..blocks.min(first + WAVE);
        wave.resize_with(numbers.len(), Block::default);
        let sizes: Vec<Cursor> =
            numbers.clone().into_par_iter().map(|block| block::measure(catalogue, block)).collect();
        let starts = sizes.iter().map(|size| {
            let start = end;
            end.add(size);
            start
        });
        let starts: Vec<(u32, Cursor)> = numbers.zip(starts).collect();
        wave.par_iter_mut().zip(starts).for_each(|(into, (block, start))| {
            block::render(catalogue, plan, block, start, into);
        });
        if full.send(wave).is_err() {
            return;
        }
    }
}

/// Writes the waves as they come, and hands them back to be used again.
fn write(
    files: &mut Files,
    tallies: &mut [Tally; 6],
    full: Receiver<Vec<Block>>,
    empty: Sender<Vec<Block>>,
    going_on: &dyn Fn() -> Result<()>,
) -> Result<()> {
    for wave in full {
        going_on()?;
        for (table, tally) in tallies.iter_mut().enumerate() {
            for block in &wave {
                files.write(table, &block.bytes[table])?;
                tally.add(&block.tallies[table]);
            }
        }
        // After the last wave nobody waits for an empty one.
        let _ = empty.send(wave);
    }
    Ok(())
}
