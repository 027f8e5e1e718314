"""The overview: is everything warm; why not; what was lost and why."""

from parts import (
    GOOD_BAD, MODEL, RECORDED_JOB, SERVER, STATE_VALUES, TARGET, YES_NO, NO_YES,
    board, lines, stat, state_number, steps, table, target, timeline,
)

UID = "model-preloader-overview"
TITLE = "Model Preloader / Overview"
TO_MODEL = {
    "title": "This model",
    "url": "/d/model-preloader-model?var-model=${__data.fields.model}&var-server=${__data.fields.server}&${datasource:queryparam}&${job:queryparam}&${__url_time_range}",
    "targetBlank": False,
}
TO_RUNBOOK = {
    "title": "Runbook",
    "url": "https://github.com/model-preloader/model-preloader/blob/main/docs/runbooks/${__data.fields.alertname}.md",
    "targetBlank": True,
}
RATIO = steps((None, "red"), (0.99, "orange"), (1, "green"))
BUDGET = steps((None, "red"), (0, "orange"), (0.25, "green"))


def warm():
    return [
        [
            (4, 4, stat("Gates open", "Share of the preloaders whose readiness policy holds.", f"avg(preloader_ready{{{TARGET}}})", "percentunit", thresholds=RATIO, no_value="nothing scraped")),
            (4, 4, stat("Required models warm", "Share of the required models that are warm on at least one server, now.", f"avg(max without (server) (preloader_model_ready{{{SERVER}}} and preloader_model_required{{{SERVER}}} == 1))", "percentunit", thresholds=RATIO, no_value="none required")),
            (4, 4, stat("Warm, 30 days", "Share of the last 30 days that required models were warm. The objective is 99 %. Needs the recording rules of alerts/slo.rules.yaml.", f"1 - avg(job:preloader_cold:ratio30d{{{RECORDED_JOB}}})", "percentunit", thresholds=RATIO, decimals=3, no_value="no recording rules")),
            (4, 4, stat("Budget left", "What is left of the 1 % that may be cold within 30 days; below 0 the objective is missed.", f"1 - avg(job:preloader_cold:ratio30d{{{RECORDED_JOB}}}) / 0.01", "percentunit", thresholds=BUDGET, no_value="no recording rules")),
            (4, 4, stat("Servers up", "Share of the Ollama servers that answer their list of runners.", f"avg(preloader_server_up{{{SERVER}}})", "percentunit", thresholds=RATIO, no_value="nothing scraped")),
            (4, 4, stat("Losses", "Ready models lost in the selected time.", f"sum(increase(preloader_model_losses_total{{{MODEL}}}[$__range]))", "short", thresholds=steps((None, "green"), (0.5, "orange")), decimals=0, no_value="0")),
        ],
        [
            (12, 7, timeline("Gate", "Whether /-/ready answers 200.", [target(f"preloader_ready{{{TARGET}}}", "{{instance}}")], YES_NO, thresholds=GOOD_BAD)),
            (12, 7, timeline("Servers", "Whether each Ollama server answers its list of runners.", [target(f"preloader_server_up{{{SERVER}}}", "{{instance}} {{server}}")], YES_NO, thresholds=GOOD_BAD)),
        ],
        [(24, 10, timeline("Models", "The state of each model. The words are those of /api/status.", [target(state_number(MODEL), "{{instance}} {{server}} {{model}}")], STATE_VALUES))],
        [
            (12, 7, lines("Models by state", "How many declared models are in each state.", [target(f"sum by (state) (preloader_models{{{TARGET}}})", "{{state}}")], "short", stack=True)),
            (12, 7, lines("Cold, by window", "Share of the time that required models were cold, as the alerts see it: they fire where a short and a long window are high. Needs the recording rules.", [
                target(f"avg(job:preloader_cold:ratio5m{{{RECORDED_JOB}}})", "5 min"),
                target(f"avg(job:preloader_cold:ratio1h{{{RECORDED_JOB}}})", "1 h"),
                target(f"avg(job:preloader_cold:ratio6h{{{RECORDED_JOB}}})", "6 h"),
                target(f"avg(job:preloader_cold:ratio3d{{{RECORDED_JOB}}})", "3 d"),
            ], "percentunit", no_value="no recording rules")),
        ],
    ]


