#!/usr/bin/env python3
"""Runs the preloader against a real Ollama, fault by fault, and writes what happened into docs/real-ollama-results.md.

    tools/real-ollama/run.sh                 all scenarios, as CI does (installs and builds what is missing)
    scenarios.py --prefix DIR --binary FILE [--write] [NAME…]

Black box: the real server, real small models, the real binary; faults come from signals to the runner processes that
this program started, and from requests as other clients send them. Everything listens on 127.0.0.1 and ends by itself.
Each scenario states its bound; one that misses it fails the run.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "real-ollama-results.md"
TREES = ("src/engine", "src/driver", "src/ollama")
# 1 400 tokens with SmolLM2: an agent's usual system prompt.
SYSTEM = "You are a careful assistant of a software team. " + " ".join(
    f"Rule {n}: when a user asks about topic {n}, answer shortly, name the file, and never guess." for n in range(1, 62)
)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def http(method, url, body=None, timeout=30.0):
    """Status and JSON (or text) of one request; (None, reason) when there was no answer."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            status, text = response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    except (OSError, TimeoutError) as error:
        return None, str(error)
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


class Ollama:
    """A real server on a port of its own, with a copy of the model store."""

    def __init__(self, prefix, folder, **env):
        self.prefix, self.folder, self.env = prefix, pathlib.Path(folder), env
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None
        self.store = self.folder / "models"
        if not self.store.exists():
            # Hard links: the weights are never written to, and a model can be deleted in the copy.
            shutil.copytree(prefix / "models", self.store, copy_function=os.link)

    def start(self):
        environment = {
            **os.environ,
            "OLLAMA_HOST": f"127.0.0.1:{self.port}",
            "OLLAMA_MODELS": str(self.store),
            "HOME": str(self.folder),
            **self.env,
        }
        log = open(self.folder / "ollama.log", "ab")
        self.process = subprocess.Popen(
            [str(self.prefix / "bin" / "ollama"), "serve"], env=environment, stdout=log, stderr=log
        )
        wait(lambda: http("GET", f"{self.url}/api/version", timeout=1)[0] == 200, 30, "the server answers")
        return self

    def runners(self):
        """Process ids of the runners, oldest first."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, IndexError):
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(stat[1]) == self.process.pid and stat[0] != "Z":
                    found.append(int(entry.name))
        return sorted(found)

    def runner_of(self, blob_name):
        """The runner whose command line names these weights."""
        for pid in self.runners():
            with contextlib.suppress(OSError):
                if blob_name in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
                    return pid
        raise AssertionError(f"no runner of {blob_name}")

    def blob(self, model):
        show = http("POST", f"{self.url}/api/show", {"model": model})[1]
        line = next(line for line in show["modelfile"].splitlines() if line.startswith("FROM "))
        return line.rsplit("/", 1)[-1]

    def ps(self):
        return {entry["name"]: entry for entry in http("GET", f"{self.url}/api/ps")[1]["models"]}

    def generate(self, **body):
        return http("POST", f"{self.url}/api/generate", {"stream": False, **body}, timeout=120)

    def chat(self, model, system, user):
        body = {
            "model": model,
            "stream": False,
            "options": {"num_predict": 1},
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        }
        begun = time.monotonic()
        status, answer = http("POST", f"{self.url}/api/chat", body, timeout=120)
        assert status == 200, answer
        return time.monotonic() - begun

    def stop(self, sig=signal.SIGTERM):
        if self.process is None:
            return
        children = self.runners()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGCONT)
            self.process.send_signal(sig)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in children:  # a SIGKILL of the server leaves its runners behind
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process = None


class Preloader:
    """The binary under test beside one server."""

    def __init__(self, binary, folder, url, config):
        self.folder = pathlib.Path(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        path = self.folder / "preloader.json"
        config = {"servers": [{"name": "ollama", "url": url}], "http": {"listen": f"127.0.0.1:{self.port}"}, **config}
        path.write_text(json.dumps(config))
        log = open(self.folder / "preloader.log", "ab")
        environment = {"PATH": os.environ["PATH"]}
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [str(binary), "run", "--config", str(path)], env=environment, stdout=log, stderr=log
        )
        wait(lambda: http("GET", f"{self.url}/-/healthy", timeout=1)[0] == 200, 10, "the preloader answers")

    def ready(self):
        return http("GET", f"{self.url}/-/ready", timeout=2)[0] == 200

    def reasons(self):
        return [reason for reason in http("GET", f"{self.url}/-/ready", timeout=2)[1]["reasons"]]

    def models(self):
        return http("GET", f"{self.url}/api/models/status", timeout=2)[1]

    def model(self, name):
        return self.models()[name]

    def state(self, name):
        return self.model(name)["status"]

    def cause(self, name):
        return self.model(name).get("lastLoss", {}).get("cause")

    def wait_ready(self, limit):
        return wait(self.ready, limit, "the gate opens")

    def wait_closed(self, limit):
        return wait(lambda: not self.ready(), limit, "the gate closes")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(15)
        return self.process.returncode


def wait(condition, limit, what):
    """Seconds until the condition holds; fails after `limit` seconds. The limit finds defects, it tunes nothing."""
    begun = time.monotonic()
    while True:
        if condition():
            return time.monotonic() - begun
        if time.monotonic() - begun > limit:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.02)


def models(*names, **more):
    return [{"model": name, "maxRetries": 3, "retryDelayMs": 500, **more} for name in names]


class Bench:
    """What one scenario has at hand; ends all it started."""

    def __init__(self, prefix, binary, folder):
        self.prefix, self.binary, self.folder, self.started = prefix, binary, folder, []

    def ollama(self, start=True, **env):
        server = Ollama(self.prefix, self.folder, **env)
        self.started.append(server)
        return server.start() if start else server

    def preloader(self, server, wanted, **config):
        preloader = Preloader(self.binary, self.folder, server.url, {"models": wanted, **config})
        self.started.append(preloader)
        return preloader

    def close(self):
        for thing in reversed(self.started):
            thing.stop()


SCENARIOS = {}


def scenario(title):
    def register(function):
        SCENARIOS[function.__name__] = (title, function)
        return function

    return register


@scenario("two models are loaded, verified and kept")
def load(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a", "gemma"))
    took = preloader.wait_ready(60)
    listed = server.ps()
    assert all(entry["expires_at"].startswith("2312-") for entry in listed.values()), listed
    assert set(listed) == {"smol-a:latest", "gemma:latest"}
    assert preloader.stop() == 0
    return {"start → gate open": took}


@scenario("the gate closes first at shutdown, and no model is unloaded")
def shutdown(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a"))
    preloader.wait_ready(60)
    begun = time.monotonic()
    assert preloader.stop() == 0
    assert "smol-a:latest" in server.ps()
    return {"SIGTERM → ended": time.monotonic() - begun}


@scenario("a system prompt of 1 400 tokens is warm for the first client")
def warmup(bench):
    server = bench.ollama()
    conversation = {"system": SYSTEM}
    cold_server = bench.preloader(server, models("smol-a", verify="token"))
    cold_server.wait_ready(60)
    cold = server.chat("smol-a", SYSTEM, "What is rule one?")
    cold_server.stop()
    server.stop()
    server.start()
    preloader = bench.preloader(server, models("smol-a", warmup=[conversation]))
    took = preloader.wait_ready(120)
    # No two questions begin alike: what a question shares with the one before is no merit of the warm-up.
    first = server.chat("smol-a", SYSTEM, "What is rule two about?")
    questions = ("Name the third rule, please.", "Shall I answer shortly or not?", "How many rules are there now?")
    others = sorted(server.chat("smol-a", SYSTEM, question) for question in questions)
    second = others[1]
    assert first <= 1.2 * second + 0.02, f"first {first:.3f} s, later {second:.3f} s"
    return {"cold first chat": cold, "start → warm": took, "first chat": first, "later chats (median)": second}


@scenario("four clients at once find all four slots warm")
def slots(bench):
    server = bench.ollama(OLLAMA_NUM_PARALLEL="4")
    wanted = models("smol-a", warmup={"parallel": 4, "conversations": [{"system": SYSTEM}]})
    preloader = bench.preloader(server, wanted)
    took = preloader.wait_ready(240)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.chat, "smol-a", SYSTEM, f"What is rule {n}?") for n in range(4)]
        times = [future.result() for future in asked]
    assert max(times) < took / 5, f"slowest of four: {max(times):.2f} s; computing their prompts took {took:.2f} s"
    return {"start → warm": took, "slowest of four first chats": max(times)}


@scenario("a runner killed while idle")
def crash(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a", warmup=[{"system": "Be short."}]))
    preloader.wait_ready(60)
    time.sleep(2)  # not right after a ping, so that the time to the verdict is not flattered
    os.kill(server.runner_of(server.blob("smol-a")), signal.SIGKILL)
    lost = preloader.wait_closed(11)
    back = preloader.wait_ready(20)
    assert preloader.cause("smol-a:latest") == "runner_crashed", preloader.model("smol-a:latest")
    wait(lambda: server.ps()["smol-a:latest"]["expires_at"].startswith("2312-"), 15, "the pin is set again")
    return {"kill → gate closed": lost, "closed → warm again": back}


@scenario("a frozen runner")
def hang(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a", "smol-b"))
    preloader.wait_ready(60)
    os.kill(server.runner_of(server.blob("smol-a")), signal.SIGSTOP)
    lost = preloader.wait_closed(12)
    back = preloader.wait_ready(60)
    assert preloader.cause("smol-a:latest") == "runner_hung", preloader.model("smol-a:latest")
    assert preloader.cause("smol-b:latest") is None, preloader.model("smol-b:latest")
    return {"freeze → gate closed": lost, "closed → ready again": back}


@scenario("a restart of the server")
def restart(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a", "smol-b"))
    preloader.wait_ready(60)
    server.stop()
    lost = preloader.wait_closed(3.5)
    server.start()
    back = preloader.wait_ready(30)
    assert preloader.cause("smol-a:latest") == "server_restart", preloader.model("smol-a:latest")
    assert preloader.model("smol-a:latest")["attempts"] == 1
    return {"stop → gate closed": lost, "up → ready again": back}


@scenario("Ollama is started after the preloader")
def late_server(bench):
    server = bench.ollama(start=False)
    preloader = bench.preloader(server, models("smol-a"))
    time.sleep(3)
    entry = preloader.model("smol-a:latest")
    assert entry["status"] == "pending" and entry["lastError"]["kind"] == "unreachable", entry
    server.start()
    took = preloader.wait_ready(30)
    assert preloader.model("smol-a:latest")["attempts"] == 1, "waiting is no attempt"
    return {"up → ready": took}


@scenario("a model that does not exist, and appears later")
def missing(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a", "later"))
    wait(lambda: preloader.state("smol-a:latest") == "ready", 60, "the other model is ready")
    entry = preloader.model("later:latest")
    assert entry["status"] == "failed" and entry["lastError"]["kind"] == "model_not_found", entry
    assert "ollama pull later" in entry["lastError"]["hint"], entry
    assert not preloader.ready()
    http("POST", f"{server.url}/api/copy", {"source": "smol-b", "destination": "later"})
    took = preloader.wait_ready(20)
    return {"created → ready": took}


@scenario("a model is unloaded by another client")
def unload(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a"))
    preloader.wait_ready(60)
    server.generate(model="smol-a", keep_alive=0)
    lost = preloader.wait_closed(3.5)
    back = preloader.wait_ready(20)
    return {"unload → gate closed": lost, "closed → ready again": back}


@scenario("another client's model takes the place, is idle, and is pushed out again")
def eviction(bench):
    server = bench.ollama(OLLAMA_MAX_LOADED_MODELS="1")
    preloader = bench.preloader(server, models("smol-a"), residency={"reclaimAfter": "5s"})
    preloader.wait_ready(60)
    server.generate(model="gemma", prompt="Hi", options={"num_predict": 1})
    lost = preloader.wait_closed(4)
    back = preloader.wait_ready(30)
    # A model that loads is on no list. Where ours was queued before it appeared, no poll may ever have seen it: the cause
    # is then unknown, and says so.
    loss = preloader.model("smol-a:latest")["lastLoss"]
    seen = loss["cause"] == "memory_pressure" and "gemma" in loss["detail"]
    assert seen or (loss["cause"] == "unknown" and "needed its place" in loss["detail"]), loss
    return {"loaded → gate closed": lost, "closed → ready again": back}


@scenario("a client's keep_alive replaces the pin")
def shortened(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a"))
    preloader.wait_ready(60)
    server.generate(model="smol-a", prompt="Hi", keep_alive="5m", options={"num_predict": 1})
    took = wait(lambda: server.ps()["smol-a:latest"]["expires_at"].startswith("2312-"), 15, "the pin is set again")
    assert preloader.ready()
    assert preloader.cause("smol-a:latest") is None
    return {"request → pinned again": took}


@scenario("a client loads it with another context")
def options(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a"))
    preloader.wait_ready(60)
    server.generate(model="smol-a", prompt="Hi", options={"num_ctx": 2048, "num_predict": 1})
    wait(lambda: preloader.cause("smol-a:latest") == "options_changed", 5, "the reload is seen")
    back = preloader.wait_ready(10)
    time.sleep(8)  # more than one ping later it must still be the client's
    assert server.ps()["smol-a:latest"]["context_length"] == 2048, "a request of ours loaded it back"
    assert "context" in preloader.model("smol-a:latest")["drift"], preloader.model("smol-a:latest")
    return {"seen → ready with the client's context": back}


@scenario("a generating model, another load waiting: nothing of ours stops Ollama")
def no_wedge(bench):
    server = bench.ollama(OLLAMA_MAX_LOADED_MODELS="1")
    preloader = bench.preloader(server, models("smol-a"), residency={"reclaimAfter": "5s"})
    preloader.wait_ready(60)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        long = pool.submit(
            server.generate, model="smol-a", prompt="Tell me a long story", options={"num_predict": 400, "seed": 1}
        )
        time.sleep(1)
        begun = time.monotonic()
        other = pool.submit(server.generate, model="gemma", prompt="Hi", options={"num_predict": 1})
        long.result()
        ended = time.monotonic()
        assert other.result()[0] == 200
    waited = time.monotonic() - ended
    assert waited < 12, f"the other client waited {waited:.1f} s after the generation"
    back = preloader.wait_ready(40)
    return {"generation": ended - begun, "its end → other client answered": waited, "→ ours ready again": back}


@scenario("a frozen server")
def hung_server(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a"))
    preloader.wait_ready(60)
    os.kill(server.process.pid, signal.SIGSTOP)
    lost = preloader.wait_closed(9)
    assert preloader.state("smol-a:latest") == "unknown"
    os.kill(server.process.pid, signal.SIGCONT)
    back = preloader.wait_ready(10)
    assert preloader.cause("smol-a:latest") is None
    return {"freeze → gate closed": lost, "thaw → ready": back}


def version(command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip().splitlines()[-1]


def tree_hashes():
    git = ["git", "-C", str(ROOT)]
    hashes = {
        tree: subprocess.run([*git, "rev-parse", f"HEAD:{tree}"], capture_output=True, text=True, check=True).stdout.strip()
        for tree in TREES
    }
    dirty = subprocess.run([*git, "status", "--porcelain", "--", *TREES], capture_output=True, text=True, check=True)
    return hashes, bool(dirty.stdout.strip())


def report(rows, prefix):
    hashes, dirty = tree_hashes()
    lines = [
        "# Results on a real Ollama",
        "",
        "Written by `tools/real-ollama/run.sh`; do not edit. Times are seconds, of one run on a machine with "
        f"{os.cpu_count()} cores and no GPU.",
        "",
        f"Ollama {version([str(prefix / 'bin' / 'ollama'), '--version']).split()[-1]}, SmolLM2-135M (`smol-a`, `smol-b`) "
        "and Gemma-3-270M (`gemma`).",
        "",
        "| tree | hash |",
        "| --- | --- |",
        *(f"| `{tree}` | `{value}` |" for tree, value in hashes.items()),
        "",
        "| scenario | result | times |",
        "| --- | --- | --- |",
        *(f"| {title} | {'ok' if ok else 'FAILED'} | {text} |" for title, ok, text in rows),
        "",
    ]
    if dirty:
        lines.insert(3, "\n**The tree had changes that were not committed.**")
    RESULTS.write_text("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--prefix", type=pathlib.Path, required=True)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--write", action="store_true", help="write docs/real-ollama-results.md")
    parser.add_argument("--keep", action="store_true", help="keep the folders of failed scenarios")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    rows, failed = [], 0
    for name, (title, function) in SCENARIOS.items():
        if arguments.names and name not in arguments.names:
            continue
        # Beside the cache, so that the models can be hard links.
        folder = tempfile.mkdtemp(prefix=f"run-{name}-", dir=arguments.prefix)
        bench = Bench(arguments.prefix, arguments.binary, pathlib.Path(folder))
        begun = time.monotonic()
        try:
            times = function(bench)
            ok, text = True, ", ".join(f"{what} {seconds:.2f}" for what, seconds in times.items())
        except (AssertionError, KeyError, TypeError, OSError, subprocess.TimeoutExpired) as error:
            ok, text = False, f"{type(error).__name__}: {error}"
            failed += 1
        finally:
            bench.close()
        print(f"{'ok    ' if ok else 'FAILED'} {name:12} {time.monotonic() - begun:6.1f} s  {text}", flush=True)
        if not ok:
            log = pathlib.Path(folder, "preloader.log")
            print("".join(f"    {line}\n" for line in log.read_text().splitlines()[-25:]) if log.exists() else "")
        if ok or not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
        rows.append((title, ok, text.replace("|", "\\|")))
    if arguments.write:
        report(rows, arguments.prefix)
    print(f"real Ollama: {len(rows) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
