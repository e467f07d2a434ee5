//! A binary COPY, read as a whole and in pieces: the same rows or the same error, and no panic.
//!
//! The input: a byte for the size of the pieces, then the COPY.

#![no_main]

use atelier_etl::rows::decode::{Content, Decoder, Malformed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&size, copy)) = input.split_first() else { return };
    assert_eq!(decode(copy.chunks(usize::from(size) + 1)), decode([copy]));
});

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Content, Malformed> {
    let mut decoder = Decoder::default();
    pieces.into_iter().try_for_each(|piece| decoder.take(piece))?;
    decoder.finish()
}
