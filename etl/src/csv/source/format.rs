//! The format of a file, by its first bytes.

use std::io;

/// Enough bytes to distinguish the formats.
pub(super) const HEAD_BYTES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// None of the others.
    Text(Encoding),
    Compressed(Compression),
    /// Its name, with an article, and what to do about it.
    Other(&'static str, &'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstandard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Wide(Wide),
}

/// UTF-16 or UTF-32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wide {
    /// Bytes of a code unit, 2 or 4.
    pub(super) unit: usize,
    pub(super) big_endian: bool,
}

const UNPACK: &str = "unpack it: only gzip and zstd files are read compressed";
const EXPORT: &str = "export it as CSV, in UTF-8";
const FETCH: &str = "fetch the CSV file itself";

/// The first bytes of formats that are passed in place of CSV, from their specifications.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (b"PK\x03\x04", "a zip archive (or a spreadsheet, which is one)", UNPACK),
    (b"BZh", "compressed with bzip2", UNPACK),
    (b"\xfd7zXZ\0", "compressed with xz", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"\x04\x22\x4d\x18", "compressed with lz4", UNPACK),
    (b"\xff\x06\0\0sNaPpY", "compressed with Snappy", UNPACK),
    (b"\x1f\x9d", "compressed with compress", UNPACK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a spreadsheet of an old Excel", EXPORT),
    (b"PAR1", "a Parquet file", EXPORT),
    (b"SQLite format 3\0", "an SQLite database", EXPORT),
    (b"PGDMP", "a dump of pg_dump", EXPORT),
    (b"PGCOPY\n\xff\r\n\0", "a binary COPY of PostgreSQL", "write it with COPY … TO … CSV HEADER"),
    (b"%PDF-", "a PDF document", EXPORT),
    (b"version https://git-lfs", "a pointer of Git LFS", "git lfs pull"),
    (b"<!DOCTYPE", "an HTML page", FETCH),
    (b"<!doctype", "an HTML page", FETCH),
    (b"<html", "an HTML page", FETCH),
    (b"<?xml", "an XML document", FETCH),
];

impl Format {
    /// Of a file that begins with `head`, which has [`HEAD_BYTES`] or is the whole file.
    pub(super) fn of(head: &[u8]) -> Format {
        if let Some(compression) = Compression::of(head) {
            return Format::Compressed(compression);
        }
        let other = OTHERS.iter().find(|(magic, ..)| head.starts_with(magic));
        other.map_or(Format::Text(Encoding::of(head)), |&(_, name, hint)| Format::Other(name, hint))
    }
}

impl Compression {
    fn of(head: &[u8]) -> Option<Compression> {
        match *head {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            // A frame, or a skippable one (RFC 8878, 3.1).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Some(Compression::Zstandard)
            }
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstandard => "zstd",
        }
    }

    /// What to do about an error of the decompressor.
    pub(super) fn hint(self, error: &io::Error) -> String {
        let why = error.to_string().to_lowercase();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            "the end of the file is missing: fetch it again".into()
        } else if why.contains("checksum") {
            "it was damaged in transfer: fetch it again".into()
        } else if why.contains("dictionary") {
            "compress it without a dictionary".into()
        } else {
            format!("check it with {} -t, and compress it again", self.name())
        }
    }
}

impl Encoding {
    /// By the byte order mark; without one by the zeros that ASCII characters have in UTF-16 and UTF-32.
    fn of(head: &[u8]) -> Encoding {
        let wide = |unit, big_endian| Encoding::Wide(Wide { unit, big_endian });
        match *head {
            [0xff, 0xfe, 0, 0, ..] => wide(4, false),
            [0, 0, 0xfe, 0xff, ..] => wide(4, true),
            [0xff, 0xfe, ..] => wide(2, false),
            [0xfe, 0xff, ..] => wide(2, true),
            [1..=255, 0, 0, 0, ..] => wide(4, false),
            [0, 0, 0, 1..=255, ..] => wide(4, true),
            [1..=255, 0, 1..=255, 0, ..] => wide(2, false),
            [0, 1..=255, 0, 1..=255, ..] => wide(2, true),
            _ => Encoding::Utf8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_detected_by_the_first_bytes() {
        let wide = |unit, big_endian| Format::Text(Encoding::Wide(Wide { unit, big_endian }));
        let utf8 = Format::Text(Encoding::Utf8);
        let cases: &[(&[u8], Format)] = &[
            (b"", utf8),
            (b"i", utf8),
            (b"id,name", utf8),
            (b"\xef\xbb\xbfid", utf8),
            (b"\x1f\x8b\x08", Format::Compressed(Compression::Gzip)),
            (b"\x28\xb5\x2f\xfd", Format::Compressed(Compression::Zstandard)),
            (b"\x5f\x2a\x4d\x18\0", Format::Compressed(Compression::Zstandard)),
            (b"\xff\xfei\0d\0", wide(2, false)),
            (b"\xfe\xff\0i", wide(2, true)),
            (b"\xff\xfe\0\0i\0\0\0", wide(4, false)),
            (b"\0\0\xfe\xff", wide(4, true)),
            (b"i\0d\0,\0", wide(2, false)),
            (b"\0i\0d\0,", wide(2, true)),
            (b"i\0\0\0d\0\0\0", wide(4, false)),
            (b"\0\0\0i\0\0\0d", wide(4, true)),
            // A NUL in the middle: its row will be rejected.
            (b"id,\0\0", utf8),
        ];
        for (head, expected) in cases {
            assert_eq!(Format::of(head), *expected, "{head:?}");
        }
        for (magic, name, hint) in OTHERS {
            assert!(magic.len() <= HEAD_BYTES, "{name}");
            assert_eq!(Format::of(magic), Format::Other(name, hint));
        }
    }
}
