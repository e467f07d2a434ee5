//! Content codings: negotiation (RFC 9110, section 12.5.3) and compression. No I/O.

use std::io::{self, Write as _};

use http::{HeaderMap, HeaderValue, header};

/// Smaller bodies are not compressed: with their headers they fit into one packet either way.
pub(crate) const MIN_BYTES: usize = 1024;

/// Levels at which a body of a few kilobytes takes well under a millisecond. With a cache it is compressed once a load,
/// without one for every request.
const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: i32 = 4;
const ZSTD_LEVEL: i32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Encoding {
    Identity,
    /// gzip, RFC 1952.
    Gzip,
    /// Brotli, RFC 7932.
    Brotli,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// The order among codings that a client accepts equally: the cheapest for its size first.
const PREFERENCE: [(Encoding, &str); 3] =
    [(Encoding::Zstd, "zstd"), (Encoding::Brotli, "br"), (Encoding::Gzip, "gzip")];

impl Encoding {
    /// The coding that the client prefers, and among equals the one that we prefer. A client that accepts none of ours
    /// gets the body uncompressed.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Encoding {
        if !headers.contains_key(header::ACCEPT_ENCODING) {
            return Encoding::Identity;
        }
        let mut best = (0, Encoding::Identity);
        for (encoding, name) in PREFERENCE {
            let quality = quality(headers, name);
            if quality > best.0 {
                best = (quality, encoding);
            }
        }
        // Explicitly preferred to any coding: `gzip;q=0.5, identity`.
        if stated(headers, "identity").is_some_and(|quality| quality > best.0) {
            return Encoding::Identity;
        }
        best.1
    }

    /// The value of `Content-Encoding`; `None` for identity.
    pub(crate) fn header(self) -> Option<HeaderValue> {
        let (_, name) = PREFERENCE.into_iter().find(|(encoding, _)| *encoding == self)?;
        Some(HeaderValue::from_static(name))
    }

    pub(crate) fn encode(self, body: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Encoding::Identity => Ok(body.to_vec()),
            Encoding::Gzip => {
                let out = Vec::with_capacity(body.len() / 4);
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
                encoder.write_all(body)?;
                encoder.finish()
            }
            Encoding::Brotli => {
                let mut out = Vec::with_capacity(body.len() / 4);
                let parameters = brotli::enc::BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: 18, // a window of 256 KiB: bodies are smaller
                    size_hint: body.len(),
                    ..Default::default()
                };
                brotli::BrotliCompress(&mut io::Cursor::new(body), &mut out, &parameters)?;
                Ok(out)
            }
            Encoding::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL),
        }
    }
}

/// The quality of a coding in thousandths; 0 means not acceptable.
fn quality(headers: &HeaderMap, name: &str) -> u32 {
    stated(headers, name).or_else(|| stated(headers, "*")).unwrap_or(0)
}

/// The quality that the client gives for a coding by its name.
fn stated(headers: &HeaderMap, name: &str) -> Option<u32> {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|item| {
        let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
        coding.trim().eq_ignore_ascii_case(name).then(|| thousandths(parameters))
    })
}

fn thousandths(parameters: &str) -> u32 {
    let parameter = parameters
        .split(';')
        .map(str::trim)
        .find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")));
    let Some(value) = parameter else { return 1000 };
    let value: f32 = value.trim().parse().unwrap_or(0.0);
    if (0.0..=1.0).contains(&value) { (value * 1000.0) as u32 } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn clients_get_the_coding_that_they_prefer() {
        use Encoding::{Brotli, Gzip, Identity, Zstd};
        for (accept, expected) in [
            (&[][..], Identity),
            (&[""], Identity),
            (&["identity"], Identity),
            (&["gzip"], Gzip),
            (&["GZIP"], Gzip),
            (&["gzip, deflate, br, zstd"], Zstd),
            (&["gzip, deflate, br"], Brotli),
            (&["gzip", "br"], Brotli),
            (&["gzip;q=1.0, br;q=0.9, zstd;q=0"], Gzip),
            (&["br;q=0.1"], Brotli),
            (&["*"], Zstd),
            (&["*;q=0.5, gzip"], Gzip),
            (&["gzip;q=0"], Identity),
            (&["*;q=0"], Identity),
            (&["gzip;q=0.5, identity"], Identity),
            (&["gzip, identity"], Gzip),
            (&["deflate, compress"], Identity),
            (&["gzip;q=nonsense"], Identity),
            (&["gzip;q=2"], Identity),
            (&["gzip; q=0.3 , br ; q=0.2"], Gzip),
        ] {
            let headers = accept
                .iter()
                .map(|value| (header::ACCEPT_ENCODING, HeaderValue::from_static(value)))
                .collect();
            assert_eq!(Encoding::negotiate(&headers), expected, "{accept:?}");
        }
    }

    #[test]
    fn encoded_bodies_decode_to_the_same_bytes() {
        let body: Vec<u8> =
            (0..30_000_u32).flat_map(|number| (number % 251).to_string().into_bytes()).collect();
        for body in [&body[..], b""] {
            let mut gzip = Vec::new();
            flate2::read::GzDecoder::new(&Encoding::Gzip.encode(body).unwrap()[..])
                .read_to_end(&mut gzip)
                .unwrap();
            assert_eq!(gzip, body);
            let mut brotli = Vec::new();
            brotli::Decompressor::new(&Encoding::Brotli.encode(body).unwrap()[..], 4096)
                .read_to_end(&mut brotli)
                .unwrap();
            assert_eq!(brotli, body);
            assert_eq!(zstd::decode_all(&Encoding::Zstd.encode(body).unwrap()[..]).unwrap(), body);
            assert_eq!(Encoding::Identity.encode(body).unwrap(), body);
        }
    }
}
