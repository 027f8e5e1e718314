"""Six hours of a scripted incident, as OpenMetrics text: what tools/check-dashboards shows to every panel.

Two sidecars. The first one sees everything go wrong once; the second one is well all the time. The families, their
labels and the words of their labels are read from tests/golden/metrics.txt, so a renamed metric is missed at once.
"""

import re
from collections import defaultdict

HOURS = 6
STEP = 30
MINUTE, HOUR = 60, 3600

BOUNDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 180, 300]
PER_MODEL = ("server", "model")
# What Ollama needs for each model, and the context that it is loaded with.
SIZES = {"qwen2.5-coder:3b": 3_400_000_000, "tinyllama:latest": 900_000_000, "embed:latest": 320_000_000, "big:latest": 9_000_000_000}
CONTEXT = 8192
REQUIRED = ["qwen2.5-coder:3b", "tinyllama:latest"]
CODER, TINY = REQUIRED
EMBED, BIG = "embed:latest", "big:latest"
SERVER = "ollama"


def golden_families(text):
    """name -> (type, label names, the words of each closed label) of an exposition."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    families = {name: (kind, [], defaultdict(list)) for name, kind in kinds.items()}
    for name, labels in re.findall(r"^([a-z_]+)\{(.*)\} ", text, re.MULTILINE):
        base = name if name in families else re.sub(r"_(bucket|sum|count)$", "", name)
        for label, word in re.findall(r'([a-z]+)="([^"]*)"', labels):
            if label == "le":
                continue
            if label not in families[base][1]:
                families[base][1].append(label)
            if word not in families[base][2][label]:
                families[base][2][label].append(word)
    # The golden model has no warm-up, and without one this gauge is absent.
    families["preloader_model_prompt_warm"] = ("gauge", ["server", "model"], defaultdict(list))
    return families


class Sidecar:
    """The series of one sidecar, as changes in time."""

    def __init__(self, families, instance, models):
        self.families, self.instance, self.models = families, instance, models
        self.changes = defaultdict(list)
        self.states = defaultdict(list)
        for name, (kind, labels, words) in families.items():
            if kind != "histogram" and name != "preloader_model_prompt_warm":
                for child in self.children(labels, words):
                    self.set(0, name, 0, **child)
        for model in models:
            for kind in ("preload", "warmup", "health_check"):
                self.histogram(0, f"preloader_{kind}_duration_seconds", model, None)
            self.set(0, "preloader_model_required", int(model in REQUIRED), model=model)
            self.state(0, model, "pending")
        self.set(0, "preloader_config_last_reload_successful", 1)
        self.set(0, "preloader_server_up", 1)
        self.up = [(0, 1)]

    def children(self, labels, words):
        """Every combination of labels that exists from the start."""
        if "version" in labels:
            values = {"version": "0.1.0", "arch": "x86_64"} if "arch" in labels else {"version": "0.33.0"}
            yield values
            return
        models = self.models if "model" in labels else [None]
        closed = next((label for label in labels if label not in PER_MODEL), None)
        for model in models:
            for word in words[closed] if closed else [None]:
                child = {"model": model} if model else {}
                yield child | ({closed: word} if closed else {})

    def key(self, name, labels):
        if "server" in self.families[name][1]:
            labels = {"server": SERVER, **labels}
        assert set(labels) - {"le"} == set(self.families[name][1]), (name, labels)
        return name, tuple(labels.items())

    def set(self, at, name, value, **labels):
        self.changes[self.key(name, labels)].append((at, value, False))

    def add(self, at, name, **labels):
        self.changes[self.key(name, labels)].append((at, 1, True))

    def histogram(self, at, name, model, seconds):
        """One observation, or the empty histogram."""
        labels = (("server", SERVER), ("model", model))
        for bound in [*BOUNDS, float("inf")]:
            inside = seconds is not None and seconds <= bound
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            self.changes[f"{name}_bucket", (*labels, ("le", le))].append((at, int(inside), True))
        self.changes[f"{name}_sum", labels].append((at, seconds or 0, True))
        self.changes[f"{name}_count", labels].append((at, int(seconds is not None), True))

    # === what happens ===

    def state(self, at, model, state):
        self.states[model].append((at, state))

    def load(self, at, model, takes, warmup=0.0, attempt=1):
        """A successful load and, where there are prompts, the warm-up; returns when the model is ready."""
        self.state(at, model, "loading")
        self.add(at, "preloader_preload_attempts_total", model=model)
        self.set(at, "preloader_model_attempts", attempt, model=model)
        self.set(at, "preloader_loads_in_flight", 1)
        loaded, ready = at + takes, at + takes + max(warmup, 1)
        self.set(loaded, "preloader_loads_in_flight", 0)
        self.histogram(loaded, "preloader_preload_duration_seconds", model, takes)
        self.set(loaded, "preloader_model_expected_load_seconds", takes, model=model)
        self.resident(loaded, model)
        self.state(loaded, model, "verifying")
        if warmup:
            self.histogram(ready, "preloader_warmup_duration_seconds", model, warmup)
            self.set(ready, "preloader_model_prompt_warm", 1, model=model)
        self.state(ready, model, "ready")
        self.set(ready, "preloader_model_ready_timestamp_seconds", ("date", ready), model=model)
        return ready

    def resident(self, at, model, context=CONTEXT, pinned=1):
        self.set(at, "preloader_model_resident", 1, model=model)
        self.set(at, "preloader_model_pinned", pinned, model=model)
        self.set(at, "preloader_model_memory_bytes", SIZES[model], model=model)
        self.set(at, "preloader_model_vram_bytes", SIZES[model] * 3 // 4, model=model)
        self.set(at, "preloader_model_context_length_tokens", context, model=model)

    def lose(self, at, model, cause, state="pending", gone=True):
        self.add(at, "preloader_model_losses_total", model=model, cause=cause)
        self.state(at, model, state)
        if any(key[0] == "preloader_model_prompt_warm" and ("model", model) in key[1] for key in self.changes):
            self.set(at, "preloader_model_prompt_warm", 0, model=model)
        if gone:
            for fact in ("resident", "pinned", "memory_bytes", "vram_bytes", "context_length_tokens"):
                self.set(at, f"preloader_model_{fact}", 0, model=model)

    def fail(self, at, model, reason, next_retry, attempt=1, state="retrying"):
        """A failed attempt."""
        self.add(at, "preloader_preload_attempts_total", model=model)
        self.add(at, "preloader_preload_failures_total", model=model, reason=reason)
        if attempt > 1:
            self.add(at, "preloader_preload_retries_total", model=model)
        self.set(at, "preloader_model_attempts", attempt, model=model)
        self.set(at, "preloader_model_next_retry_timestamp_seconds", ("date", next_retry), model=model)
        self.state(at, model, state)

    def health(self, at, model, takes, warm=None, failed=None):
        self.add(at, "preloader_health_checks_total", model=model)
        if failed:
            self.add(at, "preloader_health_check_failures_total", model=model, reason=failed)
        else:
            self.histogram(at, "preloader_health_check_duration_seconds", model, takes)
        if warm is not None:
            self.set(at, "preloader_model_prompt_warm", warm, model=model)

    def server(self, at, is_up):
        self.set(at, "preloader_server_up", is_up)
        self.up.append((at, is_up))

    # === what follows from it ===

    def derive(self, start):
        """Everything that can be computed from the states: gate, counts, one series per state, times of evidence."""
        now = {model: "pending" for model in self.models}
        gate = False
        words = self.families["preloader_model_state"][2]["state"]
        moments = sorted((at, model, state) for model, states in self.states.items() for at, state in states)
        for at, model, state in moments:
            now[model] = state
            for word in words:
                self.set(at, "preloader_model_state", int(word == state), model=model, state=word)
                self.set(at, "preloader_models", sum(each == word for each in now.values()), state=word)
            self.set(at, "preloader_model_ready", int(state == "ready"), model=model)
            is_open = all(now[model] == "ready" for model in REQUIRED)
            if is_open != gate:
                gate = is_open
                self.set(at, "preloader_ready", int(gate))
                self.add(at, "preloader_ready_transitions_total", to="ready" if gate else "not_ready")
        self.set(0, "preloader_build_info", 1, version="0.1.0", arch="x86_64")
        self.set(0, "preloader_server_info", 1, version="0.33.0")
        self.set(0, "preloader_config_last_reload_success_timestamp_seconds", ("date", 0))
        for at in range(0, HOURS * HOUR + 1, STEP):
            is_up = [value for since, value in self.up if since <= at][-1]
            if is_up:
                self.set(at, "preloader_server_last_poll_timestamp_seconds", ("date", at - 1))
            resident = 0
            for model in self.models:
                state = [state for since, state in sorted(self.states[model]) if since <= at][-1]
                resident += state in ("ready", "verifying", "unresponsive")
                if is_up and state == "ready":
                    self.set(at, "preloader_model_last_check_timestamp_seconds", ("date", at - 1), model=model)
            self.set(at, "preloader_server_resident_models", resident)

    def samples(self, start):
        """series -> values at each step."""
        self.derive(start)
        for (name, labels), changes in self.changes.items():
            changes.sort(key=lambda change: change[0])
            value, place, first = 0, 0, changes[0][0]
            row = []
            for at in range(0, HOURS * HOUR + 1, STEP):
                while place < len(changes) and changes[place][0] <= at:
                    _, new, is_added = changes[place]
                    new = start + new[1] if isinstance(new, tuple) else new
                    value = value + new if is_added else new
                    place += 1
                if at >= first:
                    row.append((start + at, value))
            yield name, labels, row


def process(families, start):
    """The process's own metrics: not in the golden file, because their values are another each time."""
    for at in range(0, HOURS * HOUR + 1, STEP):
        yield "process_cpu_seconds_total", "counter", at, at * 0.004
        yield "process_resident_memory_bytes", "gauge", at, 9_000_000 + at * 20
        yield "process_virtual_memory_bytes", "gauge", at, 60_000_000
        yield "process_start_time_seconds", "gauge", at, start - 1
        yield "process_open_fds", "gauge", at, 24
        yield "process_max_fds", "gauge", at, 1_048_576
        yield "process_threads", "gauge", at, 3
        yield "process_context_switches_total", "counter", at, at * 12


