"""Combinations of values: every pair of settings of two different factors occurs in at least one render."""

import itertools

from chart import NATIVE, OPERATOR, VERSIONS, at, merged

GPU = merged(at("ollama.gpu", {"enabled": True, "count": 2}), at("runtimeClassName", "nvidia"))
TWO = {"replicaCount": 2}
SHARED = at("ollama.persistence", {"accessModes": ["ReadWriteMany"]})

# A factor is a name and its settings; a setting is a name and its values. The first setting is the default.
FACTORS = {
    "helm": {"4": {}, "3": {}},
    "kube": {version: {} for version in reversed(VERSIONS)},
    "apis": {"operator": {}, "none": {}},
    "mode": {
        "StatefulSet": {},
        "Deployment": at("ollama.kind", "Deployment"),
        "beside": {"ollama": {"enabled": False, "url": "http://ollama.models.svc:11434"}},
    },
    "native": {"auto": {}, "true": at("sidecar.native", True), "false": at("sidecar.native", False)},
    "gate": {"on": {}, "off": at("sidecar.gate", False)},
    "pods": {
        "1": {},
        "2": TWO,
        "scaled": {"autoscaling": {"enabled": True}, "ollama": {"resources": {"requests": {"cpu": 2}}}},
    },
    "volume": {
        "claim": {},
        "none": at("ollama.persistence.enabled", False),
        "existing": at("ollama.persistence.existingClaim", "models"),
        "shared": SHARED,
        "host": at("ollama.persistence.volume", {"hostPath": {"path": "/srv/models", "type": "Directory"}}),
    },
    "gpu": {"no": {}, "yes": GPU},
    "pull": {
        "on": {},
        "off": at("ollama.pull.enabled", False),
        "own": at("ollama.pull", {"models": ["tinyllama"], "insecure": True}),
    },
    "config": {
        "own": {},
        "full": {
            "config": {
                "models": [
                    {"model": "qwen2.5-coder:3b", "options": {"num_ctx": 8192}, "warmup": [{"file": "code.json"}]},
                    {"model": "hf.co/bartowski/Llama-3.2-1B:Q4_K_M", "required": False},
                ],
                "readiness": {"policy": "any", "scope": "continuous"},
                "preload": {"timeout": "45s"},
            },
            "configFiles": {"code.json": '{"messages": [{"role": "system", "content": "{{ not a template }}"}]}\n'},
        },
        "existing": {"existingConfigMap": "my-config", "ollama": {"pull": {"models": ["tinyllama"]}}},
    },
    "monitoring": {
        "auto": {},
        "service": at("monitoring.serviceMonitor.enabled", "auto"),
        "off": {"monitoring": {"podMonitor": {"enabled": False}, "prometheusRule": {"enabled": False}}},
        "all": {
            "monitoring": {
                "podMonitor": {"labels": {"release": "prometheus"}, "namespace": "monitoring"},
                "prometheusRule": {"labels": {"release": "prometheus"}},
                "dashboards": {"enabled": True, "annotations": {"grafana_folder": "LLM"}},
            }
        },
    },
    "policies": {
        "none": {},
        "all": {"networkPolicy": {"enabled": True}, "podDisruptionBudget": {"enabled": True}},
        "network": {"networkPolicy": {"enabled": True, "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}},
    },
    "extras": {
        "none": {},
        "all": {
            "namespaceOverride": "elsewhere",
            "fullnameOverride": "warm",
            "commonLabels": {"team": "ml"},
            "podLabels": {"tier": "gpu"},
            "podAnnotations": {"note": "x"},
            "imagePullSecrets": [{"name": "registry"}],
            "image": {"digest": "sha256:" + "0" * 64},
            "extraEnv": [{"name": "MODEL_PRELOADER__PRELOAD__CONCURRENCY", "value": "1"}],
            "extraEnvFrom": [{"secretRef": {"name": "s", "optional": True}}],
            "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
            "extraContainers": [{"name": "more", "image": "x:1"}],
            "extraInitContainers": [{"name": "first", "image": "x:1"}],
            "extraManifests": [
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": '{{ include "model-preloader.fullname" . }}-s'}},
                "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .Release.Name }}-t\n",
            ],
            "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["registry"]}],
            "nodeSelector": {"gpu": "true"},
            "tolerations": [{"operator": "Exists"}],
            "priorityClassName": "high",
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
            ],
            "affinity": {"podAntiAffinity": {}},
            "serviceAccount": {"annotations": {"a": "b"}},
            "service": {"type": "LoadBalancer", "port": 80, "annotations": {"a": "b"}},
            "port": 12000,
            "listenAddress": "[::]",
        },
        "few": {"serviceAccount": {"create": False}, "adminService": {"enabled": False}, "tests": {"enabled": False}},
    },
    "ollama": {
        "plain": {},
        "set": {
            "ollama": {
                "settings": {"OLLAMA_NUM_PARALLEL": 4, "OLLAMA_GPU_OVERHEAD": 2147483648, "OLLAMA_FLASH_ATTENTION": True},
                "host": "[::]", "runnerMetrics": False, "preStopSeconds": 0,
                "extraEnv": [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}],
            }
        },
    },
}


def allowed(choice):
    """Whether the chart is to take the combination; what it is to refuse is in refusals.py."""
    mode, pods, volume = choice.get("mode"), choice.get("pods", "1"), choice.get("volume", "claim")
    old = choice.get("kube", NATIVE) in VERSIONS[: VERSIONS.index(NATIVE)]
    one_node = volume == "existing" or (mode == "Deployment" and volume == "claim")
    return not (
        (mode == "beside" and (pods != "1" or choice.get("policies") == "all"))
        or (pods != "1" and one_node)
        or (choice.get("native") == "true" and old)
        or (mode == "Deployment" and choice.get("monitoring") == "service" and choice.get("extras") == "few")
    )


def pairwise():
    """Choices that cover every allowed pair; greedy, and the same at every run."""
    names = list(FACTORS)
    open_pairs = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2)
        for x in FACTORS[a]
        for y in FACTORS[b]
        if allowed({a: x, b: y})
    }
    while open_pairs:
        (a, x), (b, y) = min(open_pairs)
        choice = {a: x, b: y}
        for name in sorted(names, key=lambda n: -len(FACTORS[n])):
            if name in choice:
                continue
            fitting = [s for s in FACTORS[name] if completable({**choice, name: s})]
            choice[name] = max(fitting, key=lambda s: gain(choice, name, s, open_pairs))
        covered = pairs_of(choice, names)
        assert covered & open_pairs, choice
        open_pairs -= covered
        yield {name: choice[name] for name in names}


def completable(choice):
    """Whether the other factors' defaults, or one change of them, make it allowed."""
    base = {name: next(iter(settings)) for name, settings in FACTORS.items()}
    if allowed({**base, **choice}):
        return True
    return any(
        allowed({**base, name: setting, **choice})
        for name in ("mode", "pods", "volume", "policies")
        if name not in choice
        for setting in FACTORS[name]
    )


def gain(choice, name, setting, open_pairs):
    mine = (name, setting)
    return sum((mine, other) in open_pairs or (other, mine) in open_pairs for other in choice.items())


def pairs_of(choice, names):
    chosen = [(name, choice[name]) for name in names]
    return set(itertools.combinations(chosen, 2))


def values_of(choice):
    return merged(*(FACTORS[name][setting] for name, setting in choice.items()))


def how(choice):
    return {
        "major": int(choice["helm"]),
        "kube": choice["kube"],
        "apis": OPERATOR if choice["apis"] == "operator" else (),
    }
