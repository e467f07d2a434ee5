//! What was generated and what a correct load must make of it: the counts that tests hold a loader against.
//! Counted while the rows are written, never estimated.

use crate::Defects;
use crate::defects::{CODES, Code};
use atelier_base::tables::{TABLES, TableId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The contents of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the program that wrote the files.
    pub version: String,
    /// How many products were asked for.
    pub products: u32,
    /// The seed that was given.
    pub seed: u64,
    /// Which defects are in the files.
    pub defects: Defects,
    /// The six files, in the order of [`TABLES`].
    #[serde(with = "by_name")]
    pub tables: BTreeMap<TableId, TableManifest>,
}

/// What is in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableManifest {
    /// The file's name, without a directory.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Records in it, the header not counted.
    pub read: u64,
    /// Records that a correct load puts in the database: `read` less all that are rejected.
    pub loaded: u64,
    /// Records that are loaded after a repair, by the code of the defect.
    pub repaired: BTreeMap<String, u64>,
    /// Records that are not loaded, by the code of the defect.
    pub rejected: BTreeMap<String, u64>,
}

/// What a part of a file holds, as it is counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    read: u64,
    by_code: [u64; CODES.len()],
}

impl Tally {
    /// A record without defects.
    pub(crate) fn sound(&mut self) {
        self.read += 1;
    }

    /// A record with a defect. A duplicate counts by itself, apart from the record it repeats.
    pub(crate) fn defective(&mut self, code: Code) {
        self.read += 1;
        self.by_code[code as usize] += 1;
    }

    /// Adds another part of the same file.
    pub(crate) fn add(&mut self, other: &Tally) {
        self.read += other.read;
        for (sum, count) in self.by_code.iter_mut().zip(other.by_code) {
            *sum += count;
        }
    }

    /// The whole file's entry in the manifest.
    pub(crate) fn manifest(&self, file: String, bytes: u64) -> TableManifest {
        let counts = |repaired: bool| -> BTreeMap<String, u64> {
            CODES
                .iter()
                .map(|&code| (code, self.by_code[code as usize]))
                .filter(|&(code, count)| code.is_repaired() == repaired && count > 0)
                .map(|(code, count)| (code.name().to_owned(), count))
                .collect()
        };
        let (repaired, rejected) = (counts(true), counts(false));
        let loaded = self.read - rejected.values().sum::<u64>();
        TableManifest { file, bytes, read: self.read, loaded, repaired, rejected }
    }
}

/// A map by table, in JSON by the table's name.
mod by_name {
    use super::{BTreeMap, TABLES, TableId, TableManifest};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        tables: &BTreeMap<TableId, TableManifest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(tables.iter().map(|(id, table)| (id.table().name, table)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<TableId, TableManifest>, D::Error> {
        let by_name = BTreeMap::<String, TableManifest>::deserialize(deserializer)?;
        let entry = |(name, manifest): (String, TableManifest)| {
            let table = TABLES.iter().find(|table| table.name == name);
            let table = table.ok_or_else(|| D::Error::custom(format!("no table is named {name}")))?;
            Ok((table.id, manifest))
        };
        by_name.into_iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_json_and_lists_the_tables_in_order() {
        let mut tally = Tally::default();
        tally.sound();
        tally.defective(Code::Orphan);
        tally.defective(Code::Spacing);
        let tables = TABLES.iter().map(|table| (table.id, tally.manifest(format!("{}.csv", table.name), 9)));
        let manifest = Manifest {
            version: "1".into(),
            products: 3,
            seed: u64::MAX,
            defects: Defects::Heavy,
            tables: tables.collect(),
        };
        let json = serde_json::to_string(&manifest).unwrap();
        let related = concat!(
            r#""related":{"file":"related.csv","bytes":9,"read":3,"loaded":2,"#,
            r#""repaired":{"spacing":1},"rejected":{"orphan":1}}}}"#
        );
        assert!(json.starts_with(
            r#"{"version":"1","products":3,"seed":18446744073709551615,"defects":"heavy","tables":{"product":"#
        ));
        assert!(json.ends_with(related), "{json}");
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    }
}
