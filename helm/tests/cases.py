"""What single values do. Each case is a function whose docstring is its name."""

import json
import re

import yaml

from chart import CHART, NEWEST, OPERATOR, ROOT, SLEEP, at, configuration, containers, merged, pod, workload

BESIDE = {"ollama": {"enabled": False, "url": "http://ollama:11434"}}
ALL = []


def case(function):
    ALL.append(function)
    return function


def same(actual, expected):
    assert actual == expected, f"{actual!r} instead of {expected!r}"


def env(container):
    return {e["name"]: e.get("value") for e in container.get("env", [])}


def scope(tools, values, **how):
    return yaml.safe_load(configuration(tools.render(values, **how)))["readiness"]["scope"]


@case
def native_by_version(tools):
    """sidecar.native=auto follows the version of Kubernetes"""
    for kube, native in (("1.28", False), ("1.29", True), (NEWEST, True)):
        documents = tools.render({}, kube=kube)
        same("preloader" in [c["name"] for c in pod(documents).get("initContainers", [])], native)
        same(containers(documents)["preloader"].get("restartPolicy"), "Always" if native else None)
    documents = tools.render(at("sidecar.native", False))
    same("initContainers" in pod(documents), False)
    same([c["name"] for c in pod(documents)["containers"]], ["ollama", "preloader", "pull"])


@case
def scopes(tools):
    """readiness.scope is startup with one pod, else continuous, and always what was given"""
    scaled = {"ollama": {"resources": {"requests": {"cpu": 1}}}}
    same(scope(tools, {}), "startup")
    same(scope(tools, {"replicaCount": 2}), "continuous")
    same(scope(tools, at("config.readiness.scope", "continuous")), "continuous")
    same(scope(tools, {"replicaCount": 2, **at("config.readiness.scope", "startup")}), "startup")
    same(scope(tools, merged(scaled, at("autoscaling", {"enabled": True, "minReplicas": 1}))), "startup")
    same(scope(tools, merged(scaled, at("autoscaling.enabled", True))), "continuous")
    same(scope(tools, BESIDE), "continuous")


@case
def other_readiness_keys_stay(tools):
    """a given readiness.policy stays beside the scope that the chart sets"""
    settings = yaml.safe_load(configuration(tools.render(at("config.readiness.policy", "any"))))
    same(settings["readiness"], {"policy": "any", "scope": "startup"})


@case
def gate(tools):
    """sidecar.gate decides whether the pod's readiness follows the models; failureThreshold is passed on"""
    probe = containers(tools.render(at("readinessProbe.failureThreshold", 9)))["preloader"]["readinessProbe"]
    same((probe["httpGet"]["path"], probe["failureThreshold"]), ("/-/ready", 9))
    same("readinessProbe" in containers(tools.render(at("sidecar.gate", False)))["preloader"], False)


@case
def limits_to_both(tools):
    """ollama.settings reach Ollama and the preloader, large numbers as they were written"""
    settings = {"OLLAMA_NUM_PARALLEL": 4, "OLLAMA_GPU_OVERHEAD": 2147483648, "OLLAMA_FLASH_ATTENTION": True}
    wanted = {"OLLAMA_NUM_PARALLEL": "4", "OLLAMA_GPU_OVERHEAD": "2147483648", "OLLAMA_FLASH_ATTENTION": "true"}
    for major in (3, 4):
        found = containers(tools.render(at("ollama.settings", settings), major=major))
        for name in ("ollama", "preloader"):
            same({k: v for k, v in env(found[name]).items() if k in wanted}, wanted)
    same(env(found["ollama"])["LLAMA_ARG_ENDPOINT_METRICS"], "1")
    same("LLAMA_ARG_ENDPOINT_METRICS" in env(found["preloader"]), False)


