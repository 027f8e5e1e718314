//! The metrics of what is seen of Ollama's runners themselves: the second half of the table.

use super::family::{Facts, Family, Kind, Samples, bool_value, instances, servers};
use crate::engine::sight::Work;
use crate::engine::snapshot::RunnerView;

const SERVER: &[&str] = &["server"];
const MODEL: &[&str] = &["server", "model"];

/// Metrics of the runners.
pub(super) const FAMILIES: [Family; 11] = [
    Family {
        name: "preloader_server_runners_observed",
        kind: Kind::Gauge,
        help: "Whether the server's runners can be seen from here; 0 = models are pinged instead.",
        labels: SERVER,
        fill: |facts, out| servers(facts, out, |server| bool_value(server.runners.observed)),
    },
    Family {
        name: "preloader_server_wedged",
        kind: Kind::Gauge,
        help: "Whether the server loads nothing any more because it waits for an idle model.",
        labels: SERVER,
        fill: |facts, out| servers(facts, out, |server| bool_value(server.wedged.is_some())),
    },
    Family {
        name: "preloader_server_wedges_total",
        kind: Kind::Counter,
        help: "How often the server was found to load nothing any more.",
        labels: SERVER,
        fill: |facts, out| servers(facts, out, |server| server.wedges as f64),
    },
    Family {
        name: "preloader_runner_requests",
        kind: Kind::Gauge,
        help: "Requests that run on the model's runner or wait for one of its slots; 0 = idle or not seen.",
        labels: MODEL,
        fill: |facts, out| runners(facts, out, |runner| runner.clients),
    },
    Family {
        name: "preloader_runner_slots",
        kind: Kind::Gauge,
        help: "Requests that the model's runner can work on at the same time; 0 = not seen.",
        labels: MODEL,
        fill: |facts, out| runners(facts, out, |runner| runner.slots.unwrap_or(0)),
    },
    Family {
        name: "preloader_runner_slots_busy",
        kind: Kind::Gauge,
        help: "Slots of the model's runner that are at work.",
        labels: MODEL,
        fill: |facts, out| runners(facts, out, |runner| runner.slots_busy),
    },
    Family {
        name: "preloader_runner_prompt_tokens_total",
        kind: Kind::Counter,
        help: "Prompt tokens that the model's runners computed, without those from the cache.",
        labels: MODEL,
        fill: |facts, out| work(facts, out, |work| work.prompt_tokens),
    },
    Family {
        name: "preloader_runner_prompt_tokens_cached_total",
        kind: Kind::Counter,
        help: "Prompt tokens that the model's runners served from the cache.",
        labels: MODEL,
        fill: |facts, out| work(facts, out, |work| work.prompt_tokens_cached),
    },
    Family {
        name: "preloader_runner_generated_tokens_total",
        kind: Kind::Counter,
        help: "Tokens that the model's runners generated.",
        labels: MODEL,
        fill: |facts, out| work(facts, out, |work| work.generated_tokens),
    },
    Family {
        name: "preloader_runner_prompt_seconds_total",
        kind: Kind::Counter,
        help: "Seconds that the model's runners spent on computing prompts.",
        labels: MODEL,
        fill: |facts, out| work(facts, out, |work| work.prompt_seconds),
    },
    Family {
        name: "preloader_runner_generation_seconds_total",
        kind: Kind::Counter,
        help: "Seconds that the model's runners spent on generating.",
        labels: MODEL,
        fill: |facts, out| work(facts, out, |work| work.generation_seconds),
    },
];

fn runners(facts: &Facts<'_>, out: &mut Samples, of: impl Fn(&RunnerView) -> usize) {
    instances(facts, out, |_, instance| {
        instance
            .runner
            .as_ref()
            .map_or(0.0, |runner| of(runner) as f64)
    });
}

fn work(facts: &Facts<'_>, out: &mut Samples, of: impl Fn(&Work) -> f64) {
    instances(facts, out, |_, instance| of(&instance.totals.work));
}
