//! What was generated and what a correct load must make of it: the counts that tests compare a load with.
//! Counted while the rows are written, never estimated.

use std::collections::BTreeMap;

use atelier_base::tables::TableId;
use enum_map::EnumMap;
use serde::{Deserialize, Serialize};

use crate::defect::Defect;
use crate::options::Defects;

/// The contents of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the program that wrote the files.
    pub version: String,
    pub products: u32,
    pub seed: u64,
    pub defects: Defects,
    #[serde(with = "by_name")]
    pub tables: EnumMap<TableId, TableManifest>,
}

/// What is in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableManifest {
    /// The file's name, without a directory.
    pub file: String,
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
pub(crate) struct FileCounts {
    read: u64,
    defects: EnumMap<Defect, u64>,
}

impl FileCounts {
    /// A record without defects.
    pub(crate) fn clean(&mut self) {
        self.read += 1;
    }

    /// A record with a defect. A duplicate counts by itself, apart from the record it repeats.
    pub(crate) fn defective(&mut self, defect: Defect) {
        self.read += 1;
        self.defects[defect] += 1;
    }

    /// Adds another part of the same file.
    pub(crate) fn add(&mut self, other: &FileCounts) {
        self.read += other.read;
        for (sum, count) in self.defects.values_mut().zip(other.defects.values()) {
            *sum += count;
        }
    }

    /// The whole file's entry in the manifest.
    pub(crate) fn manifest(&self, file: String, bytes: u64) -> TableManifest {
        let counts = |repaired: bool| -> BTreeMap<String, u64> {
            let counts = self.defects.iter();
            let counts = counts.filter(|(defect, rows)| defect.is_repaired() == repaired && **rows > 0);
            counts.map(|(defect, rows)| (defect.code().to_owned(), *rows)).collect()
        };
        let (repaired, rejected) = (counts(true), counts(false));
        let loaded = self.read - rejected.values().sum::<u64>();
        TableManifest { file, bytes, read: self.read, loaded, repaired, rejected }
    }
}

/// In JSON, a map by the name of the table.
mod by_name {
    use std::collections::BTreeMap;

    use atelier_base::tables::TableId;
    use enum_map::{EnumMap, enum_map};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::TableManifest;

    pub(crate) fn serialize<S: Serializer>(
        tables: &EnumMap<TableId, TableManifest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(tables.iter().map(|(id, table)| (id.table().name, table)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<EnumMap<TableId, TableManifest>, D::Error> {
        let mut by_name = BTreeMap::<String, TableManifest>::deserialize(deserializer)?;
        let mut take = |name| by_name.remove(name).ok_or_else(|| D::Error::missing_field(name));
        Ok(enum_map! { table => take(TableId::table(table).name)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_json_and_lists_the_tables_in_order() {
        let mut counts = FileCounts::default();
        counts.clean();
        counts.defective(Defect::Orphan);
        counts.defective(Defect::Spacing);
        let manifest = Manifest {
            version: "1".into(),
            products: 3,
            seed: u64::MAX,
            defects: Defects::Heavy,
            tables: EnumMap::from_fn(|table: TableId| {
                counts.manifest(format!("{}.csv", table.table().name), 9)
            }),
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
