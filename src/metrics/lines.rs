//! Lines of Prometheus' text format 0.0.4, written as they are.

use crate::engine::snapshot::Histogram;
use std::fmt::Write;

/// The labels of a sample: their names, their values, and the upper bound of a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels<'a> {
    pub(super) names: &'a [&'a str],
    pub(super) values: &'a [&'a str],
    pub(super) bound: Option<f64>,
}

impl Labels<'_> {
    fn up_to(self, bound: f64) -> Self {
        Self {
            bound: Some(bound),
            ..self
        }
    }
}

/// The upper bounds, each with the number of observations up to it.
pub(super) fn cumulated(histogram: &Histogram) -> impl Iterator<Item = (f64, u64)> {
    let mut sum = 0;
    Histogram::BOUNDS
        .into_iter()
        .zip(&histogram.buckets)
        .map(move |(bound, count)| {
            sum += count;
            (bound, sum)
        })
}

/// The text so far, and the name of the family whose lines are being written.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) name: &'static str,
    pub(super) text: String,
}

impl Lines {
    /// One sample: `name_suffix{label="value",…,le="bound"} value`.
    pub(super) fn sample(&mut self, suffix: &str, labels: Labels<'_>, value: f64) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut open = '{';
        for (label, value) in labels.names.iter().zip(labels.values) {
            self.text.push(open);
            self.text.push_str(label);
            self.text.push_str("=\"");
            self.escaped(value);
            self.text.push('"');
            open = ',';
        }
        if let Some(bound) = labels.bound {
            self.text.push(open);
            self.text.push_str("le=\"");
            self.number(bound);
            self.text.push('"');
            open = ',';
        }
        self.text.push_str(if open == ',' { "} " } else { " " });
        self.number(value);
        self.text.push('\n');
    }

    /// All lines of a histogram.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let count = histogram.count() as f64;
        for (bound, count) in cumulated(histogram) {
            self.sample("_bucket", labels.up_to(bound), count as f64);
        }
        self.sample("_bucket", labels.up_to(f64::INFINITY), count);
        self.sample("_sum", labels, histogram.sum);
        self.sample("_count", labels, count);
    }

    fn escaped(&mut self, value: &str) {
        if !value.contains(['\\', '\n', '"']) {
            self.text.push_str(value);
            return;
        }
        for letter in value.chars() {
            match letter {
                '\\' => self.text.push_str(r"\\"),
                '\n' => self.text.push_str(r"\n"),
                '"' => self.text.push_str("\\\""),
                other => self.text.push(other),
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "only whole numbers are cast, inside the range where f64 has all of them"
    )]
    fn number(&mut self, value: f64) {
        /// Most samples are 0, 1 or a count, and whole numbers are written several times faster.
        const WHOLE_BELOW: f64 = 9e15;
        // Writing into a string cannot fail.
        let written = if value == f64::INFINITY {
            self.text.write_str("+Inf")
        } else if value.fract() == 0.0 && value.abs() < WHOLE_BELOW {
            write!(self.text, "{}", value as i64)
        } else {
            write!(self.text, "{value}")
        };
        written.unwrap_or_default();
    }
}
