//! `load`: loads the files and publishes them.

use atelier_base::error::Result;
use atelier_base::terminal::{SUCCESS, styled};

use crate::cli;
use crate::commands::signals::cancel_on_signal;
use crate::load::{LoadOutcome, Options, load};
use crate::options::{Database, Input};
use crate::output::stdout::print;
use crate::output::summary::show;

pub async fn run(args: &cli::Load) -> Result<()> {
    let database = Database::resolve(&args.database)?;
    let mut input = Input::resolve(&args.input)?;
    let options = Options { keep_previous: args.keep_previous, force: args.force };
    match load(&input, &database, &options, &cancel_on_signal()).await? {
        LoadOutcome::Published { load_id, report } => {
            let shown = show(&report, &mut input.report);
            let published = styled(SUCCESS, format_args!("load {load_id} is published"));
            let printed = print(&format!("{published}\n{}", report.times()));
            shown.and(printed)
        }
        LoadOutcome::Unchanged { load_id, report } => {
            let unchanged = styled(SUCCESS, "nothing to load: these files are already published");
            let printed = print(&format!(
                "{unchanged}\nload {load_id} is unchanged; --force loads them again\n{}",
                report.new_warnings()
            ));
            input.report.write(&report).and(printed)
        }
        LoadOutcome::Rejected { error, report } => {
            // Why the files are not accepted matters more than a report that cannot be written.
            let _ = show(&report, &mut input.report);
            Err(error)
        }
    }
}