def bad_day(families):
    """Everything once."""
    a = Sidecar(families, "10.0.0.7:11490", [CODER, TINY, EMBED, BIG])
    coder_ready = a.load(5, CODER, 12.4, warmup=8.9)
    a.load(40, TINY, 1.9, warmup=2.2)
    a.load(60, EMBED, 0.8)
    # A person's prompts are too long for the first try.
    a.add(20, "preloader_warmup_failures_total", model=TINY, reason="timeout")
    assert coder_ready < 40

    # Minute 30: a client's keep_alive lets it expire.
    a.set(28 * MINUTE, "preloader_model_pinned", 0, model=TINY)
    a.set(28 * MINUTE, "preloader_model_drift", 1, model=TINY, kind="pin")
    a.lose(33 * MINUTE, TINY, "unpinned_by_client")
    a.set(33 * MINUTE, "preloader_model_drift", 0, model=TINY, kind="pin")
    a.load(33 * MINUTE + 2, TINY, 1.8, warmup=2.1)

    # Hour 1: Ollama restarts and is away for two and a half minutes.
    a.server(HOUR, 0)
    for model in (CODER, TINY, EMBED):
        a.state(HOUR, model, "unknown")
    a.server(HOUR + 150, 1)
    for model in (CODER, TINY, EMBED):
        a.lose(HOUR + 150, model, "server_restart")
    a.load(HOUR + 152, CODER, 13.1, warmup=9.0)
    a.load(HOUR + 190, TINY, 2.0, warmup=2.1)
    a.load(HOUR + 210, EMBED, 0.9)

    # Hour 1:40: another client wants another context, for 25 minutes.
    at = 100 * MINUTE
    a.lose(at, CODER, "options_changed", state="verifying", gone=False)
    a.resident(at, CODER, context=2048, pinned=0)
    a.set(at, "preloader_model_drift", 1, model=CODER, kind="context")
    a.state(at + 20, CODER, "ready")
    a.set(at + 20, "preloader_model_prompt_warm", 1, model=CODER)
    a.lose(at + 25 * MINUTE, CODER, "unloaded")
    a.set(at + 25 * MINUTE, "preloader_model_drift", 0, model=CODER, kind="context")
    a.load(at + 25 * MINUTE + 2, CODER, 12.2, warmup=8.8)

    # Hour 3: somebody deletes a best-effort model.
    a.lose(3 * HOUR, EMBED, "model_deleted")
    a.fail(3 * HOUR + 1, EMBED, "timeout", 3 * HOUR + 3)
    a.fail(3 * HOUR + 60, EMBED, "timeout", 3 * HOUR + 64, attempt=2)
    for n in range(3, 3 + 35):
        at = 3 * HOUR + (n - 2) * 5 * MINUTE
        a.fail(at, EMBED, "model_not_found", at + 5 * MINUTE, attempt=4, state="failed")

    # Hour 3:30: a runner hangs.
    at = 210 * MINUTE
    a.health(at, TINY, 0, failed="timeout")
    a.lose(at, TINY, "runner_hung", state="unresponsive", gone=False)
    a.health(at + 25, TINY, 0, failed="runner_hung")
    a.load(at + 40, TINY, 2.0, warmup=2.2)

    # Hour 4: one more model than fits is asked for; the file that asks for it has a typing error at first.
    at = 4 * HOUR
    a.set(at, "preloader_config_last_reload_successful", 0)
    a.set(at + 10 * MINUTE, "preloader_config_last_reload_successful", 1)
    a.set(at + 10 * MINUTE, "preloader_config_last_reload_success_timestamp_seconds", ("date", at + 10 * MINUTE))
    at += 10 * MINUTE
    for _ in range(2):
        a.lose(at + 30, CODER, "memory_pressure")
        a.load(at, BIG, 30.0, warmup=14.0)
        a.load(at + 60, CODER, 41.0, warmup=31.0)
        a.lose(at + 100, BIG, "memory_pressure")
        at += 4 * MINUTE
    a.state(at, BIG, "quarantined")

    # Every 5 minutes a health check; from 2:20 to 3:00 other prompts push the warm one out.
    for at in range(5 * MINUTE, HOURS * HOUR, 5 * MINUTE):
        cold = 140 * MINUTE <= at < 180 * MINUTE
        if not HOUR <= at < HOUR + 240 and not 250 * MINUTE <= at < 260 * MINUTE:
            a.health(at, CODER, 8.7 if cold else 0.12, warm=int(not cold))
        if not HOUR <= at < HOUR + 240 and at != 210 * MINUTE:
            a.health(at, TINY, 0.07, warm=1)
    return a


