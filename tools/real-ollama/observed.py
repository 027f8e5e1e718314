#!/usr/bin/env python3
"""Scenarios in which the preloader sees Ollama's runners themselves; run like scenarios.py, whose bench they use.

    tools/real-ollama/observed.py --prefix DIR --binary FILE [--keep] [NAME…]

What is sent meanwhile is read in Ollama's own log: a model whose runner is seen gets no request but the one that makes
Ollama repair it.
"""

import concurrent.futures
import os
import pathlib
import re
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import scenarios as base
from scenarios import http, models, wait

OBSERVED = {}
OFF = {"runners": "off"}
METRICS = {"LLAMA_ARG_ENDPOINT_METRICS": "1"}


def scenario(title):
    def register(function):
        OBSERVED[function.__name__] = (title, function)
        return function

    return register


def requests(server, *paths):
    """How often each of these paths was asked of Ollama, by its own log."""
    log = (server.folder / "ollama.log").read_text(errors="replace")
    lines = re.findall(r"\[GIN\].*?\"(/\S*)\"", log)
    return sum(1 for path in lines if path in paths)


def generates(server):
    return requests(server, "/api/generate", "/api/chat", "/api/embed")


def idle_lines(server):
    """Lines that a runner writes when it is asked for its slots or its work while it is idle."""
    return (server.folder / "ollama.log").read_text(errors="replace").count("all slots are idle")


def entry(preloader):
    return http("GET", f"{preloader.url}/api/status", timeout=2)[1]["servers"][0]


def metric(preloader, name, **labels):
    """The value of one series of /metrics."""
    text = http("GET", f"{preloader.url}/metrics", timeout=2)[1]
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    for line in text.splitlines():
        if re.match(rf"{name}[{{ ]", line) and all(each in line for each in wanted):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no {name} with {labels}")


def watched(preloader, *names):
    """Waits until the runners of these models are seen."""
    seen = lambda: all("runner" in preloader.model(name) for name in names)
    return wait(seen, 10, "the runners are seen")


@scenario("three idle models: no request for them, no line in a log")
def quiet(bench):
    server = bench.ollama(**METRICS)
    preloader = bench.preloader(server, models("smol-a", "smol-b", "gemma"))
    preloader.wait_ready(90)
    watched(preloader, "smol-a:latest", "smol-b:latest", "gemma:latest")
    time.sleep(3)
    before, lines = generates(server), idle_lines(server)
    time.sleep(20)
    assert generates(server) == before, "a seen runner was pinged"
    assert idle_lines(server) == lines, "an idle runner was asked for more than its health"
    status = entry(preloader)["runners"]
    assert status == {"observed": True, "there": 3, "loading": 0}, status
    assert preloader.ready()
    return {"requests for models in 20 s": 0.0}


