"""What must be true of every render, whatever the values are."""

import yaml

from chart import containers, configuration, pod, workload

OURS = ("preloader", "ollama", "pull", "warm")
SELECTOR = ("app.kubernetes.io/name", "app.kubernetes.io/instance")


def broken(documents, choice=None):
    """The rules that these objects break; sentences."""
    names = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents]
    yield from (f"{name} exists twice" for name in set(names) if names.count(name) > 1)
    for rule in (security, probes, deadlock, ports, labels, services, config, drain, selection):
        yield from rule(documents)


def pods(documents):
    yield pod(documents)
    yield from (d["spec"] for d in documents if d["kind"] == "Pod")


def security(documents):
    """The "restricted" level of the Pod Security Standards, for what is ours."""
    for spec in pods(documents):
        if spec.get("automountServiceAccountToken") is not False:
            yield "a pod gets a token for the API server"
        if spec.get("enableServiceLinks") is not False:
            yield "a pod gets variables for all Services"
        context = spec["securityContext"]
        if context.get("seccompProfile") != {"type": "RuntimeDefault"} or context.get("runAsNonRoot") is not True:
            yield "the pod's security context is not restricted"
        for container in spec.get("initContainers", []) + spec["containers"]:
            if container["name"] not in OURS:
                continue
            context = container["securityContext"]
            wanted = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }
            for key, value in wanted.items():
                if context.get(key) != value:
                    yield f"{container['name']}: securityContext.{key} is {context.get(key)!r}"
            if not context.get("runAsUser"):
                yield f"{container['name']}: no numeric user, so the kubelet cannot tell that it is not root"


def probes(documents):
    for name, container in containers(documents).items():
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if port is not None and port not in [p["containerPort"] for p in container["ports"]]:
                yield f"{name}: {probe} asks port {port}, which is not the container's"
    preloader = containers(documents)["preloader"]
    for probe in ("startupProbe", "livenessProbe"):
        if preloader[probe]["httpGet"]["path"] != "/-/healthy":
            yield f"the preloader's {probe} depends on Ollama: a native sidecar would never let Ollama start"


def deadlock(documents):
    """Nothing that starts before Ollama may wait for it, and nothing of ours may block its start."""
    spec = pod(documents)
    names = [c["name"] for c in spec["containers"]]
    if "ollama" not in names:
        return
    for container in spec.get("initContainers", []):
        if container["name"] in OURS and container.get("restartPolicy") != "Always":
            yield f"{container['name']} is an init container that must end before Ollama starts"
    if "postStart" in containers(documents)["ollama"].get("lifecycle", {}):
        yield "a postStart hook holds back the pod"
    if names[0] != "ollama":
        yield "a plain container starts before Ollama"


def ports(documents):
    exposed = {p["containerPort"] for c in containers(documents).values() for p in c.get("ports", [])}
    for document in documents:
        if document["kind"] == "Service":
            for port in document["spec"]["ports"]:
                if not isinstance(port["targetPort"], int):
                    yield f"{document['metadata']['name']}: a named targetPort does not find a native sidecar before 1.32"
                elif port["targetPort"] not in exposed:
                    yield f"{document['metadata']['name']}: nothing listens on {port['targetPort']}"
        if document["kind"] == "NetworkPolicy":
            for rule in document["spec"]["ingress"]:
                if any(p["port"] not in exposed for p in rule["ports"]):
                    yield "the NetworkPolicy opens a port that nobody has"
        if document["kind"] == "PodMonitor":
            known = {p["name"] for c in containers(documents).values() for p in c.get("ports", [])}
            if not {e["port"] for e in document["spec"]["podMetricsEndpoints"]} <= known:
                yield "the PodMonitor names a port that the pod does not have"


