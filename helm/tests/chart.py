"""Rendering the chart, and judging objects by the schemas of Kubernetes and of the CRDs."""

import json
import os
import pathlib
import subprocess
import tempfile

import jsonschema
import yaml
from kubernetes_validate import utils as kubernetes
from referencing import Registry, Resource

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "model-preloader"
TESTS = ROOT / "helm" / "tests"
# Oldest that the chart takes, the first with native sidecars, with the sleep action, and the newest that we know.
OLDEST, NATIVE, SLEEP, NEWEST = "1.27", "1.29", "1.30", "1.37"
VERSIONS = (OLDEST, "1.28", NATIVE, SLEEP, "1.33", NEWEST)
OPERATOR = tuple(f"monitoring.coreos.com/v1/{kind}" for kind in ("PodMonitor", "ServiceMonitor", "PrometheusRule"))
# What helm says of the linked folders, for every render.
LINK_NOTE = "found symbolic link in path"


class Refused(Exception):
    """helm refused; its words."""


class Tools:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def helm(self, major, *args):
        """Runs helm; its output, or Refused with its errors."""
        command = [str(self.folder / f"helm{major}"), *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise Refused("\n".join(line for line in done.stderr.splitlines() if LINK_NOTE not in line).strip())
        return done.stdout

    def template(self, values, major=4, kube=NEWEST, apis=(), release="test", chart=CHART, namespace="ollama"):
        """The rendered text for values as nested dictionaries."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(values, file)
            file.flush()
            args = ["template", release, chart, "--namespace", namespace, "--kube-version", kube, "--values", file.name]
            for api in apis:
                args += ["--api-versions", api]
            return self.helm(major, *args)

    def render(self, values, **how):
        return parse(self.template(values, **how))

    def crds(self, objects):
        """What the CRDs' schemas have against these objects."""
        if not objects:
            return []
        done = subprocess.run(
            ["node", str(TESTS / "crds.mjs"), str(self.folder / "crds")],
            input=json.dumps(objects), capture_output=True, text=True, timeout=60,
        )
        if done.returncode:
            return [done.stderr.strip() or "crds.mjs failed"]
        return json.loads(done.stdout)


class NoDuplicates(yaml.SafeLoader):
    """Refuses a key that is given twice: kubectl would take the last one without a word."""


def _mapping(loader, node, deep=False):
    seen = set()
    for key, _ in node.value:
        name = loader.construct_object(key, deep=True)
        if name in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is given twice", key.start_mark)
        seen.add(name)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


NoDuplicates.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, lambda loader, node: _mapping(loader, node, True))


def parse(text):
    return [document for document in yaml.load_all(text, Loader=NoDuplicates) if document]


def merged(*layers):
    """Nested dictionaries laid over each other, as helm does with value files."""
    result = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def at(path, value):
    """{"a": {"b": value}} for "a.b"."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def is_custom(document):
    group = document["apiVersion"].partition("/")[0]
    return "." in group and not group.endswith(".k8s.io")


_validators = {}


def kubernetes_errors(document, version):
    """What the API server of that version would have against the object; unknown fields are errors."""
    folder = next(v for v in reversed(kubernetes.all_versions()) if kubernetes.major_minor(v) == version)
    group, _, name = document["apiVersion"].rpartition("/")
    file = f"{document['kind'].lower()}-{group.partition('.')[0]}{'-' if group else ''}{name}.json"
    key = (folder, file)
    if key not in _validators:
        path = f"kubernetes-json-schema/v{folder}-local-strict"
        try:
            schema = kubernetes.schema_contents(f"{path}/{file}", folder)
        except FileNotFoundError:
            return [f"Kubernetes {version} does not know {document['apiVersion']} {document['kind']}"]
        definitions = _validators.get(folder) or kubernetes.schema_contents(f"{path}/_definitions.json", folder)
        _validators[folder] = definitions
        registry = Registry().with_resources(
            [(r.id(), r) for r in (Resource.from_contents(schema), Resource.from_contents(definitions))]
        )
        _validators[key] = jsonschema.validators.Draft202012Validator(schema, registry=registry)
    title = f"{document['kind']}/{document.get('metadata', {}).get('name')}"
    errors = _validators[key].iter_errors(document)
    return [f"{title} {'.'.join(map(str, e.absolute_path))}: {e.message[:300]} (Kubernetes {version})" for e in errors]


def configuration(documents):
    """The rendered configuration file, or None."""
    for document in documents:
        if document["kind"] == "ConfigMap" and "config.yaml" in document.get("data", {}):
            return document["data"]["config.yaml"]
    return None


def workload(documents):
    return next(d for d in documents if d["kind"] in ("StatefulSet", "Deployment"))


def pod(documents):
    return workload(documents)["spec"]["template"]["spec"]


def containers(documents):
    """Name to container, init containers too."""
    spec = pod(documents)
    return {c["name"]: c for c in spec.get("initContainers", []) + spec["containers"]}


def binary():
    """The preloader's binary, where one is to be used."""
    given = os.environ.get("MODEL_PRELOADER_BIN")
    return pathlib.Path(given) if given else None
