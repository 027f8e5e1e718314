"""One model: its state, what it costs, what went wrong with it."""

from parts import (
    MODEL, NO_YES, RECORDED_MODEL, STATE_VALUES, YES_NO,
    bars, board, heatmap, lines, stat, state_number, steps, target, timeline,
)

UID = "model-preloader-model"
TITLE = "Model Preloader / Model"
WHO = "{{instance}} {{server}} {{model}}"


def now():
    name = {"names": True, "legend": WHO}
    return [
        [(24, 5, stat("State", "The state on each server, now.", state_number(MODEL), mappings=STATE_VALUES, **name))],
        [
            (4, 5, stat("Ready since", "How long it has been ready; a model that is not ready now is left out.", f"(time() - preloader_model_ready_timestamp_seconds{{{MODEL}}}) and preloader_model_ready{{{MODEL}}} == 1", "s", no_value="not ready", **name)),
            (4, 5, stat("Age of the evidence", "Time since it was last found as it shall be: by a poll, a ping or a health check.", f"(time() - preloader_model_last_check_timestamp_seconds{{{MODEL}}}) and preloader_model_last_check_timestamp_seconds{{{MODEL}}} > 0", "s", thresholds=steps((None, "green"), (30, "orange"), (300, "red")), no_value="never", **name)),
            (4, 5, stat("Next load takes", "Expected, learned from earlier loads.", f"preloader_model_expected_load_seconds{{{MODEL}}} > 0", "s", no_value="not known yet", **name)),
            (4, 5, stat("Attempts", "Attempts of the running or last preload; above 1: it did not work at once.", f"preloader_model_attempts{{{MODEL}}}", "short", thresholds=steps((None, "green"), (2, "orange")), **name)),
            (4, 5, stat("Next retry in", "Wait until the next attempt; empty when none is due.", f"(preloader_model_next_retry_timestamp_seconds{{{MODEL}}} - time()) > 0", "s", no_value="none is due", **name)),
            (4, 5, stat("Required", "Whether the gate waits for it.", f"preloader_model_required{{{MODEL}}}", mappings=YES_NO, **name)),
        ],
        [(24, 7, timeline("State over time", "The words are those of /api/status.", [target(state_number(MODEL), WHO)], STATE_VALUES))],
    ]


def residency():
    return [
        [(24, 8, timeline("Residency", "Ready: resident and warm. Resident: its runner is listed. Pinned: the runner carries the preloader's pin. Prompt warm: the warm-up prompt was in the cache when last measured.", [
            target(f"preloader_model_ready{{{MODEL}}}", f"ready {WHO}"),
            target(f"preloader_model_resident{{{MODEL}}}", f"resident {WHO}"),
            target(f"preloader_model_pinned{{{MODEL}}}", f"pinned {WHO}"),
            target(f"preloader_model_prompt_warm{{{MODEL}}}", f"prompt warm {WHO}"),
        ], YES_NO))],
        [
            (8, 7, lines("Memory", "What its runner takes, and the part of it on a GPU. Less on the GPU than in all: a part runs on the CPU.", [target(f"preloader_model_memory_bytes{{{MODEL}}}", WHO), target(f"preloader_model_vram_bytes{{{MODEL}}}", f"{WHO} on GPU")], "bytes")),
            (8, 7, lines("Context", "The runner's context in tokens. Other than declared is drift.", [target(f"preloader_model_context_length_tokens{{{MODEL}}}", WHO)], "short")),
            (8, 7, timeline("Drift", "Resident with other settings than declared, by kind.", [target(f"preloader_model_drift{{{MODEL}}}", f"{{{{kind}}}} {WHO}")], NO_YES)),
        ],
    ]


