//! `generate`: makes a catalogue of any size.

use atelier_base::error::Result;
use atelier_base::visible::visible;
use atelier_sample::{Options, generate};
use indicatif::HumanCount;

use crate::cli;
use crate::commands::signals::{check_cancelled, run_blocking};
use crate::options::refuse_url;
use crate::output::stdout::print;

pub async fn run(args: cli::Generate) -> Result<()> {
    run_blocking(move |cancel| {
        refuse_url("--out", Some(&args.out))?;
        let options = Options {
            out: args.out.clone(),
            products: args.products,
            seed: args.seed,
            defects: args.defects,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let manifest = generate(&options, &|| check_cancelled(cancel))?;
        let out = args.out.display().to_string();
        print(&format!("{} products in {}\n", HumanCount(manifest.products.into()), visible(&out)))
    })
    .await
}
