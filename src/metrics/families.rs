//! Every metric of the preloader in one table: name, kind, help, labels, and where its samples come from. Those of the
//! runners are in `runner_families`.

use super::family::{
    Family, Kind, all_instances, bool_value, failures, histograms, instances, seconds, servers,
    timestamp,
};
use crate::engine::snapshot::{Drift, LossCause, Reach, State};

const NONE: &[&str] = &[];
const SERVER: &[&str] = &["server"];
const MODEL: &[&str] = &["server", "model"];

/// All metrics but those of the runners and of the process.
pub(super) const FAMILIES: [Family; 39] = [
    Family {
        name: "preloader_build_info",
        kind: Kind::Gauge,
        help: "The running build; always 1.",
        labels: &["version", "arch"],
        fill: |_, out| {
            out.push(&[env!("CARGO_PKG_VERSION"), std::env::consts::ARCH], 1.0);
        },
    },
    Family {
        name: "preloader_ready",
        kind: Kind::Gauge,
        help: "Whether the gate is open: 1 while the readiness policy holds.",
        labels: NONE,
        fill: |facts, out| out.push(&[], bool_value(facts.snapshot.gate.ready)),
    },
    Family {
        name: "preloader_ready_transitions_total",
        kind: Kind::Counter,
        help: "How often the gate opened (to=\"ready\") and closed (to=\"not_ready\").",
        labels: &["to"],
        fill: |facts, out| {
            out.push(&["ready"], facts.snapshot.gate.opened as f64);
            out.push(&["not_ready"], facts.snapshot.gate.closed as f64);
        },
    },
    Family {
        name: "preloader_server_up",
        kind: Kind::Gauge,
        help: "Whether the Ollama server answers its list of runners.",
        labels: SERVER,
        fill: |facts, out| servers(facts, out, |server| bool_value(server.reach == Reach::Up)),
    },
    Family {
        name: "preloader_server_info",
        kind: Kind::Gauge,
        help: "The Ollama server's version; always 1.",
        labels: &["server", "version"],
        fill: |facts, out| {
            for server in &facts.snapshot.servers {
                out.push(
                    &[&server.name, server.version.as_deref().unwrap_or("unknown")],
                    1.0,
                );
            }
        },
    },
    Family {
        name: "preloader_server_last_poll_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the Ollama server last answered its list of runners, as Unix time; 0 = never.",
        labels: SERVER,
        fill: |facts, out| servers(facts, out, |server| timestamp(facts, server.last_poll)),
    },
    Family {
        name: "preloader_loads_in_flight",
        kind: Kind::Gauge,
        help: "Load requests of the preloader that are open.",
        labels: SERVER,
        fill: |facts, out| servers(facts, out, |server| server.loads_in_flight as f64),
    },
    Family {
        name: "preloader_model_ready",
        kind: Kind::Gauge,
        help: "Whether the model is resident and warm on the server, on evidence.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                bool_value(instance.state == State::Ready)
            });
        },
    },
    Family {
        name: "preloader_model_required",
        kind: Kind::Gauge,
        help: "Whether the gate waits for the model.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |model, _| {
                bool_value(model.required && !model.excluded)
            });
        },
    },
    Family {
        name: "preloader_model_state",
        kind: Kind::Gauge,
        help: "The model's state on the server: 1 for the state it is in, 0 for all others.",
        labels: &["server", "model", "state"],
        fill: |facts, out| {
            for (model, instance) in all_instances(facts) {
                for state in State::ALL {
                    let value = bool_value(instance.state == state);
                    out.push(&[&instance.server, &model.name, state.as_str()], value);
                }
            }
        },
    },
    Family {
        name: "preloader_preload_duration_seconds",
        kind: Kind::Histogram,
        help: "How long successful loads took, without waiting behind other loads.",
        labels: MODEL,
        fill: |facts, out| histograms(facts, out, |totals| &totals.preload_seconds),
    },
    Family {
        name: "preloader_preload_attempts_total",
        kind: Kind::Counter,
        help: "Load attempts begun.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                instance.totals.preload_attempts as f64
            });
        },
    },
    Family {
        name: "preloader_preload_failures_total",
        kind: Kind::Counter,
        help: "Load attempts failed, by reason.",
        labels: &["server", "model", "reason"],
        fill: |facts, out| failures(facts, out, |totals| &totals.preload_failures),
    },
    Family {
        name: "preloader_preload_retries_total",
        kind: Kind::Counter,
        help: "Load attempts after the first one of a preload.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                instance.totals.preload_retries as f64
            });
        },
    },
    Family {
        name: "preloader_pulls_total",
        kind: Kind::Counter,
        help: "Pulls begun; one that fails counts as a failed load attempt with its reason.",
        labels: MODEL,
        fill: |facts, out| instances(facts, out, |_, instance| instance.totals.pulls as f64),
    },
    Family {
        name: "preloader_model_pulled_bytes",
        kind: Kind::Gauge,
        help: "Bytes there of the pull that runs; 0 = none runs.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                instance.pull().map_or(0.0, |pull| pull.completed as f64)
            });
        },
    },
    Family {
        name: "preloader_model_pull_size_bytes",
        kind: Kind::Gauge,
        help: "Bytes in all of the pull that runs, as far as they are known; 0 = none runs.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                instance
                    .pull()
                    .and_then(|pull| pull.total)
                    .map_or(0.0, |total| total as f64)
            });
        },
    },
    Family {
        name: "preloader_warmup_duration_seconds",
        kind: Kind::Histogram,
        help: "How long successful warm-ups (all conversations) took.",
        labels: MODEL,
        fill: |facts, out| histograms(facts, out, |totals| &totals.warmup_seconds),
    },
    Family {
        name: "preloader_warmup_failures_total",
        kind: Kind::Counter,
        help: "Warm-ups failed, by reason.",
        labels: &["server", "model", "reason"],
        fill: |facts, out| failures(facts, out, |totals| &totals.warmup_failures),
    },
    Family {
        name: "preloader_model_prompt_warm",
        kind: Kind::Gauge,
        help: "Whether the warm-up prompt was in the cache when it was last measured; absent without a warm-up.",
        labels: MODEL,
        fill: |facts, out| {
            for (model, instance) in all_instances(facts) {
                if let Some(warm) = instance.prompt_warm {
                    out.push(&[&instance.server, &model.name], bool_value(warm));
                }
            }
        },
    },
    Family {
        name: "preloader_health_checks_total",
        kind: Kind::Counter,
        help: "Health checks begun.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                instance.totals.health_checks as f64
            });
        },
    },
    Family {
        name: "preloader_health_check_failures_total",
        kind: Kind::Counter,
        help: "Health checks failed, by reason.",
        labels: &["server", "model", "reason"],
        fill: |facts, out| failures(facts, out, |totals| &totals.health_check_failures),
    },
    Family {
        name: "preloader_health_check_duration_seconds",
        kind: Kind::Histogram,
        help: "How long successful health checks took. They run on a timer, not when scraped.",
        labels: MODEL,
        fill: |facts, out| histograms(facts, out, |totals| &totals.health_check_seconds),
    },
    Family {
        name: "preloader_model_losses_total",
        kind: Kind::Counter,
        help: "How often a ready model was lost, by cause.",
        labels: &["server", "model", "cause"],
        fill: |facts, out| {
            for (model, instance) in all_instances(facts) {
                for (cause, count) in LossCause::ALL.iter().zip(instance.totals.losses) {
                    out.push(
                        &[&instance.server, &model.name, cause.as_str()],
                        count as f64,
                    );
                }
            }
        },
    },
    Family {
        name: "preloader_model_drift",
        kind: Kind::Gauge,
        help: "Whether the resident model differs from what is wanted, by kind.",
        labels: &["server", "model", "kind"],
        fill: |facts, out| {
            for (model, instance) in all_instances(facts) {
                for kind in Drift::ALL {
                    let value = bool_value(instance.drift.contains(&kind));
                    out.push(&[&instance.server, &model.name, kind.as_str()], value);
                }
            }
        },
    },
    Family {
        name: "preloader_model_attempts",
        kind: Kind::Gauge,
        help: "Attempts of the running or last preload.",
        labels: MODEL,
        fill: |facts, out| instances(facts, out, |_, instance| f64::from(instance.attempts)),
    },
    Family {
        name: "preloader_model_next_retry_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the next attempt is due, as Unix time; 0 = none is.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                timestamp(facts, instance.next_retry_at)
            });
        },
    },
    Family {
        name: "preloader_model_last_check_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the model was last found as it shall be, as Unix time; 0 = never.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                timestamp(facts, instance.last_checked)
            });
        },
    },
    Family {
        name: "preloader_model_ready_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the model last became ready, as Unix time; 0 = never.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                timestamp(facts, instance.ready_at)
            });
        },
    },
    Family {
        name: "preloader_model_expected_load_seconds",
        kind: Kind::Gauge,
        help: "How long the next load is expected to take, learned from earlier ones; 0 = not known.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                instance.expected_load.unwrap_or_default().as_secs_f64()
            });
        },
    },
    Family {
        name: "preloader_model_resident",
        kind: Kind::Gauge,
        help: "Whether the server lists a runner with the model's weights.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                bool_value(instance.residency.is_some())
            });
        },
    },
    Family {
        name: "preloader_model_pinned",
        kind: Kind::Gauge,
        help: "Whether the runner carries the preloader's pin.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                bool_value(instance.residency.is_some_and(|seen| seen.pinned))
            });
        },
    },
    Family {
        name: "preloader_model_memory_bytes",
        kind: Kind::Gauge,
        help: "Memory of the model's runner as Ollama reports it; 0 = not resident.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                instance.residency.map_or(0.0, |seen| seen.size as f64)
            });
        },
    },
    Family {
        name: "preloader_model_vram_bytes",
        kind: Kind::Gauge,
        help: "The part of the runner's memory that is on a GPU; 0 = none.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                instance.residency.map_or(0.0, |seen| seen.size_vram as f64)
            });
        },
    },
    Family {
        name: "preloader_model_context_length_tokens",
        kind: Kind::Gauge,
        help: "The runner's context in tokens; 0 = not resident.",
        labels: MODEL,
        fill: |facts, out| {
            instances(facts, out, |_, instance| {
                instance
                    .residency
                    .map_or(0.0, |seen| seen.context_length as f64)
            });
        },
    },
    Family {
        name: "preloader_models",
        kind: Kind::Gauge,
        help: "Declared models by state.",
        labels: &["state"],
        fill: |facts, out| {
            for (state, count) in State::ALL.iter().zip(facts.snapshot.count_by_state()) {
                out.push(&[state.as_str()], count as f64);
            }
        },
    },
    Family {
        name: "preloader_server_resident_models",
        kind: Kind::Gauge,
        help: "Runners that the server lists, declared or not.",
        labels: SERVER,
        fill: |facts, out| servers(facts, out, |server| server.resident as f64),
    },
    Family {
        name: "preloader_config_last_reload_successful",
        kind: Kind::Gauge,
        help: "Whether the configuration was taken over when it was last read.",
        labels: NONE,
        fill: |facts, out| out.push(&[], bool_value(facts.reload_successful)),
    },
    Family {
        name: "preloader_config_last_reload_success_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the configuration was last taken over, as Unix time.",
        labels: NONE,
        fill: |facts, out| out.push(&[], seconds(facts.reload_success_at)),
    },
];
