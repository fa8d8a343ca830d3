use std::collections::BTreeSet;

/// A metric of an expression, and the labels that the expression wants of it: those that it selects
/// by, and those that it groups by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) metric: String,
    pub(super) labels: BTreeSet<String>,
}

/// The metrics of an expression of PromQL, as simple as ours are: a metric stands after the labels
/// that its aggregation keeps, `sum by (a, b) (rate(metric{c="d"}[5m]))`.
pub(super) fn references(expression: &str) -> Vec<Reference> {
    let mut found: Vec<Reference> = Vec::new();
    let mut grouped = BTreeSet::new();
    let mut rest = expression;
    while let Some(at) = rest.find(is_word) {
        rest = &rest[at..];
        let (word, after) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        rest = after.trim_start();
        if word == "by" {
            let (labels, after) = rest.split_once(')').unwrap();
            grouped = labels.trim_start_matches('(').split(',').map(|l| l.trim().into()).collect();
            rest = after;
        } else if word == "up" || word.starts_with("kes_") {
            let mut labels = grouped.clone();
            if let Some((selected, after)) = rest.strip_prefix('{').and_then(|r| r.split_once('}'))
            {
                labels.extend(
                    selected
                        .split("\",")
                        .map(|one| one.split(['=', '!']).next().unwrap().trim().to_owned()),
                );
                rest = after;
            }
            found.push(Reference { metric: word.to_owned(), labels });
        }
        // What an aggregation keeps counts up to the operator that follows it.
        if rest.trim_start_matches([')', ']', ' ']).starts_with(['>', '<', '/', '+', '*']) {
            grouped.clear();
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[test]
fn metrics_and_labels_are_found() {
    let one = |metric: &str, labels: &[&str]| Reference {
        metric: metric.to_owned(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
    };
    for (expression, expected) in [
        ("up{job=\"kes\"} == 0", vec![one("up", &["job"])]),
        (
            "sum by (job, call) (rate(kes_a{b=~\"(x|y),z\",c!=\"d\"}[5m])) > 0.1 * kes_e",
            vec![one("kes_a", &["job", "call", "b", "c"]), one("kes_e", &[])],
        ),
        (
            "histogram_quantile(0.9, sum by (le) (rate(kes_a_bucket[5m])))",
            vec![one("kes_a_bucket", &["le"])],
        ),
        ("kes_a or kes_b{x=\"y\"}", vec![one("kes_a", &[]), one("kes_b", &["x"])]),
    ] {
        assert_eq!(references(expression), expected, "{expression}");
    }
}