@case
def pulls(tools):
    """the pulling container gets the declared models as arguments, never as a part of its script"""
    evil = "x$(reboot);'\"`y"
    for major in (3, 4):
        found = containers(tools.render(at("config.models", [{"model": evil}, {"model": "b"}]), major=major))
        same(found["pull"]["args"][1:], ["pull", evil, "b"])
    assert "reboot" not in found["pull"]["args"][0]
    same(env(found["pull"])["OLLAMA_HOST"], "http://127.0.0.1:11434")
    same("pull" in containers(tools.render(at("ollama.pull.enabled", False))), False)
    never = [{"model": "a", "pull": "never"}, {"model": "b", "pull": "ifMissing"}]
    same(containers(tools.render(at("config.models", never)))["pull"]["args"][1:], ["pull", "b"])
    same("pull" in containers(tools.render(at("config.models", never[:1]))), False)
    assert "--insecure" in containers(tools.render(at("ollama.pull.insecure", True)))["pull"]["args"][0]


FAKE_OLLAMA = """#!/bin/sh
# `list` works from the second time on, `pull` of a model from the second time on; `show` knows what was pulled.
echo "$*" >>calls
case $1 in
  list) [ -e up ] || { touch up; exit 1; } ;;
  show) [ -e "have-$2" ] ;;
  pull) if [ -e "tried-$2" ]; then touch "have-$2"; else touch "tried-$2"; echo first; echo "Error: no such host" >&2; exit 1; fi ;;
esac
"""


@case
def pulling(tools):
    """the pulling script waits for Ollama, tries again, says why it failed, pulls no more than is missing, ends on SIGTERM"""
    import os
    import pathlib
    import signal
    import subprocess
    import tempfile

    script = containers(tools.render(at("ollama.pull.intervalSeconds", 1)))["pull"]["args"][0]
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder)
        (here / "ollama").write_text(FAKE_OLLAMA)
        (here / "ollama").chmod(0o755)
        command = ["sh", "-c", script.replace("/tmp/pull.log", "./pull.log"), "pull", "a", "b"]
        environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
        calls = here / "calls"
        with open(here / "log", "w") as log, subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as running:
            # `show b` for the third time: both are there, and the script went on looking.
            for _ in range(200):
                if calls.exists() and calls.read_text().count("show b") >= 3:
                    break
                try:
                    running.wait(0.1)
                    break
                except subprocess.TimeoutExpired:
                    pass
            running.send_signal(signal.SIGTERM)
            same(running.wait(10), 0)
        done = calls.read_text().split("\n")
        same(done[:2], ["list", "list"])
        same(sorted(line for line in done if line.startswith("pull")), ["pull a", "pull a", "pull b", "pull b"])
        said = (here / "log").read_text()
        assert "pulling a failed: Error: no such host\n" in said and "pulled b\n" in said, said


@case
def pause(tools):
    """the pause before the end is the kubelet's own where it can, else the program sleep"""
    hook = containers(tools.render({}, kube=SLEEP))["ollama"]["lifecycle"]["preStop"]
    same(hook, {"sleep": {"seconds": 30}})
    hook = containers(tools.render({}, kube="1.29"))["ollama"]["lifecycle"]["preStop"]
    same(hook, {"exec": {"command": ["sleep", "30"]}})
    same("lifecycle" in containers(tools.render(at("ollama.preStopSeconds", 0)))["ollama"], False)


@case
def strategies(tools):
    """Recreate where two pods could not exist at once, and for a preloader in a pod of its own"""
    deployment = at("ollama.kind", "Deployment")
    shared = at("ollama.persistence.accessModes", ["ReadWriteMany"])
    none = at("ollama.persistence.enabled", False)
    gpu = at("ollama.gpu.enabled", True)
    for values, wanted in (
        (deployment, "Recreate"), (merged(deployment, shared), "RollingUpdate"), (merged(deployment, none), "RollingUpdate"),
        (merged(deployment, none, gpu), "Recreate"), (BESIDE, "Recreate"),
        (merged(deployment, at("updateStrategy.type", "RollingUpdate")), "RollingUpdate"),
    ):
        same(workload(tools.render(values))["spec"]["strategy"]["type"], wanted)


