#!/usr/bin/env python3
"""The measurements of tools/bench, which builds the binary and finds the tools. Prints Markdown.

Each row has a goal, and says "missed" where it is not reached; the exit code is 0 either way.
"""

import argparse
import http.client
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from harness import Programs, free_port, get, get_json, wait_for
from programs import ollama_sim, preloader

# Two models, as the built-in configuration has.
TWO = ["qwen2.5-coder:3b", "tinyllama:latest"]
# Long enough for 30 polls and 10 pings of each model.
IDLE_SECONDS = 60
STARTS = 30
# wrk: connections, seconds; both servers in turn, so that a disturbance hits both.
WRK = ("-c4", "-d5s", "--latency")
ROUNDS = 3
# How wrk asks: its arguments, and whether it is kept on the last core. On two cores a wrk that may use both takes the
# server's time away, and the faster server then mostly waits for wrk. Prometheus asks for gzip.
WAYS = {
    "wrk on one core": (["-t1"], True),
    "wrk on all cores": (["-t2"], False),
    "one core, gzip": (["-t1", "-H", "Accept-Encoding: gzip"], True),
}
# The one that the goal is about.
JUDGED = "wrk on one core"
FLEETS = [2, 10, 50, 200]
# The simulated load of one model: short, so that our own time shows.
LOAD_MS = 10


def row(what, value, goal="", met=None):
    verdict = "" if met is None else "ok" if met else "**missed**"
    print(f"| {what} | {value} | {goal} | {verdict} |", flush=True)


def head(title, first="what"):
    print(f"\n## {title}\n\n| {first} | measured | goal | |\n| --- | --- | --- | --- |", flush=True)


# === what the kernel tells ===


def resident(pid):
    """(resident memory, its peak) in bytes."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return tuple(int(re.search(rf"{key}:\s+(\d+) kB", text).group(1)) * 1024 for key in ("VmRSS", "VmHWM"))


def cpu_seconds(pid):
    """CPU time of all threads, in nanoseconds' resolution."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def threads(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))


# === the measurements ===


class Pair:
    """A simulated Ollama and a preloader that keeps its models."""

    def __init__(self, programs, arguments, models, load_ms=LOAD_MS):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.programs = programs
        sim = free_port()
        ollama_sim(programs, arguments.binaries, sim, models, load_ms)
        self.begun = time.monotonic()
        self.process = preloader(programs, arguments.binaries, self.port, [f"http://127.0.0.1:{sim}"], models)

    def wait_ready(self, patience=600.0):
        self.programs.wait_for("the open gate", lambda: get(f"{self.url}/-/ready")[0] == 200, patience, every=0.01)
        return time.monotonic() - self.begun


def size(arguments):
    head("Size")
    binary = arguments.binaries / "model-preloader"
    linked = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False)
    static = "static" if "not a dynamic" in linked.stderr + linked.stdout or "statically" in linked.stdout else "dynamic"
    megabytes = binary.stat().st_size / 1e6
    row(f"stripped binary, {static}, {arguments.target}", f"{megabytes:.2f} MB", "≤ 6 MB", megabytes <= 6)


def start(arguments):
    head("Start")
    times = []
    for _ in range(STARTS):
        with Programs() as programs:
            port = free_port()
            begun = time.perf_counter()
            preloader(programs, arguments.binaries, port, ["http://127.0.0.1:9"], TWO)
            wait_for("the first answer", lambda port=port: answers(port), every=0.0002)
            times.append((time.perf_counter() - begun) * 1000)
    median = statistics.median(times)
    row(
        f"process started to first answered request (`/-/healthy`), median of {STARTS}",
        f"{median:.1f} ms (fastest {min(times):.1f}, slowest {max(times):.1f})",
        "≤ 8 ms",
        median <= 8,
    )


