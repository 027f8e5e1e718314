"""All checks of the chart and the examples. Started by tools/check-helm, which installs the tools."""

import concurrent.futures
import difflib
import json
import os
import subprocess
import sys
import tempfile
import time

import cases
import combinations
import examples
import refusals
import rules
from chart import CHART, OPERATOR, TESTS, Refused, Tools, binary, configuration, is_custom, kubernetes_errors, parse

UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
WORKERS = os.cpu_count() or 2


def lint(tools):
    """helm lint --strict, by both helms and with every golden case's values."""
    jobs = [(major, file) for major in (3, 4) for file in [None, *sorted((TESTS / "values").glob("*.yaml"))]]

    def job(each):
        major, file = each
        more = ["--values", file] if file else []
        apis = [] if file is None else ["--kube-version", "1.34"]
        tools.helm(major, "lint", "--strict", "--quiet", *more, *apis, CHART)

    return [(f"helm{major} {file.name if file else 'defaults'}", attempt(job, (major, file))) for major, file in jobs]


def combine(tools):
    """Every pair of settings: renders, and what Kubernetes, the CRDs and our rules say."""
    choices = list(combinations.pairwise())

    def job(choice):
        documents = tools.render(combinations.values_of(choice), **combinations.how(choice))
        problems = list(rules.broken(documents))
        for document in documents:
            if not is_custom(document):
                problems += kubernetes_errors(document, choice["kube"])
        if choice["apis"] == "none" and any(map(is_custom, documents)):
            problems.append("an object of a kind that the cluster does not know")
        return problems, documents

    results, custom = [], []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for choice, done in zip(choices, pool.map(lambda c: attempt(job, c), choices)):
            title = " ".join(f"{key}={value}" for key, value in choice.items())
            if isinstance(done, str):
                results.append((title, done))
                continue
            problems, documents = done
            custom += [d for d in documents if is_custom(d)]
            results.append((title, "; ".join(problems)))
    results.append((f"{len(custom)} monitoring objects by their CRDs", "; ".join(tools.crds(custom))))
    kinds = {d["kind"] for d in custom}
    missing = {"PodMonitor", "ServiceMonitor", "PrometheusRule"} - kinds
    results.append(("all monitoring kinds occur", f"never rendered: {missing}" if missing else ""))
    return results


def golden(tools):
    """The renders that a reviewer reads; helm 3 and 4 must agree on them."""
    results = []
    for file in sorted((TESTS / "values").glob("*.yaml")):
        path = TESTS / "golden" / file.name
        args = ["template", "test", CHART, "--namespace", "ollama", "--kube-version", "1.34", "--values", file]
        for api in OPERATOR[:2]:  # the rules are as long as their source, with which `files` compares them
            args += ["--api-versions", api]
        try:
            texts = [tools.helm(major, *args) for major in (4, 3)]
        except Refused as error:
            results.append((file.stem, str(error)))
            continue
        if UPDATE:
            path.write_text(texts[0])
        kept = path.read_text() if path.exists() else ""
        delta = list(difflib.unified_diff(kept.splitlines(), texts[0].splitlines(), "golden", "now", lineterm="", n=1))
        problem = "\n".join(delta[:40] + ["UPDATE_GOLDEN=1 takes it over"]) if delta else ""
        if parse(texts[0]) != parse(texts[1]):
            problem += "helm 3 renders something else"
        problem += "; ".join(rules.broken(parse(texts[0])))
        results.append((file.stem, problem))
    known = {file.name for file in (TESTS / "values").glob("*.yaml")}
    stray = [file.name for file in (TESTS / "golden").glob("*") if file.name not in known]
    results.append(("each golden render has its values", f"without values: {stray}" if stray else ""))
    return results


def refuse(tools):
    """Values that cannot work fail, and the message names the key and the way out."""

    def job(each):
        major, (values, parts, how) = each
        try:
            tools.template(values, major=major, **how)
        except Refused as error:
            missing = [part for part in parts if part not in str(error)]
            return f"does not say {missing}, but:\n{error}" if missing else ""
        return "was taken"

    rows = [(row[0], row[1], refusals.how(row)) for row in refusals.SENTENCES]
    rows += [(values, [key], {}) for values, key in refusals.KEYS]
    jobs = [(4, row) for row in rows] + [(3, row) for row in rows]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        done = list(pool.map(job, jobs))
    return [(f"helm{major} {json.dumps(row[0])[:90]}", problem) for (major, row), problem in zip(jobs, done)]


