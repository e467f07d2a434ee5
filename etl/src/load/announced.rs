//! Warnings that a load prints before it drops anything.

use atelier_base::error::Result;

use crate::csv::source::Source;
use crate::database::capacity::check_disk;
use crate::database::dependents::{LEFT_BEHIND, REPLACED, Replaced, affected};
use crate::database::session::Session;
use crate::database::staging;
use crate::options::Input;
use crate::output::stdout::{print, warning_line};

#[derive(Default)]
pub(crate) struct Announced {
    /// True whatever the outcome of the load is.
    pub(crate) warnings: Vec<String>,
    /// True if the load is published.
    pub(crate) if_published: Vec<String>,
}

impl Announced {
    /// Announces what publishing will drop, drops what an earlier load left behind, and checks the disk.
    pub(crate) async fn announce(control: &Session, input: &Input, keep_previous: bool) -> Result<Announced> {
        let mut announced = Announced::default();
        for dependent in affected(control, REPLACED, keep_previous).await? {
            let warning = dependent.warning(Replaced::when(keep_previous));
            print(&warning_line(&warning))?;
            announced.if_published.push(warning);
        }
        announced.clear(control).await?;
        let csv_bytes = input.sources.values().map(Source::unpacked_bytes).sum();
        if let Some(warning) = check_disk(control, csv_bytes).await? {
            announced.warn(warning)?;
        }
        Ok(announced)
    }

    /// Announces and drops what an earlier load left behind.
    pub(crate) async fn clear(&mut self, control: &Session) -> Result<()> {
        for dependent in affected(control, LEFT_BEHIND, false).await? {
            self.warn(dependent.warning(Replaced::Dropped))?;
        }
        staging::clear(control).await
    }

    pub(crate) fn warn(&mut self, warning: String) -> Result<()> {
        print(&warning_line(&warning))?;
        self.warnings.push(warning);
        Ok(())
    }

    /// All warnings that were printed.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.warnings.iter().chain(&self.if_published).cloned().collect()
    }
}