def labels(documents):
    metadata = workload(documents)["spec"]["template"]["metadata"]
    for document in documents:
        spec = document.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if not isinstance(selector, dict) or document["kind"] in ("ServiceMonitor",):
            continue
        wanted = selector.get("matchLabels", selector)
        if tuple(sorted(wanted)) != tuple(sorted(SELECTOR)):
            yield f"{document['kind']}: selects by {sorted(wanted)}"
        if any(metadata["labels"].get(key) != value for key, value in wanted.items()):
            yield f"{document['kind']}: does not select the pods"
    for document in documents:
        if document["kind"] == "Pod" and all(
            document["metadata"]["labels"].get(k) == metadata["labels"][k] for k in SELECTOR
        ):
            yield "the Services select the pod of helm test"


def services(documents):
    found = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "Service"}
    load = workload(documents)
    has_ollama = "ollama" in containers(documents)
    name = load["metadata"]["name"]
    if load["kind"] == "StatefulSet" and load["spec"]["serviceName"] not in found:
        yield "the StatefulSet's Service does not exist"
    if has_ollama and found[name].get("publishNotReadyAddresses"):
        yield "the clients' Service sends traffic to pods that are not warm"
    if not has_ollama and not found[name].get("publishNotReadyAddresses"):
        yield "the status cannot be read while the gate is closed"
    admin = found.get(f"{name}-admin")
    if admin and not (admin.get("publishNotReadyAddresses") and admin["clusterIP"] == "None"):
        yield "the admin Service hides pods that are not warm"
    for document in documents:
        if document["kind"] == "ServiceMonitor":
            wanted = document["spec"]["selector"]["matchLabels"]
            matching = [
                d for d in documents
                if d["kind"] == "Service" and all(d["metadata"]["labels"].get(k) == v for k, v in wanted.items())
            ]
            if len(matching) != 1:
                yield f"the ServiceMonitor selects {len(matching)} Services"


def config(documents):
    text = configuration(documents)
    mounted = next(v for v in pod(documents)["volumes"] if v["name"] == "config")["configMap"]["name"]
    ours = {d["metadata"]["name"] for d in documents if d["kind"] == "ConfigMap" and "config.yaml" in d["data"]}
    annotations = workload(documents)["spec"]["template"]["metadata"]["annotations"]
    if (text is not None) != ("checksum/config" in annotations):
        yield "a change of the configuration does not make new pods"
    if text is None:
        return
    if ours != {mounted}:
        yield f"the pod mounts {mounted}, the configuration is in {ours}"
    if not text.startswith("models:\n"):
        yield "the models are not on top of the configuration"
    settings = yaml.safe_load(text)
    port = containers(documents)["preloader"]["ports"][0]["containerPort"]
    if not settings["http"]["listen"].endswith(f":{port}"):
        yield "the preloader listens on another port than its container says"
    if "ollama" in containers(documents):
        address = containers(documents)["ollama"]["ports"][0]["containerPort"]
        if [s["url"].rpartition(":")[2] for s in settings["servers"]] != [str(address)]:
            yield "the preloader does not look at the Ollama of its pod"


def drain(documents):
    spec = pod(documents)
    lifecycle = containers(documents).get("ollama", {}).get("lifecycle")
    if lifecycle:
        hook = lifecycle["preStop"]
        seconds = hook["sleep"]["seconds"] if "sleep" in hook else int(hook["exec"]["command"][1])
        if seconds >= spec["terminationGracePeriodSeconds"]:
            yield "Ollama is killed within its pause"


def selection(documents):
    """How pods are replaced."""
    load = workload(documents)
    if load["kind"] == "StatefulSet":
        if load["spec"]["podManagementPolicy"] != "Parallel":
            yield "the StatefulSet waits for each pod's models"
        return
    limits = containers(documents).get("ollama", {}).get("resources", {}).get("limits", {})
    claims = {d["metadata"]["name"]: d["spec"]["accessModes"] for d in documents if d["kind"] == "PersistentVolumeClaim"}
    used = [v["persistentVolumeClaim"]["claimName"] for v in pod(documents)["volumes"] if "persistentVolumeClaim" in v]
    one_node = any("ReadWriteMany" not in claims.get(name, ["ReadWriteMany"]) for name in used)
    gpu = any(key.partition("/")[0].endswith(".com") for key in limits)
    if (one_node or gpu) and load["spec"]["strategy"]["type"] != "Recreate":
        yield "a new pod would wait for the GPU or the volume of the old one"
