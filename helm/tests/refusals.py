"""Values that must be refused, and what must be said then: the key, and the way out."""

from chart import NEWEST, at, merged

BESIDE = {"ollama": {"enabled": False, "url": "http://ollama:11434"}}
TWO_MODELS = [{"model": "a"}, {"model": "b"}]

# Values, parts of the message, and how to render (Kubernetes version, known APIs).
SENTENCES = [
    (at("ollama.url", "http://x:1"), ["ollama.url:", '"http://x:1"', "ollama.enabled=false"]),
    (at("config.servers", [{"url": "http://x"}]), ["config.servers:", "ollama.enabled=false"]),
    (at("ollama.preStopSeconds", 60), ["ollama.preStopSeconds:", "60", "raise terminationGracePeriodSeconds"]),
    (at("ollama.port", 11490), ["ollama.port:", "11490", "change ollama.port or port"]),
    ({"existingConfigMap": "c"}, ["ollama.pull.models:", "ollama.pull.enabled=false"]),
    (at("ollama.enabled", False), ["ollama.url:", "http://ollama.default.svc:11434"]),
    (merged(BESIDE, at("config.servers", [{"url": "http://x"}])), ["config.servers:", "keep one of them"]),
    (merged(BESIDE, {"replicaCount": 2}), ["replicaCount: 2", "set replicaCount=1"]),
    (merged(BESIDE, at("autoscaling.enabled", True)), ["autoscaling.enabled:", "ollama.enabled is false"]),
    (merged(BESIDE, at("podDisruptionBudget.enabled", True)), ["podDisruptionBudget.enabled:", "set it to false"]),
    (at("sidecar.native", True), ["sidecar.native:", "needs Kubernetes 1.29", "v1.28", "use auto or false"], {"kube": "1.28"}),
    (at("config.http.listen", "0.0.0.0:1"), ["config.http.listen:", "use listenAddress and port"]),
    (at("configFiles", {"config.yaml": "x"}), ["configFiles:", "use config for it"]),
    ({"existingConfigMap": "c", "configFiles": {"a": "b"}, **at("ollama.pull.enabled", False)}, ["configFiles:", "existingConfigMap"]),
    (at("config.models", []), ["config.models:", "config.models[0].model=tinyllama"]),
    (at("config.models", [{"model": "TinyLlama"}, {"model": "tinyllama:latest"}]), ["config.models[1].model:", "config.models[0]"]),
    (at("extraEnv", [{"name": "OLLAMA_URL", "value": "x"}]), ["extraEnv[0].name:", "ollama.url"]),
    (at("podLabels", {"app.kubernetes.io/name": "x"}), ["podLabels.app.kubernetes.io/name:", "choose another name"]),
    (at("commonLabels", {"helm.sh/chart": "x"}), ["commonLabels.helm.sh/chart:", "choose another name"]),
    (at("updateStrategy.type", "Recreate"), ["updateStrategy.type:", "StatefulSet", "use RollingUpdate or OnDelete"]),
    (merged(at("ollama.kind", "Deployment"), at("updateStrategy.type", "OnDelete")), ["updateStrategy.type:", "Deployment"]),
    ({"autoscaling": {"enabled": True, "minReplicas": 9, "metrics": [{"type": "Resource"}]}}, ["autoscaling.minReplicas: 9", "autoscaling.maxReplicas, 4"]),
    (at("autoscaling.enabled", True), ["autoscaling.metrics:", "ollama.resources.requests.cpu"]),
    (at("ollama.persistence", {"existingClaim": "a", "volume": {"emptyDir": {}}}), ["ollama.persistence.volume:", "keep one of them"]),
    (at("ollama.persistence", {"enabled": False, "existingClaim": "a"}), ["ollama.persistence.enabled:", "ollama.persistence.existingClaim"]),
    ({"replicaCount": 2, "ollama": {"kind": "Deployment"}}, ["ollama.persistence.accessModes: 2 pods", "ollama.kind=StatefulSet"]),
    ({"replicaCount": 3, **at("ollama.persistence.existingClaim", "a")}, ["ollama.persistence.accessModes: 3 pods"]),
    (at("ollama.settings.OLLAMA_HOST", "x"), ["ollama.settings.OLLAMA_HOST:", "ollama.host and ollama.port"]),
    (at("ollama.settings.OLLAMA_MODELS", "x"), ["ollama.settings.OLLAMA_MODELS:", "ollama.persistence"]),
    (at("ollama.settings.OLLAMA_MAX_LOADED_MODELS", 1), ["ollama.settings.OLLAMA_MAX_LOADED_MODELS: 1", "2 required models", "required: false"]),
    (at("monitoring.podMonitor.enabled", True), ["monitoring.podMonitor.enabled:", "PodMonitor", "--api-versions"]),
    (at("monitoring.serviceMonitor.enabled", True), ["monitoring.serviceMonitor.enabled:", "ServiceMonitor", "CRDs"]),
    (at("monitoring.prometheusRule.enabled", True), ["monitoring.prometheusRule.enabled:", "use auto or false"]),
    (
        {"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": "auto"}}},
        ["monitoring.serviceMonitor.enabled: every series would exist twice"],
    ),
    (
        {"ollama": {"kind": "Deployment"}, "adminService": {"enabled": False}, "monitoring": {"serviceMonitor": {"enabled": "auto"}}},
        ["adminService.enabled:", "monitoring.podMonitor"],
    ),
]

# Values that the schema refuses, and the key that must be named.
KEYS = [
    ({"replicaCounts": 2}, "replicaCounts"),
    (at("ollama.pulls", {}), "pulls"),
    ({"replicaCount": "two"}, "replicaCount"),
    ({"replicaCount": -1}, "replicaCount"),
    (at("sidecar.native", "maybe"), "native"),
    (at("ollama.kind", "DaemonSet"), "kind"),
    (at("ollama.url", "ollama:11434"), "url"),
    (at("ollama.settings", {"NUM_PARALLEL": 4}), "NUM_PARALLEL"),
    (at("ollama.settings", {"OLLAMA_NUM_PARALLEL": [4]}), "OLLAMA_NUM_PARALLEL"),
    (at("config.models", [{"name": "tinyllama"}]), "model"),
    (at("config.models", "tinyllama"), "models"),
    (at("config.readiness.scope", "always"), "scope"),
    (at("config.readines", {}), "readines"),
    (at("config.preload.timeoutMs", 1), "timeoutMs"),
    (at("image.digest", "abc"), "digest"),
    ({"port": 70000}, "port"),
    ({"listenAddress": "localhost"}, "listenAddress"),
    (at("monitoring.podMonitor.interval", "15"), "interval"),
    (at("ollama.persistence.size", "lots"), "size"),
    (at("resources.limits", {"memory": "64 MB"}), "memory"),
    (at("podDisruptionBudget.maxUnavailable", "one"), "maxUnavailable"),
    ({"fullnameOverride": "Not_A_Name"}, "fullnameOverride"),
    (at("config.models", [{"model": "two words"}]), "model"),
]


def how(row):
    return {"kube": NEWEST, **(row[2] if len(row) > 2 else {})}
