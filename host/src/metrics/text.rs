//! The text form of Prometheus before OpenMetrics: `promtool check metrics` and people read it.

use std::fmt::Write as _;

/// Converts the OpenMetrics form. A counter and an info are described there by their base names; here
/// a description names the samples.
pub(super) fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(comment) = line.strip_prefix("# ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        // HELP stands before TYPE, which says by which name both must be.
        let Some((name, help)) = described(comment, "HELP ") else {
            continue;
        };
        let next = lines.peek().and_then(|line| line.strip_prefix("# "));
        let kind = next.and_then(|next| described(next, "TYPE "));
        let (suffix, kind) = match kind.map_or("", |(_, kind)| kind) {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            "" | "unknown" => ("", "untyped"),
            kind => ("", kind),
        };
        let _ = writeln!(
            text,
            "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}"
        );
    }
    text
}

/// Name and text of a comment of this kind.
fn described<'a>(comment: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    comment.strip_prefix(kind)?.split_once(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_name_the_samples() {
        let open = "# HELP a_b Help of it\n# TYPE a_b counter\na_b_total{c=\"d # e\"} 1\n# HELP i I\n# TYPE i info\ni_info{v=\"1\"} 1\n# HELP g G\n# TYPE g gauge\n# EOF\n";
        let expected = "# HELP a_b_total Help of it\n# TYPE a_b_total counter\na_b_total{c=\"d # e\"} 1\n# HELP i_info I\n# TYPE i_info gauge\ni_info{v=\"1\"} 1\n# HELP g G\n# TYPE g gauge\n";
        assert_eq!(prometheus(open), expected);
    }
}