@case
def config_rolls(tools):
    """a change of the configuration or of a file beside it makes new pods; nothing else of it does"""
    def checksum(values):
        return workload(tools.render(values))["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    base = checksum({})
    same(checksum(at("commonLabels", {"a": "b"})), base)
    assert checksum(at("config.preload.timeout", "1m")) != base
    assert checksum(at("configFiles", {"a": "1"})) != checksum(at("configFiles", {"a": "2"}))


@case
def files_are_literal(tools):
    """what looks like a template in the configuration or its files stays as it is"""
    content = "{{ .Values.x }} ${y}\n  indented\n\nlast"
    documents = tools.render({"configFiles": {"a.json": content}, **at("config.models", [{"model": "m", "displayName": "{{ x }}"}])})
    data = next(d for d in documents if d["kind"] == "ConfigMap")["data"]
    same(data["a.json"].rstrip("\n"), content)
    same(yaml.safe_load(data["config.yaml"])["models"][0]["displayName"], "{{ x }}")


@case
def gpu_limits(tools):
    """a GPU is added to the given limits"""
    values = merged(at("ollama.gpu", {"enabled": True, "count": 2}), at("ollama.resources.limits", {"memory": "8Gi"}))
    same(containers(tools.render(values))["ollama"]["resources"], {"limits": {"memory": "8Gi", "nvidia.com/gpu": 2}})


@case
def monitors(tools):
    """auto makes what the cluster knows and nothing else; a ServiceMonitor goes before the PodMonitor"""
    def kinds(values, apis):
        wanted = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
        return {d["kind"] for d in tools.render(values, apis=apis)} & wanted

    same(kinds({}, ()), set())
    same(kinds({}, OPERATOR), {"PodMonitor", "PrometheusRule"})
    same(kinds({}, OPERATOR[:1]), {"PodMonitor"})
    same(kinds(at("monitoring.serviceMonitor.enabled", True), OPERATOR), {"ServiceMonitor", "PrometheusRule"})


@case
def rules_are_the_projects(tools):
    """the PrometheusRule has all groups of alerts/*.yaml, as they are"""
    sources = sorted((ROOT / "alerts").glob("*.yaml"))
    assert sources, "there is no alerts/*.yaml"
    groups = [group for file in sources for group in yaml.safe_load(file.read_text())["groups"]]
    rule = next(d for d in tools.render({}, apis=OPERATOR) if d["kind"] == "PrometheusRule")
    same(rule["spec"]["groups"], groups)


@case
def dashboards_are_the_projects(tools):
    """each of dashboards/*.json is in a ConfigMap of its own, as it is"""
    sources = {file.name: json.loads(file.read_text()) for file in (ROOT / "dashboards").glob("*.json")}
    assert sources, "there is no dashboards/*.json"
    documents = tools.render(at("monitoring.dashboards.enabled", True))
    found = {}
    for document in documents:
        if document["metadata"]["labels"].get("grafana_dashboard") == "1":
            assert len(json.dumps(document)) < 1_000_000, "a ConfigMap holds 1 MiB"
            found.update({name: json.loads(text) for name, text in document["data"].items()})
    same(found, sources)


@case
def packaged(tools):
    """helm package takes the linked alerts and dashboards along, byte for byte, and nothing of the repository's own"""
    import tarfile
    import tempfile

    wanted = {f"files/alerts/{f.name}": f.read_bytes() for f in (ROOT / "alerts").glob("*.yaml")}
    wanted |= {f"files/dashboards/{f.name}": f.read_bytes() for f in (ROOT / "dashboards").glob("*.json")}
    for major in (3, 4):
        with tempfile.TemporaryDirectory() as folder:
            tools.helm(major, "package", CHART, "--destination", folder)
            (name,) = (n for n in __import__("os").listdir(folder))
            with tarfile.open(f"{folder}/{name}") as tar:
                content = {m.name.partition("/")[2]: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}
            same({k: v for k, v in content.items() if k.startswith("files/")}, wanted)
            assert {"README.md", "values.schema.json", "templates/NOTES.txt"} <= set(content), sorted(content)
            same([k for k in content if "test" in k and k != "templates/tests/warm.yaml"], [])
            rendered = tools.render({}, chart=f"{folder}/{name}", apis=OPERATOR, major=major)
            same(rendered, tools.render({}, apis=OPERATOR, major=major))


@case
def notes(tools):
    """the notes say what the gate does here, what was left out, and what is missing"""
    for values, parts in (
        ({}, ["there may be only one pod", "ollama.resources is empty", "does not know the kind PodMonitor", "native sidecar"]),
        ({"replicaCount": 2}, ["leaves the Service after 3 failed probes", "(6 s;", "readinessProbe.failureThreshold"]),
        (at("config.readiness.scope", "continuous"), ["WARNING: readiness.scope is continuous with one pod"]),
        (BESIDE, ["IT GATES ONLY ITSELF", "http://ollama:11434"]),
        (at("sidecar.gate", False), ["sidecar.gate is false"]),
        (at("sidecar.native", False), ["plain container"]),
        (at("config.models", [{"model": str(i)} for i in range(4)]), ["WARNING: 4 models are declared", "keeps only 3"]),
        ({"existingConfigMap": "c", **at("ollama.pull.enabled", False)}, ["what the ConfigMap c says"]),
    ):
        text = notes_of(tools, values)
        missing = [part for part in parts if part not in text]
        assert not missing, f"{values}: {missing} not in\n{text}"


def notes_of(tools, values):
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        text = tools.helm(4, "install", "r", CHART, "--dry-run=client", "--namespace", "n", "--values", file.name)
    return text.partition("\nNOTES:\n")[2]


@case
def long_names(tools):
    """names stay within 63 characters, whatever the release is called"""
    from chart import kubernetes_errors

    documents = tools.render(at("monitoring.dashboards.enabled", True), release="r" * 53, apis=OPERATOR)
    for document in documents:
        assert len(document["metadata"]["name"]) <= 63, document["metadata"]["name"]
        assert all(len(str(v)) <= 63 for v in document["metadata"]["labels"].values()), document["metadata"]["labels"]
    same([e for d in documents if "." not in d["apiVersion"] for e in kubernetes_errors(d, NEWEST)], [])


@case
def helm_test_script(tools):
    """the script of helm test is valid sh and asks the right addresses"""
    import subprocess

    for values, parts in (
        ({}, ["http://t-model-preloader-admin:11490/-/ready", "http://t-model-preloader:11434/api/version"]),
        (BESIDE, ["http://t-model-preloader:11490/-/ready"]),
        (merged(at("ollama.kind", "Deployment"), at("adminService.enabled", False)), ["http://t-model-preloader:11434/api/version"]),
    ):
        (test,) = (d for d in tools.render(values, release="t") if d["kind"] == "Pod")
        script = test["spec"]["containers"][0]["args"][0]
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
        flat = script.replace("answers ", "")
        missing = [part for part in parts if part not in flat]
        assert not missing, f"{missing} not in\n{script}"


def documented():
    """Every value is described above its key and known to the schema, and the schema knows no other."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    problems, depth = [], []
    for number, line in enumerate(lines):
        found = re.match(r"^( *)([A-Za-z]\w*):(.*)$", line)
        if not found or "#" in line[: found.start(2)]:
            continue
        indent, key, rest = len(found[1]), found[2], found[3].strip()
        depth = [d for d in depth if d[0] < indent]
        described = lines[number - 1].strip().startswith("# -- ")
        inside_described = any(d[2] for d in depth)
        if rest and not described and not inside_described:
            problems.append(f"line {number + 1}: {key} has no description")
        depth.append((indent, key, described))
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    problems += list(differences(values, schema, schema["definitions"], ""))
    return [("every value is described, and known to the schema", "; ".join(problems))]


def differences(values, schema, definitions, path):
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if schema.get("additionalProperties") is not False or "properties" not in schema or not values:
        return
    known = schema["properties"]
    if path == "config.":
        return  # the keys of the preloader, of which the chart gives few; run.py compares them with the preloader's own
    free = {"global"} if not path else {"claims", "requests", "limits"}
    yield from (f"{path}{key}: not in the schema" for key in values.keys() - known.keys())
    yield from (f"{path}{key}: only in the schema" for key in known.keys() - values.keys() - free)
    for key in values.keys() & known.keys():
        if isinstance(values[key], dict):
            yield from differences(values[key], known[key], definitions, f"{path}{key}.")
