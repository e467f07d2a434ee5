//! What was found in a file, added up chunk by chunk.

use roaring::RoaringBitmap;

use crate::csv::lines_like_records::LinesLikeRecords;
use crate::rows::converted::{Converted, MAX_EXAMPLES};
use crate::rows::defect::{Counts, Fault, Reject, Repair, Repaired, add_counts};
use crate::rows::digest::ContentDigest;

#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Rows in the file.
    pub read: u64,
    /// Accepted rows.
    pub loaded: u64,
    /// Their ids.
    pub ids: RoaringBitmap,
    /// Accepted rows by what was repaired in them, and the header if it was.
    pub repaired: Counts<Repair>,
    /// Accepted rows with a repair: one with two repairs is one row.
    pub repaired_rows: u64,
    pub rejected: Counts<Fault>,
    /// The first repaired rows, up to `MAX_EXAMPLES` of each repair.
    pub first_repairs: Vec<Repaired>,
    /// The first rejected rows, at most one of each code.
    pub first_rejects: Vec<Reject>,
    /// Of the accepted rows.
    pub content_digest: ContentDigest,
    /// XXH3 (128 bits) of the file as it is on the disk.
    pub file_digest: u128,
    /// Size of the file on the disk.
    pub file_bytes: u64,
    pub lines_like_records: Option<LinesLikeRecords>,
    /// Names in the header that no column has.
    pub unknown_columns: Vec<String>,
}

impl Outcome {
    /// Adds the next chunk of the file, without its duplicates.
    pub fn add(&mut self, converted: &mut Converted) {
        self.read += converted.read;
        self.loaded += converted.accepted();
        self.content_digest.merge(converted.digest);
        add_counts(&mut self.repaired, &converted.repaired);
        self.repaired_rows += converted.repaired_rows;
        self.lines_like_records =
            LinesLikeRecords::sum(self.lines_like_records, converted.lines_like_records);
        for repaired in converted.first_repairs.drain(..) {
            if self.first_repairs.iter().filter(|known| known.repair == repaired.repair).count()
                < MAX_EXAMPLES
            {
                self.first_repairs.push(repaired);
            }
        }
        for reject in &converted.rejects {
            if self.rejected[reject.fault] == 0 {
                self.first_rejects.push(reject.clone());
            }
            self.rejected[reject.fault] += 1;
        }
    }
}