def good_day(families):
    """All is well."""
    b = Sidecar(families, "10.0.0.8:11490", [CODER, TINY])
    b.load(5, CODER, 11.8, warmup=8.6)
    b.load(30, TINY, 1.7, warmup=2.0)
    for at in range(5 * MINUTE, HOURS * HOUR, 5 * MINUTE):
        b.health(at, CODER, 0.11, warm=1)
        b.health(at, TINY, 0.06, warm=1)
    return b


def openmetrics(golden, start):
    """The incident as text that `promtool tsdb create-blocks-from openmetrics` takes; `start` is Unix time."""
    families = golden_families(golden)
    rows, kinds = defaultdict(list), {name: kind for name, (kind, _, _) in families.items()}
    for sidecar in (bad_day(families), good_day(families)):
        target = (("job", "model-preloader"), ("namespace", "llm"), ("instance", sidecar.instance))
        for name, labels, row in sidecar.samples(start):
            base = name if name in kinds else re.sub(r"_(bucket|sum|count)$", "", name)
            rows[base].append((name, (*target, *labels), row))
        own = defaultdict(list)
        for name, kind, at, value in process(families, start):
            kinds[name] = kind
            own[name].append((start + at, value))
        own["up"] = [(start + at, 1) for at in range(0, HOURS * HOUR + 1, STEP)]
        kinds["up"] = "gauge"
        for name, row in own.items():
            rows[name].append((name, target, row))
    lines = []
    for base in sorted(rows):
        lines.append(f"# TYPE {base.removesuffix('_total')} {kinds[base]}")
        for name, labels, row in rows[base]:
            head = f"{name}{{{','.join(f'{label}={chr(34)}{value}{chr(34)}' for label, value in labels)}}}"
            lines += [f"{head} {value:.10g} {at}" for at, value in row]
    return "\n".join([*lines, "# EOF"]) + "\n"