@scenario("a runner killed while idle is found and repaired by one request")
def crash(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a", warmup=[{"system": "Be short."}]))
    preloader.wait_ready(60)
    watched(preloader, "smol-a:latest")
    worst, warm = 0.0, 0.0
    for pause in (2.0, 2.3, 2.6, 2.9):
        time.sleep(pause)
        before = generates(server)
        os.kill(server.runner_of(server.blob("smol-a")), signal.SIGKILL)
        worst = max(worst, preloader.wait_closed(3))
        warm = max(warm, preloader.wait_ready(20))
        assert preloader.cause("smol-a:latest") == "runner_crashed", preloader.model("smol-a:latest")
        pinned = lambda: server.ps()["smol-a:latest"]["expires_at"].startswith("2312-")
        wait(pinned, 15, "the pin is set again")
        # The one that repairs it, the warm-up, the pin.
        assert generates(server) - before == 3, generates(server) - before
    return {"kill → gate closed, worst of 4": worst, "closed → warm again, worst": warm}


@scenario("a frozen runner is found and repaired by one request")
def freeze(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a", "smol-b"))
    preloader.wait_ready(60)
    watched(preloader, "smol-a:latest", "smol-b:latest")
    time.sleep(2.4)
    before = generates(server)
    os.kill(server.runner_of(server.blob("smol-a")), signal.SIGSTOP)
    lost = preloader.wait_closed(3)
    back = preloader.wait_ready(60)
    assert preloader.cause("smol-a:latest") == "runner_hung", preloader.model("smol-a:latest")
    assert preloader.cause("smol-b:latest") is None, preloader.model("smol-b:latest")
    wait(lambda: server.ps()["smol-a:latest"]["expires_at"].startswith("2312-"), 15, "the pin is set again")
    # The one that repairs it, the probe, the pin.
    assert generates(server) - before == 3, generates(server) - before
    return {"freeze → gate closed": lost, "closed → ready again": back}


@scenario("a frozen runner that thaws by itself")
def thaw(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a"))
    preloader.wait_ready(60)
    watched(preloader, "smol-a:latest")
    runner = server.runner_of(server.blob("smol-a"))
    os.kill(runner, signal.SIGSTOP)
    lost = preloader.wait_closed(3)
    os.kill(runner, signal.SIGCONT)
    back = preloader.wait_ready(10)
    assert server.runner_of(server.blob("smol-a")) == runner, "nobody killed it"
    return {"freeze → gate closed": lost, "thaw → ready again": back}


@scenario("a client loads it with another context: seen, and not turned back")
def options(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a", warmup=[{"system": "Be short."}]))
    preloader.wait_ready(60)
    watched(preloader, "smol-a:latest")
    server.generate(model="smol-a", prompt="Hi", options={"num_ctx": 2048, "num_predict": 1})
    seen = wait(lambda: preloader.cause("smol-a:latest") is not None, 5, "the reload is seen")
    assert preloader.cause("smol-a:latest") == "options_changed", preloader.model("smol-a:latest")
    back = preloader.wait_ready(10)
    time.sleep(8)
    assert server.ps()["smol-a:latest"]["context_length"] == 2048, "a request of ours loaded it back"
    return {"answered → seen": seen, "seen → warm with the client's context": back}


@scenario("a client's slow reload in progress is waited for")
def slow_reload(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a"))
    preloader.wait_ready(60)
    watched(preloader, "smol-a:latest")
    old = server.runner_of(server.blob("smol-a"))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.generate, model="smol-a", prompt="Hi", options={"num_ctx": 2048, "num_predict": 1})
        wait(lambda: server.runners() not in ([], [old]), 10, "the new runner is there")
        new = server.runners()[-1]
        # Late enough to have its socket, early enough to be loading.
        listening = lambda: listens(new)
        wait(listening, 10, "it listens")
        os.kill(new, signal.SIGSTOP)
        time.sleep(6)
        os.kill(new, signal.SIGCONT)
        assert asked.result()[0] == 200
    back = preloader.wait_ready(20)
    time.sleep(3)
    assert server.ps()["smol-a:latest"]["context_length"] == 2048, "a request of ours loaded it back"
    return {"answered → ready with the client's context": back}


def listens(pid):
    """Whether a process has a listening socket."""
    own = set()
    try:
        for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(link)
            if target.startswith("socket:["):
                own.add(target[8:-1])
    except OSError:
        return False
    rows = (line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[3] == "0A" and row[9] in own for row in rows)


@scenario("a busy model: its slots and tokens are told, the pin waits until it is idle")
def busy(bench):
    server = bench.ollama(OLLAMA_NUM_PARALLEL="2", **METRICS)
    preloader = bench.preloader(server, models("smol-a"))
    preloader.wait_ready(60)
    watched(preloader, "smol-a:latest")
    labels = {"model": "smol-a:latest"}
    time.sleep(2.5)
    wait(lambda: metric(preloader, "preloader_runner_generated_tokens_total", **labels) >= 1, 5, "the probe is counted")
    counted = metric(preloader, "preloader_runner_generated_tokens_total", **labels)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        long = pool.submit(
            server.generate,
            model="smol-a",
            prompt="Tell me a long story",
            keep_alive="5m",
            options={"num_predict": 300, "seed": 1},
        )
        slots = lambda: metric(preloader, "preloader_runner_slots_busy", **labels) == 1
        wait(slots, 5, "a slot is busy")
        assert metric(preloader, "preloader_runner_slots", **labels) == 2
        before = generates(server)
        status, answer = long.result()
        assert status == 200, answer
        assert generates(server) == before + 1, "something was sent to the busy model"
    ended = time.monotonic()
    pinned = lambda: server.ps()["smol-a:latest"]["expires_at"].startswith("2312-")
    wait(pinned, 6, "the pin is set again")
    pin = time.monotonic() - ended
    total = lambda: metric(preloader, "preloader_runner_generated_tokens_total", **labels) - counted
    wait(lambda: total() >= answer["eval_count"] - 1, 5, "all its tokens are counted")
    assert abs(total() - answer["eval_count"]) <= 1, (total(), answer["eval_count"])
    time.sleep(3)  # the pin was a use as well
    lines = idle_lines(server)
    time.sleep(5)
    assert idle_lines(server) == lines, "an idle runner was asked again"
    return {"its end → pinned again": pin}


@scenario("tokens served warm are counted over two lives of a runner")
def tokens(bench):
    server = bench.ollama(**METRICS)
    preloader = bench.preloader(server, models("smol-a", warmup=[{"system": base.SYSTEM}]))
    preloader.wait_ready(120)
    watched(preloader, "smol-a:latest")
    labels = {"model": "smol-a:latest"}
    computed = lambda: metric(preloader, "preloader_runner_prompt_tokens_total", **labels)
    cached = lambda: metric(preloader, "preloader_runner_prompt_tokens_cached_total", **labels)
    wait(lambda: computed() > 1000, 5, "the warm-up is counted")
    first = computed()
    server.chat("smol-a", base.SYSTEM, "What is rule two?")
    wait(lambda: cached() > 1000, 5, "the warm prompt is counted")
    assert computed() < first + 200, (first, computed())
    before = (computed(), cached())
    os.kill(server.runner_of(server.blob("smol-a")), signal.SIGKILL)
    preloader.wait_closed(3)
    preloader.wait_ready(60)
    wait(lambda: computed() > before[0] + 1000, 5, "the second warm-up is counted too")
    assert cached() >= before[1], "a sum fell"
    share = preloader.model("smol-a:latest")["runner"]["warmShare"]
    return {"share of prompt tokens served warm": share}


@scenario("every slot is warmed without a setting")
def slots(bench):
    server = bench.ollama(OLLAMA_NUM_PARALLEL="4")
    preloader = bench.preloader(server, models("smol-a", warmup=[{"system": base.SYSTEM}]))
    took = preloader.wait_ready(240)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.chat, "smol-a", base.SYSTEM, f"What is rule {n}?") for n in range(4)]
        times = [future.result() for future in asked]
    assert max(times) < 2.5, f"slowest of four: {max(times):.2f} s"
    return {"start → warm": took, "slowest of four first chats": max(times)}


@scenario("the wedge: a load waits for ever, and the preloader ends that")
def wedge(bench):
    server = bench.ollama(OLLAMA_MAX_LOADED_MODELS="1")
    server.generate(model="smol-a", keep_alive=-1)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        story = {"num_predict": 300, "seed": 1}
        long = pool.submit(server.generate, model="smol-a", prompt="Tell me a long story", options=story)
        time.sleep(1)
        preloader = bench.preloader(server, models("smol-b"))
        wait(lambda: preloader.state("smol-b:latest") == "loading", 10, "our load waits")
        begun = time.monotonic()
        time.sleep(1)
        server.generate(model="smol-a", keep_alive=-1)  # what a careless client does
        long.result()
        generation = time.monotonic() - begun
    found = wait(lambda: metric(preloader, "preloader_server_wedges_total") == 1, 90, "the wedge is found")
    ready = preloader.wait_ready(15)
    waited = time.monotonic() - begun
    assert waited > 60, f"a wedge was found after {waited:.0f} s"
    assert "smol-b:latest" in server.ps()
    assert "wedged" not in entry(preloader)
    assert metric(preloader, "preloader_server_wedged") == 0
    log = (server.folder / "preloader.log").read_text()
    assert "loads nothing any more" in log
    return {
        "generation": generation,
        "its end → found": found,
        "found → our model ready": ready,
        "the load waited": waited,
    }


@scenario("the same, switched off: a load that waits for ever")
def wedge_off(bench):
    server = bench.ollama(OLLAMA_MAX_LOADED_MODELS="1")
    server.generate(model="smol-a", keep_alive=-1)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        story = {"num_predict": 300, "seed": 1}
        long = pool.submit(server.generate, model="smol-a", prompt="Tell me a long story", options=story)
        time.sleep(0.5)
        preloader = bench.preloader(server, models("smol-b"), **OFF)
        wait(lambda: preloader.state("smol-b:latest") == "loading", 10, "our load waits")
        time.sleep(0.5)
        server.generate(model="smol-a", keep_alive=-1)
        long.result()
    time.sleep(100)
    assert "smol-b:latest" not in server.ps(), "it was no wedge"
    server.generate(model="smol-a", keep_alive=0)
    back = preloader.wait_ready(15)
    return {"waited without an end": 100.0, "unloaded by hand → ready": back}


@scenario("a runner that takes 70 s before it answers is not taken for a wedge")
def slow_start(bench):
    server = bench.ollama(OLLAMA_MAX_LOADED_MODELS="2")
    server.generate(model="smol-a", keep_alive=-1)
    preloader = bench.preloader(server, models("smol-b"))
    wait(lambda: len(server.runners()) == 2, 10, "our runner is there")
    new = server.runners()[-1]
    os.kill(new, signal.SIGSTOP)
    time.sleep(70)
    assert metric(preloader, "preloader_server_wedges_total") == 0
    os.kill(new, signal.SIGCONT)
    back = preloader.wait_ready(20)
    assert "smol-a:latest" in server.ps(), "the idle model was unloaded"
    return {"thaw → ready": back}


@scenario("a client's short-lived model in use is not pushed out")
def usurper(bench):
    server = bench.ollama(OLLAMA_MAX_LOADED_MODELS="1")
    preloader = bench.preloader(server, models("smol-a"), residency={"reclaimAfter": "5s"})
    preloader.wait_ready(60)
    body = {"model": "gemma", "prompt": "Tell me a long story", "options": {"num_predict": 300, "seed": 1}}
    status, answer = server.generate(**body)
    assert status == 200 and answer["eval_count"] > 50, answer
    ended = time.monotonic()
    assert preloader.cause("smol-a:latest") == "memory_pressure", preloader.model("smol-a:latest")
    back = preloader.wait_ready(30)
    assert time.monotonic() - ended >= 4, "its place was taken while it had just been used"
    return {"its last answer → ours ready again": back}


@scenario("a server somewhere else says why its runners are not seen")
def elsewhere(bench):
    server = bench.ollama()
    preloader = bench.preloader(server, models("smol-a"), **OFF)
    preloader.wait_ready(60)
    status = entry(preloader)["runners"]
    assert not status["observed"] and status["reason"] == "observation is off", status
    return {}


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@scenario("what it costs, with three runners and without")
def cost(bench):
    server = bench.ollama()
    figures = {}
    for mode in ("off", "auto"):
        preloader = bench.preloader(server, models("smol-a", "smol-b", "gemma"), **({} if mode == "auto" else OFF))
        preloader.wait_ready(90)
        time.sleep(5)
        pid = preloader.process.pid
        begun, used = time.monotonic(), cpu(pid)
        time.sleep(60)
        millicores = (cpu(pid) - used) / (time.monotonic() - begun) * 1000
        figures[f"millicores, {mode}"] = millicores
        figures[f"MB, {mode}"] = memory(pid)
        preloader.stop()
    return figures



def main():
    base.SCENARIOS.clear()
    base.SCENARIOS.update(OBSERVED)
    if "--write" in sys.argv:
        sys.exit("observed.py writes no results; run.sh does")
    base.main()


if __name__ == "__main__":
    main()