def times(word, metric, what):
    bucket = f"{metric}_bucket{{{MODEL}}}"
    return [
        (8, 8, bars(f"{word}: distribution", f"{what}, in the selected time: how many ended within each bound.", f"sum by (le) (increase({bucket}[$__range]))", "{{le}} s")),
        (8, 8, heatmap(f"{word}: over time", f"{what}. Darker: more of them.", f"sum by (le) (increase({bucket}[$__rate_interval]))")),
    ]


def history(word, metric):
    return (8, 8, lines(f"{word}: mean, and a week's", "The mean of the last hour and that of the week before; an alert fires above twice that. Needs the recording rules.", [
        target(f"model:{metric}:mean1h{{{RECORDED_MODEL}}}", "last hour {{server}} {{model}}"),
        target(f"model:{metric}:mean1h_avg7d{{{RECORDED_MODEL}}}", "a week {{server}} {{model}}"),
    ], "s", no_value="no loads, or no recording rules"))


def speed():
    return [
        [*times("Loads", "preloader_preload_duration_seconds", "How long successful loads took, without waiting behind others"), history("Loads", "preloader_preload_duration_seconds")],
        [*times("Warm-ups", "preloader_warmup_duration_seconds", "How long successful warm-ups took: what a first user would have waited for"), history("Warm-ups", "preloader_warmup_duration_seconds")],
    ]


def trouble():
    return [
        [
            (12, 8, lines("Attempts and retries", "Load attempts, and those after the first one of a preload.", [
                target(f"sum by (model) (increase(preloader_preload_attempts_total{{{MODEL}}}[$__rate_interval]))", "attempts {{model}}"),
                target(f"sum by (model) (increase(preloader_preload_retries_total{{{MODEL}}}[$__rate_interval]))", "retries {{model}}"),
            ], "short", bars=True)),
            (12, 8, lines("Failures by reason", "Failed load attempts and warm-ups.", [
                target(f"sum by (model, reason) (increase(preloader_preload_failures_total{{{MODEL}}}[$__rate_interval])) > 0", "load: {{reason}} {{model}}"),
                target(f"sum by (model, reason) (increase(preloader_warmup_failures_total{{{MODEL}}}[$__rate_interval])) > 0", "warm-up: {{reason}} {{model}}"),
            ], "short", stack=True, bars=True, no_value="none")),
        ],
        [
            (24, 8, lines("Losses by cause", "When it was ready and then was not. The runbook of RepeatedLosses has a line for each cause.", [target(f"sum by (model, cause) (increase(preloader_model_losses_total{{{MODEL}}}[$__rate_interval])) > 0", "{{cause}} {{model}}")], "short", stack=True, bars=True, no_value="none")),
        ],
    ]


def health():
    checks, failures = f"preloader_health_checks_total{{{MODEL}}}", f"preloader_health_check_failures_total{{{MODEL}}}"
    return [
        [
            *times("Health checks", "preloader_health_check_duration_seconds", "How long successful checks took; with a warm-up it is the time to a user's first token"),
            (8, 8, lines("Health checks: failed", "Share of the checks that failed, of the last hour. They run every 5 minutes.", [target(f"sum by (model) (increase({failures}[1h])) / sum by (model) (increase({checks}[1h]))", "{{model}}")], "percentunit")),
        ],
        [
            (12, 7, lines("Health checks", "Checks begun.", [target(f"sum by (model) (increase({checks}[$__rate_interval]))", "{{model}}")], "short", bars=True)),
            (12, 7, lines("Failed health checks by reason", "A runner that answers pings and cannot compute.", [target(f"sum by (model, reason) (increase({failures}[$__rate_interval])) > 0", "{{reason}} {{model}}")], "short", stack=True, bars=True, no_value="none")),
        ],
    ]


def dashboard():
    rows = [("Now", now()), ("Residency", residency()), ("How fast", speed()), ("What went wrong", trouble()), ("Health checks", health())]
    description = "One model, or several to compare: state, residency, load and warm-up times, losses, health checks. For Grafana 10.4 and later."
    return board(UID, TITLE, description, ("model-preloader-overview", "Overview"), rows)
