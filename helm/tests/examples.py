"""The examples: rendered or checked by what reads them."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

from chart import NATIVE, NEWEST, ROOT, SLEEP, TESTS, containers, is_custom, kubernetes_errors, parse, pod

EXAMPLES = ROOT / "examples"
ALL = []


def case(function):
    ALL.append(function)
    return function


def load(path):
    return yaml.safe_load((EXAMPLES / path).read_text())


def otwld(tools, chart):
    return tools.render(load("otwld-ollama/values.yaml"), chart=chart, release="ollama", apis=("monitoring.coreos.com/v1",))


def judge_otwld(tools, documents):
    for version in (NATIVE, SLEEP, "1.33", NEWEST):
        errors = [e for d in documents if not is_custom(d) for e in kubernetes_errors(d, version)]
        # The kubelet of 1.29 has the sleep action behind a gate, as the example says; the API knows it.
        assert not errors, errors
    custom = [d for d in documents if is_custom(d)]
    assert [d["kind"] for d in custom] == ["PodMonitor"], custom
    assert not tools.crds(custom), tools.crds(custom)
    mounted = [v["configMap"]["name"] for v in pod(documents)["volumes"] if "configMap" in v]
    made = [d["metadata"]["name"] for d in documents if d["kind"] == "ConfigMap"]
    assert set(mounted) <= set(made), f"mounts {mounted}, makes {made}"
    assert "{{" not in yaml.safe_dump(documents), "a template was not filled in"


@case
def otwld_stand_in(tools):
    """examples/otwld-ollama renders with a stand-in for that chart, and its containers are our chart's"""
    documents = otwld(tools, TESTS / "otwld")
    judge_otwld(tools, documents)
    theirs, ours = containers(documents), containers(tools.render({}, kube=SLEEP))
    for name, differing in (("preloader", {"env", "volumeMounts", "imagePullPolicy"}),
                            ("pull", {"env", "volumeMounts", "imagePullPolicy", "image", "securityContext"})):
        for key in sorted((theirs[name].keys() | ours[name].keys()) - differing):
            assert theirs[name].get(key) == ours[name].get(key), f"{name}.{key}: {theirs[name].get(key)} is not {ours[name].get(key)}"
    assert theirs["ollama"]["lifecycle"] == ours["ollama"]["lifecycle"]
    service = next(d for d in documents if d["kind"] == "Service")["spec"]
    assert service["publishNotReadyAddresses"] and service["clusterIP"] == "None", service


@case
def otwld_real(tools):
    """examples/otwld-ollama renders with the real chart, where OTWLD_CHART names it"""
    folder = os.environ.get("OTWLD_CHART")
    if folder:
        judge_otwld(tools, otwld(tools, pathlib.Path(folder)))


@case
def keda(tools):
    """examples/keda is valid, and scales what the chart makes"""
    (scaled,) = parse((EXAMPLES / "keda/scaledobject.yaml").read_text())
    (hpa,) = parse((EXAMPLES / "keda/hpa.yaml").read_text())
    problems = tools.crds([scaled]) + kubernetes_errors(hpa, NEWEST)
    assert not problems, problems
    load_of = tools.render({}, release="warm")
    targets = {(d["kind"], d["metadata"]["name"]) for d in load_of}
    for document in (scaled, hpa):
        target = document["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in targets, f"{target} is not among {targets}"
    assert scaled["spec"]["triggers"][0]["metadata"]["containerName"] in containers(load_of)


@case
def compose(tools):
    """examples/docker-compose fits the Compose specification, and every file that it mounts exists"""
    file = EXAMPLES / "docker-compose/compose.yaml"
    program = tools.folder / "venv/bin/check-jsonschema"
    done = subprocess.run([program, "--builtin-schema", "vendor.compose-spec", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    services = load("docker-compose/compose.yaml")["services"]
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (file.parent / source).exists(), f"{source} does not exist"
    assert services["preloader"]["network_mode"] == "service:ollama"
    pulled = services["pull"]["command"][2:]
    declared = [model["model"] for model in load("docker-compose/config.yaml")["models"]]
    assert pulled == declared, f"pulls {pulled}, declares {declared}"
    script = services["pull"]["command"][0].replace("$$", "$")
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


@case
def compose_health(tools):
    """the health check of examples/docker-compose says 0 for a 200 of /-/ready, else 1"""
    import http.server
    import threading

    class Gate(http.server.BaseHTTPRequestHandler):
        answers = {"/-/ready": 200}

        def do_GET(self):
            self.send_response(self.answers.get(self.path, 404))
            self.end_headers()

        def log_message(self, *_):
            pass

    command = load("docker-compose/compose.yaml")["services"]["ollama"]["healthcheck"]["test"][1:]
    with http.server.HTTPServer(("127.0.0.1", 0), Gate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script = [part.replace("$$", "$").replace("/11490", f"/{server.server_port}") for part in command]
        for status, code in ((200, 0), (503, 1)):
            Gate.answers["/-/ready"] = status
            assert (found := subprocess.run(script, timeout=10).returncode) == code, f"{status}: {found}"
        server.shutdown()
    closed = subprocess.run(script, timeout=10, capture_output=True).returncode
    assert closed == 1, f"nobody there: {closed}"


@case
def systemd(tools):
    """examples/systemd is a valid unit, and systemd calls its exposure OK (below 2)"""
    assert shutil.which("systemd-analyze"), "systemd-analyze is missing; install systemd"
    unit = (EXAMPLES / "systemd/model-preloader.service").read_text()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model-preloader.service"
        # Verification wants the program to exist.
        path.write_text(unit.replace("/usr/local/bin/model-preloader", "/bin/true"))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
        lines = [line for line in done.stderr.splitlines() if "model-preloader.service" in line]
        assert done.returncode == 0 and not lines, done.stderr
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", path],
            capture_output=True, text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:]


@case
def metric_names(tools):
    """every metric that an example or a page of docs/install names is in docs/METRICS.md"""
    documented = (ROOT / "docs/METRICS.md").read_text()
    pages = [p for folder in (EXAMPLES, ROOT / "docs/install", ROOT / "helm/model-preloader/templates") for p in folder.rglob("*") if p.is_file()]
    assert pages
    for page in pages:
        for name in re.findall(r"\bpreloader_[a-z_]+", page.read_text()):
            assert f"`{name}`" in documented, f"{page.relative_to(ROOT)}: {name}"
