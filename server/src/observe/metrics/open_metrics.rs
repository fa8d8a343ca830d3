//! The OpenMetrics text 1.0, made of the text 0.0.4.
//!
//! The samples of both are the same, so that a dashboard does not depend on which of them Prometheus
//! asks for. In OpenMetrics the sample of a counter has to end with `_total`, and ours have the names
//! of the reference: they are of the type `unknown` there.

use std::collections::HashMap;

/// The media type.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Makes the text. `exemplars` has what follows a sample, by its series.
pub(super) fn text(plain: &str, exemplars: &HashMap<String, String>) -> String {
    let mut text = String::with_capacity(plain.len() + 4096);
    for line in plain.lines() {
        if let Some(name) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter"))
        {
            text.extend(["# TYPE ", name, " unknown"]);
        } else if line.starts_with("# HELP ") && line.contains('"') {
            text.push_str(&line.replace('"', "\\\""));
        } else {
            text.push_str(line);
            let series = line.rsplit_once(' ').map(|(series, _)| series);
            if let Some(exemplar) = series.and_then(|series| exemplars.get(series)) {
                text.push_str(exemplar);
            }
        }
        text.push('\n');
    }
    text.push_str("# EOF\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_openmetrics_wants_is_changed() {
        let plain = "# HELP a Says \"a\"\n# TYPE a counter\na{x=\"counter\"} 1\n# TYPE b histogram\n\
                     b_bucket{le=\"1\"} 1\nb_bucket{le=\"+Inf\"} 1\nb_sum 0.5\nb_count 1\n";
        let exemplars = HashMap::from([(
            "b_bucket{le=\"1\"}".to_owned(),
            " # {trace_id=\"7\"} 0.5".to_owned(),
        )]);
        let expected = "# HELP a Says \\\"a\\\"\n# TYPE a unknown\na{x=\"counter\"} 1\n\
                        # TYPE b histogram\nb_bucket{le=\"1\"} 1 # {trace_id=\"7\"} 0.5\n\
                        b_bucket{le=\"+Inf\"} 1\nb_sum 0.5\nb_count 1\n# EOF\n";
        assert_eq!(text(plain, &exemplars), expected);
    }
}