def why_not():
    alerts = f'ALERTS{{{RECORDED_JOB}, alertname=~"ModelPreloader.+"}}'
    return [
        [
            (12, 7, table("Alerts", "Alerts that fire or are about to. The link goes to the runbook.", f"sum by (alertname, alertstate, severity, instance, server, model) ({alerts})", ["alertname", "alertstate", "severity", "instance", "server", "model", "count"], "short", no_value="none", links=[TO_RUNBOOK])),
            (12, 7, table("Not ready now", "Models that are not ready, and their state. The link goes to the model.", f'preloader_model_state{{{MODEL}, state!="ready"}} == 1', ["instance", "server", "model", "state", "is it"], no_value="all ready", mappings=YES_NO, links=[TO_MODEL])),
        ],
        [
            (12, 8, lines("Failed loads by reason", "Load attempts that failed. The reason tells what to do: see /api/status for the hint.", [target(f"sum by (reason) (increase(preloader_preload_failures_total{{{MODEL}}}[$__rate_interval])) > 0", "{{reason}}")], "short", stack=True, bars=True, no_value="none")),
            (12, 8, lines("Failed warm-ups and health checks by reason", "A model that loads and does not compute, or whose prompts do not run.", [
                target(f"sum by (reason) (increase(preloader_warmup_failures_total{{{MODEL}}}[$__rate_interval])) > 0", "warm-up: {{reason}}"),
                target(f"sum by (reason) (increase(preloader_health_check_failures_total{{{MODEL}}}[$__rate_interval])) > 0", "health check: {{reason}}"),
            ], "short", stack=True, bars=True, no_value="none")),
        ],
        [
            (12, 7, timeline("Drift", "Resident with other settings than declared, by kind. `pin` comes and goes with clients' keep_alive.", [target(f"preloader_model_drift{{{MODEL}}} and on (job, instance, server, model, kind) max_over_time(preloader_model_drift{{{MODEL}}}[$__range]) > 0", "{{instance}} {{model}} {{kind}}")], NO_YES, no_value="none")),
            (12, 7, lines("Age of the last poll", "How old the newest list of runners is. It is polled every 2 s; above 10 s nothing is known any more.", [target(f"time() - preloader_server_last_poll_timestamp_seconds{{{SERVER}}}", "{{instance}} {{server}}")], "s")),
        ],
    ]


def lost():
    return [
        [
            (12, 9, lines("Losses by cause", "Models that were ready and are so no longer. The runbook of RepeatedLosses has a line for each cause.", [target(f"sum by (cause) (increase(preloader_model_losses_total{{{MODEL}}}[$__rate_interval])) > 0", "{{cause}}")], "short", stack=True, bars=True, no_value="none")),
            (12, 9, table("Losses by model and cause", "In the selected time. The link goes to the model.", f"sum by (server, model, cause) (increase(preloader_model_losses_total{{{MODEL}}}[$__range])) > 0", ["server", "model", "cause", "losses"], "short", decimals=0, no_value="none", links=[TO_MODEL])),
        ],
        [
            (12, 7, lines("Gate closings", "How often the gate closed. Each time the pod leaves its Services.", [target(f'sum by (instance) (increase(preloader_ready_transitions_total{{{TARGET}, to="not_ready"}}[$__rate_interval])) > 0', "{{instance}}")], "short", bars=True, no_value="none")),
            (12, 7, lines("What a loss costs", "How long the next load of each model is expected to take, learned from earlier ones.", [target(f"preloader_model_expected_load_seconds{{{MODEL}}} > 0", "{{instance}} {{model}}")], "s")),
        ],
    ]


def room():
    return [
        [
            (8, 7, lines("Memory of declared models", "Sum over all declared models of a server, as Ollama reports it.", [target(f"sum by (instance, server) (preloader_model_memory_bytes{{{MODEL}}})", "{{instance}} {{server}}"), target(f"sum by (instance, server) (preloader_model_vram_bytes{{{MODEL}}})", "{{instance}} {{server}} on GPU")], "bytes")),
            (8, 7, lines("Resident runners", "Runners that Ollama lists, declared or not. At OLLAMA_MAX_LOADED_MODELS each further one evicts one.", [target(f"preloader_server_resident_models{{{SERVER}}}", "{{instance}} {{server}}")], "short")),
            (8, 7, lines("Loads in flight", "Open loads of the preloader. Above 0 for minutes: a load hangs.", [target(f"preloader_loads_in_flight{{{SERVER}}}", "{{instance}} {{server}}")], "short")),
        ],
    ]


def itself():
    return [
        [
            (6, 6, lines("Memory", "Resident memory of the preloader.", [target(f"process_resident_memory_bytes{{{TARGET}}}", "{{instance}}")], "bytes")),
            (6, 6, lines("CPU", "CPU time that the preloader uses, in cores.", [target(f"rate(process_cpu_seconds_total{{{TARGET}}}[$__rate_interval])", "{{instance}}")], "short")),
            (6, 6, timeline("Configuration taken over", "Whether the file on disk is what runs.", [target(f"preloader_config_last_reload_successful{{{TARGET}}}", "{{instance}}")], YES_NO)),
            (6, 6, table("Versions", "Which build runs where, beside which Ollama.", f"preloader_server_info{{{SERVER}}} * on (job, instance) group_left (build) label_replace(preloader_build_info{{{TARGET}}}, \"build\", \"$1\", \"version\", \"(.*)\")", ["instance", "build", "server", "version", "is it"], mappings=YES_NO)),
        ],
        [
            (12, 6, lines("Age of the configuration", "Time since the running configuration was read.", [target(f"time() - preloader_config_last_reload_success_timestamp_seconds{{{TARGET}}}", "{{instance}}")], "s")),
            (12, 6, lines("Uptime", "Time since the start of the process.", [target(f"time() - process_start_time_seconds{{{TARGET}}}", "{{instance}}")], "s")),
        ],
    ]


def dashboard():
    rows = [("Is everything warm?", warm()), ("Why not?", why_not()), ("What was lost, and why?", lost()), ("Is there room?", room()), ("The preloader itself", itself())]
    description = "Is everything warm; why not; what was lost and why. For Grafana 10.4 and later."
    return board(UID, TITLE, description, ("model-preloader-model", "Model"), rows)
