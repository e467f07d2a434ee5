//! The two text formats of `/metrics`, and which of them a client gets. Prometheus asks for OpenMetrics. curl and older
//! agents ask for nothing in particular and expect the older format.

use std::collections::HashMap;

use http::header::{ACCEPT, HeaderMap};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Version 1.0
    OpenMetrics,
    /// Version 0.0.4
    Prometheus,
}

impl Format {
    pub(crate) fn negotiate(headers: &HeaderMap) -> Format {
        let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        if accepted.any(|value| value.contains("application/openmetrics-text")) {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts from OpenMetrics.
    pub(crate) fn write(self, openmetrics: String) -> String {
        match self {
            Format::OpenMetrics => openmetrics,
            Format::Prometheus => without_families(&openmetrics),
        }
    }
}

/// OpenMetrics describes families, such as `x` of the counter `x_total` or the info `x_info`. The older format describes
/// the samples themselves, and has neither infos nor units.
fn without_families(openmetrics: &str) -> String {
    let types = openmetrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: HashMap<&str, &str> = types.collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(family), Some(rest)) => {
                let (suffix, r#type) = match types.get(family).copied() {
                    Some("counter") => ("_total", "counter"),
                    Some("info") => ("_info", "gauge"),
                    other => ("", other.unwrap_or("untyped")),
                };
                let rest = if what == "TYPE" { r#type } else { rest };
                text.extend(["# ", what, " ", family, suffix, " ", rest, "\n"]);
            }
            (Some("#"), ..) => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn families_are_renamed_to_their_samples() {
        let openmetrics = "\
# HELP a_build The version.
# TYPE a_build info
a_build_info{version=\"1\"} 1
# HELP a_requests Requests answered.
# TYPE a_requests counter
a_requests_total{route=\"/ # HELP x y\"} 7
# HELP a_seconds Time.
# TYPE a_seconds histogram
# UNIT a_seconds seconds
a_seconds_bucket{le=\"+Inf\"} 7
# EOF
";
        let expected = "\
# HELP a_build_info The version.
# TYPE a_build_info gauge
a_build_info{version=\"1\"} 1
# HELP a_requests_total Requests answered.
# TYPE a_requests_total counter
a_requests_total{route=\"/ # HELP x y\"} 7
# HELP a_seconds Time.
# TYPE a_seconds histogram
a_seconds_bucket{le=\"+Inf\"} 7
";
        assert_eq!(Format::Prometheus.write(openmetrics.to_owned()), expected);
        assert_eq!(Format::OpenMetrics.write(openmetrics.to_owned()), openmetrics);
    }

    #[test]
    fn clients_get_the_older_format_unless_they_ask_for_openmetrics() {
        for (accept, format) in [
            (
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("text/plain", Format::Prometheus),
            ("*/*", Format::Prometheus),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Format::negotiate(&headers), format, "{accept}");
        }
        assert_eq!(Format::negotiate(&HeaderMap::new()), Format::Prometheus);
    }
}