def answers(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/-/healthy")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def idle(arguments):
    head(f"Idle, two ready models, {IDLE_SECONDS} s, poll every 2 s")
    with Programs() as programs:
        pair = Pair(programs, arguments, TWO)
        pair.wait_ready()
        pid = pair.process.pid
        before, begun = cpu_seconds(pid), time.monotonic()
        # The measured thing is time itself: nothing is waited for.
        time.sleep(IDLE_SECONDS)
        used, passed = cpu_seconds(pid) - before, time.monotonic() - begun
        programs.check()
        now, peak = resident(pid)
        row("resident memory", f"{now / 1e6:.1f} MB (peak {peak / 1e6:.1f})", "≤ 5 MB", now <= 5e6)
        millicores = used / passed * 1000
        row("CPU", f"{millicores:.2f} millicores", "≤ 1 millicore", millicores <= 1)
        row("threads", threads(pid))


def scrape(arguments):
    head("`/metrics`, 4 connections, beside blackbox_exporter's own `/metrics`")
    with Programs() as programs:
        pair = Pair(programs, arguments, TWO)
        pair.wait_ready()
        other = free_port()
        module = programs.folder / "blackbox.yml"
        module.write_text("modules: {http_2xx: {prober: http}}\n")
        listen = f"--web.listen-address=127.0.0.1:{other}"
        blackbox = programs.start("blackbox", [arguments.blackbox, f"--config.file={module}", listen])
        urls = {"blackbox": f"http://127.0.0.1:{other}/metrics", "ours": f"{pair.url}/metrics"}
        pids = {"blackbox": blackbox.pid, "ours": pair.process.pid}
        programs.wait_for("blackbox_exporter", lambda: get(urls["blackbox"])[0] == 200)
        for way, how in WAYS.items():
            compare(arguments.wrk, way, how, urls, pids)
        now, peak = resident(pair.process.pid)
        row("our resident memory after it", f"{now / 1e6:.1f} MB (peak {peak / 1e6:.1f})")


def compare(wrk, way, how, urls, pids):
    """One way of asking both servers, in turn: the medians of some rounds."""
    seen = {name: [] for name in urls}
    for _ in range(ROUNDS):
        for name, url in urls.items():
            before = cpu_seconds(pids[name])
            requests, rate, tail = load(wrk, how, url)
            seen[name].append((rate, tail, (cpu_seconds(pids[name]) - before) / requests * 1e6))
    middle = {name: [statistics.median(column) for column in zip(*rounds)] for name, rounds in seen.items()}
    for name, title in (("blackbox", "blackbox_exporter"), ("ours", "Model Preloader")):
        lines = len(get(urls[name])[1].splitlines())
        rate, tail, cpu = middle[name]
        said = f"{rate:,.0f}/s".replace(",", " ") + f", p99 {tail:.2f} ms, CPU {cpu:.0f} µs each"
        row(f"{way}: {title}, {lines} lines", said)
    ratio = middle["ours"][0] / middle["blackbox"][0]
    said = f"{ratio:.1f} ×; CPU per request 1 : {middle['blackbox'][2] / middle['ours'][2]:.0f}"
    row(f"{way}: ratio", said, *(("≥ 15 ×", ratio >= 15) if way == JUDGED else ()))


def load(wrk, how, url):
    """(requests, requests per second, 99th percentile in ms) under wrk."""
    words, pinned = how
    cores = {max(os.sched_getaffinity(0))} if pinned else os.sched_getaffinity(0)
    text = subprocess.run(
        [wrk, *words, *WRK, url],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    ).stdout
    if re.search(r"Non-2xx|Socket errors", text):
        raise RuntimeError(f"wrk saw errors at {url}:\n{text}")
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    return requests, rate, float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def models(arguments):
    print(
        f"\n## 2 to 200 models\n\nA simulated load takes {LOAD_MS} ms. A scrape is the first one after a change, when the"
        " text is made anew.\n"
    )
    print("| models | all ready after | per model | resident memory | peak | scrape, median | scrape, slowest | lines | CPU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    misses = []
    for count in FLEETS:
        names = [f"model-{number:03}:latest" for number in range(count)]
        with Programs() as programs:
            pair = Pair(programs, arguments, names)
            ready = pair.wait_ready()
            times, lines = scrapes(pair)
            pid = pair.process.pid
            before, begun = cpu_seconds(pid), time.monotonic()
            time.sleep(20)
            millicores = (cpu_seconds(pid) - before) / (time.monotonic() - begun) * 1000
            programs.check()
            now, peak = resident(pid)
            median, slowest = statistics.median(times), max(times)
            print(
                f"| {count} | {ready:.2f} s | {ready / count * 1000:.0f} ms | {now / 1e6:.1f} MB | {peak / 1e6:.1f} MB"
                f" | {median:.1f} ms | {slowest:.1f} ms | {lines} | {millicores:.1f} millicores |",
                flush=True,
            )
            if now > 25e6:
                misses.append(f"{count} models take {now / 1e6:.1f} MB, the goal is ≤ 25 MB")
            if median > 20:
                misses.append(f"a scrape of {count} models takes {median:.1f} ms, the goal is ≤ 20 ms")
    print("\nGoals: ≤ 25 MB and ≤ 20 ms a scrape at 200 models: " + ("; ".join(misses) if misses else "reached."))


def scrapes(pair, count=15):
    """Milliseconds of scrapes that find the snapshot changed, and the lines of the text."""
    times, body = [], b""
    for _ in range(count):
        revision = seen_poll(pair)
        pair.programs.wait_for("another poll", lambda revision=revision: seen_poll(pair) != revision)
        begun = time.perf_counter()
        _, body = get(f"{pair.url}/metrics")
        times.append((time.perf_counter() - begun) * 1000)
    return times, len(body.splitlines())


def seen_poll(pair):
    """When Ollama last answered its poll, as our status says: it changes with every poll."""
    status = get_json(f"{pair.url}/api/status") or {}
    return [server.get("lastPoll") for server in status.get("servers", [])]


ALL = {"size": size, "start": start, "idle": idle, "scrape": scrape, "models": models}


def machine(arguments):
    def said(*argv):
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip().splitlines()[:1]

    cpu = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    blackbox = subprocess.run([arguments.blackbox, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"version (\S+)", blackbox.stdout + blackbox.stderr)
    print(
        f"{os.cpu_count()} × {cpu.group(1) if cpu else os.uname().machine}, Linux {os.uname().release}; "
        f"{' '.join(said('rustc', '--version'))}; blackbox_exporter {version.group(1) if version else '?'}; "
        f"commit {' '.join(said('git', 'rev-parse', '--short', 'HEAD'))}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--target", required=True, help="the target triple the binaries were built for")
    parser.add_argument("--wrk", required=True)
    parser.add_argument("--blackbox", required=True)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {' '.join(ALL)}")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(ALL)
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    machine(arguments)
    for name in arguments.names or ALL:
        ALL[name](arguments)


if __name__ == "__main__":
    sys.exit(main())
