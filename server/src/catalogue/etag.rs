//! Entity tags. All of ours are weak, since the forms of a body (plain, gzip, …) share theirs: they say the same, but
//! not in the same bytes (RFC 9110, section 8.8.1). No I/O.

use http::HeaderValue;

/// The weak tag with this content: hexadecimal digits and hyphens.
pub fn weak(opaque: &str) -> HeaderValue {
    // In quotes they always are a header's value.
    HeaderValue::try_from(format!("W/\"{opaque}\"")).unwrap_or_else(|_| HeaderValue::from_static("W/\"\""))
}

/// What stands in the tags of an `If-None-Match`, to be compared weakly, as RFC 9110, section 13.1.2 says. `*` is no
/// tag: it asks whether there is such a resource.
pub fn opaque(if_none_match: &HeaderValue) -> impl Iterator<Item = &str> {
    // Our tags hold no commas, so a tag that is split by one is not ours.
    let tags = if_none_match.to_str().unwrap_or_default().split(',').map(str::trim);
    tags.filter_map(|tag| {
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        opaque.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'))
    })
}