def unit(tools):
    return [(case.__doc__ or case.__name__, attempt(case, tools)) for case in cases.ALL]


def example(tools):
    return [(case.__doc__ or case.__name__, attempt(case, tools)) for case in examples.ALL]


def docs(tools):
    """The chart's README is what helm-docs makes of values.yaml, and no key is without a description."""
    path = CHART / "README.md"
    command = [tools.folder / "helm-docs", "--chart-search-root", CHART, "--template-files", "README.md.gotmpl",
               "--dry-run", "--log-level", "error", "--sort-values-order", "file"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    text = done.stdout.strip() + "\n"
    if UPDATE and done.returncode == 0:
        path.write_text(text)
    kept = path.read_text() if path.exists() else ""
    stale = done.stderr if done.returncode else "" if kept == text else "stale; UPDATE_GOLDEN=1 makes it anew"
    return [("README.md", stale)] + cases.documented()


def binary_check(tools):
    """The preloader's own check of every configuration that the golden cases render."""
    program = binary()
    if program is None:
        return None
    results = [("the schema knows the preloader's keys", attempt(known_keys, program))]
    for file in sorted((TESTS / "golden").glob("*.yaml")):
        text = configuration(parse(file.read_text()))
        if text is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            documents = parse(file.read_text())
            data = next(d["data"] for d in documents if d["kind"] == "ConfigMap" and "config.yaml" in d["data"])
            for name, content in data.items():
                with open(os.path.join(folder, name), "w") as out:
                    out.write(content.replace("/etc/model-preloader", folder))
            command = [program, "check-config", "--config", os.path.join(folder, "config.yaml")]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, env={})
            results.append((file.stem, done.stderr if done.returncode else ""))
    return results


def known_keys(program):
    """The sections and keys of `config` in values.schema.json are those of the preloader."""
    # A key without a default is printed only where it is set.
    command = [program, "print-config", "--json", "--set", "state.path=state.json"]
    printed = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30, env={}).stdout)["config"]
    schema = json.loads((CHART / "values.schema.json").read_text())["definitions"]["config"]["properties"]
    problems = [f"config.{key}: not in the schema" for key in printed.keys() - schema.keys()]
    problems += [f"config.{key}: the preloader does not know it" for key in schema.keys() - printed.keys()]
    for section, known in schema.items():
        keys, there = known.get("properties"), printed.get(section)
        if keys is not None and isinstance(there, dict):
            problems += [f"config.{section}.{key}: not in the schema" for key in there.keys() - keys.keys()]
            problems += [f"config.{section}.{key}: the preloader does not know it" for key in keys.keys() - there.keys()]
    return "; ".join([*problems, "see values.schema.json, definitions.config"]) if problems else ""


CHECKS = {
    "lint": lint, "combine": combine, "golden": golden, "refuse": refuse, "unit": unit,
    "example": example, "docs": docs, "binary": binary_check,
}


def attempt(job, argument):
    """The job's result, or the text of what went wrong; "" is good."""
    try:
        return job(argument) or ""
    except (AssertionError, Refused, subprocess.SubprocessError, OSError, LookupError, ValueError) as error:
        return f"{type(error).__name__}: {error}" or "failed"


def main():
    tools = Tools(sys.argv[1])
    names = sys.argv[2:] or list(CHECKS)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"check-helm: no check is called {', '.join(unknown)}; there are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    passed = failed = skipped = 0
    for name in names:
        start = time.monotonic()
        results = CHECKS[name](tools)
        if results is None:
            skipped += 1
            print(f"{name:8} skipped: MODEL_PRELOADER_BIN names no binary")
            continue
        bad = [(title, problem) for title, problem in results if problem]
        assert results, f"{name} checked nothing"
        passed += len(results) - len(bad)
        failed += len(bad)
        print(f"{name:8} {len(results) - len(bad)} of {len(results)} good in {time.monotonic() - start:.1f} s", flush=True)
        for title, problem in bad:
            print(f"  FAILED {title}\n    " + str(problem).replace("\n", "\n    "))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
