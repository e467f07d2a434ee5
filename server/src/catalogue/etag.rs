//! Entity tags. All of ours are weak, since all codings of a body (identity, gzip, …) share one: their content is the
//! same, but not their bytes (RFC 9110, section 8.8.1). No I/O.

use http::HeaderValue;

/// A weak tag. `opaque` consists of hexadecimal digits, letters and hyphens.
pub(crate) fn weak(opaque: &str) -> HeaderValue {
    // In quotes, these are always a valid header value.
    HeaderValue::try_from(format!("W/\"{opaque}\"")).unwrap_or_else(|_| HeaderValue::from_static("W/\"\""))
}

/// The tags of an `If-None-Match`, without `W/` and quotes, since they are compared weakly (RFC 9110, section 13.1.2).
/// `*` is not a tag: it asks whether the resource exists.
pub(crate) fn opaque(if_none_match: &HeaderValue) -> impl Iterator<Item = &str> {
    // Our tags hold no commas, so a tag that is split by one is not ours.
    let tags = if_none_match.to_str().unwrap_or_default().split(',').map(str::trim);
    tags.filter_map(|tag| {
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        opaque.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'))
    })
}
