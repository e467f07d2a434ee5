//! The two text formats of `/metrics`, and which of them a client reads. Prometheus asks for OpenMetrics, curl and older
//! agents for nothing in particular, and these take what they get for the format that was there before it.

use std::collections::HashMap;

use http::header::{ACCEPT, HeaderMap};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0
    OpenMetrics,
    /// Prometheus's own, 0.0.4
    Prometheus,
}

impl Format {
    /// What a client reads.
    pub fn negotiate(headers: &HeaderMap) -> Format {
        let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        if accepted.any(|value| value.contains("application/openmetrics-text")) {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// OpenMetrics in this format.
    pub fn write(self, openmetrics: String) -> String {
        match self {
            Format::OpenMetrics => openmetrics,
            Format::Prometheus => without_families(&openmetrics),
        }
    }
}

/// OpenMetrics describes families, as `x` of the counter `x_total` or the info `x_info`; the older format the samples
/// themselves, and it knows neither infos nor units.
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
    fn families_become_what_they_are_samples_of() {
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
    fn whoever_does_not_ask_for_openmetrics_gets_what_was_there_before() {
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
