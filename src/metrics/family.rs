//! How a metric family is made from a snapshot; which ones there are is `families`' table.

use super::lines::{Labels, Lines, cumulated};
use crate::engine::snapshot::{Histogram, InstanceView, ModelView, ServerView, Snapshot, Totals};
use crate::engine::{FailureKind, Mono, UnixMillis};
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use std::sync::Arc;

/// What kind of metric it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name, with its unit.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
    pub(super) fill: fn(&Facts<'_>, &mut Samples),
}

/// One table behind the other.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which checks it"
)]
pub(super) const fn joined<const N: usize>(first: &[Family], second: &[Family]) -> [Family; N] {
    let mut all = [first[0]; N];
    let mut row = 0;
    while row < N {
        all[row] = if row < first.len() {
            first[row]
        } else {
            second[row - first.len()]
        };
        row += 1;
    }
    all
}

/// What the samples are made from.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) reload_successful: bool,
    pub(super) reload_success_at: UnixMillis,
}

/// The samples of one family under construction: for a registry, or as the text of the exposition.
#[derive(Debug)]
pub(super) struct Samples {
    kind: Kind,
    labels: &'static [&'static str],
    out: Out,
}

#[derive(Debug)]
enum Out {
    Metrics(Vec<Metric>),
    Text(Lines),
}

impl Samples {
    fn labelled<'a>(&self, values: &'a [&'a str]) -> Labels<'a> {
        Labels {
            names: self.labels,
            values,
            bound: None,
        }
    }

    pub(super) fn push(&mut self, values: &[&str], value: f64) {
        let labels = self.labelled(values);
        match &mut self.out {
            Out::Text(lines) => lines.sample("", labels, value),
            Out::Metrics(metrics) => {
                let mut metric = metric_for_library(labels);
                if self.kind == Kind::Counter {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                } else {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                }
                metrics.push(metric);
            }
        }
    }

    pub(super) fn push_histogram(&mut self, values: &[&str], histogram: &Histogram) {
        let labels = self.labelled(values);
        match &mut self.out {
            Out::Text(lines) => lines.histogram(labels, histogram),
            Out::Metrics(metrics) => {
                let mut metric = metric_for_library(labels);
                metric.set_histogram(histogram_for_library(histogram));
                metrics.push(metric);
            }
        }
    }
}

fn metric_for_library(labels: Labels<'_>) -> Metric {
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.names.iter().zip(labels.values).map(pair).collect())
}

fn histogram_for_library(histogram: &Histogram) -> prometheus::proto::Histogram {
    let bucket = |(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut made = prometheus::proto::Histogram::default();
    made.set_bucket(cumulated(histogram).map(bucket).collect());
    made.set_sample_count(histogram.count());
    made.set_sample_sum(histogram.sum);
    made
}

impl Family {
    pub(super) fn collect(&self, facts: &Facts<'_>) -> MetricFamily {
        let Out::Metrics(metrics) = self.fill(facts, Out::Metrics(Vec::new())) else {
            return MetricFamily::default();
        };
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(metrics);
        family
    }

    /// Appends the family to the exposition, or nothing where it has no samples. A registry would make six allocations
    /// for each line first: at 200 models 30 ms instead of 3.
    pub(super) fn write(&self, facts: &Facts<'_>, text: &mut String) {
        let before = text.len();
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        for part in [
            "# HELP ",
            self.name,
            " ",
            self.help,
            "\n# TYPE ",
            self.name,
            " ",
            kind,
            "\n",
        ] {
            text.push_str(part);
        }
        let head = text.len();
        let lines = Lines {
            name: self.name,
            text: std::mem::take(text),
        };
        if let Out::Text(lines) = self.fill(facts, Out::Text(lines)) {
            *text = lines.text;
        }
        if text.len() == head {
            text.truncate(before);
        }
    }

    fn fill(&self, facts: &Facts<'_>, out: Out) -> Out {
        let mut samples = Samples {
            kind: self.kind,
            labels: self.labels,
            out,
        };
        (self.fill)(facts, &mut samples);
        samples.out
    }
}

pub(super) fn servers(facts: &Facts<'_>, out: &mut Samples, value: impl Fn(&ServerView) -> f64) {
    for server in &facts.snapshot.servers {
        out.push(&[&server.name], value(server));
    }
}

pub(super) fn all_instances<'a>(
    facts: &Facts<'a>,
) -> impl Iterator<Item = (&'a Arc<ModelView>, &'a Arc<InstanceView>)> {
    facts.snapshot.models.iter().flat_map(|model| {
        model
            .instances
            .iter()
            .map(move |instance| (model, instance))
    })
}

pub(super) fn instances(
    facts: &Facts<'_>,
    out: &mut Samples,
    value: impl Fn(&ModelView, &InstanceView) -> f64,
) {
    for (model, instance) in all_instances(facts) {
        out.push(&[&instance.server, &model.name], value(model, instance));
    }
}

pub(super) fn histograms(facts: &Facts<'_>, out: &mut Samples, of: impl Fn(&Totals) -> &Histogram) {
    for (model, instance) in all_instances(facts) {
        out.push_histogram(&[&instance.server, &model.name], of(&instance.totals));
    }
}

pub(super) fn failures(
    facts: &Facts<'_>,
    out: &mut Samples,
    of: impl Fn(&Totals) -> &[u64; FailureKind::ALL.len()],
) {
    for (model, instance) in all_instances(facts) {
        for (kind, count) in FailureKind::ALL.iter().zip(of(&instance.totals)) {
            out.push(
                &[&instance.server, &model.name, kind.as_str()],
                *count as f64,
            );
        }
    }
}

pub(super) fn bool_value(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

pub(super) fn timestamp(facts: &Facts<'_>, at: Option<Mono>) -> f64 {
    at.map_or(0.0, |at| seconds(facts.snapshot.date(at)))
}

pub(super) fn seconds(at: UnixMillis) -> f64 {
    at.0 as f64 / 1000.0
}
