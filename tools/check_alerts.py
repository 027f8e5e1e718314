"""The part of tools/check-alerts that promtool does not do: is anything missing?

For each alert: three kinds of tests, all annotations, a runbook with its sections, only metrics that exist. For each
record: a test. For each test and each runbook: something that it belongs to.
"""

import re
import sys
from pathlib import Path

import yaml

import promql

PROJECT = "https://github.com/model-preloader/model-preloader"
RUNBOOKS = f"{PROJECT}/blob/main/docs/runbooks/"
SEVERITIES = {"critical", "warning"}
# In this order, in every runbook.
SECTIONS = ["Meaning", "Impact", "First three commands", "Causes", "Fix", "Make it fire"]
KINDS = ["fires", "near miss", "resolves"]
# Shorter waits need a comment in the rule that gives the reason.
SHORTEST_FOR = 300
# One screen for somebody who was asleep a minute ago.
RUNBOOK_LINES = 60


def seconds(duration):
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    found = re.fullmatch(r"(\d+)([smhd])", str(duration))
    return int(found[1]) * units[found[2]] if found else None


def check_alert(rule, commented):
    """Problems of one alerting rule."""
    notes, labels = rule.get("annotations", {}), rule.get("labels", {})
    if not rule["alert"].startswith("ModelPreloader"):
        yield "its name does not begin with ModelPreloader"
    if labels.get("severity") not in SEVERITIES:
        yield f"severity is {labels.get('severity')!r}, not one of {sorted(SEVERITIES)}"
    wait = seconds(rule.get("for"))
    if wait is None:
        yield "it has no `for`"
    elif wait < SHORTEST_FOR and not commented:
        yield f"`for` is below {SHORTEST_FOR} s, and no comment above the rule gives the reason"
    summary, description = notes.get("summary", ""), notes.get("description", "")
    if not re.fullmatch(r"[A-Z][^{}]*\.", summary):
        yield "summary is not one constant sentence"
    if not description.endswith("."):
        yield "description is not a sentence"
    if "{{" not in description and "absent(" not in rule["expr"]:
        yield "description shows no label and no value"
    if notes.get("runbook_url") != f"{RUNBOOKS}{rule['alert']}.md":
        yield f"runbook_url is not {RUNBOOKS}{rule['alert']}.md"
    if any("$value" in str(value) for value in labels.values()):
        yield "a label holds a value, so each new value is a new alert"
    if re.search(r"\btopk\b|\bbottomk\b", rule["expr"]):
        yield "topk makes alerts come and go with others"


def check_runbook(path, alert, router):
    """Problems of one page."""
    if not path.is_file():
        yield "it has no runbook"
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0] != f"# {alert}":
        yield f"its runbook does not begin with `# {alert}`"
    sections = [line[3:] for line in lines if line.startswith("## ")]
    if sections != SECTIONS:
        yield f"its runbook's sections are {sections}, not {SECTIONS}"
    if len(lines) > RUNBOOK_LINES:
        yield f"its runbook has {len(lines)} lines, more than {RUNBOOK_LINES}"
    text = "\n".join(lines)
    found = re.search(r"## First three commands\n(.*?)\n## ", text, re.DOTALL)
    commands = re.findall(r"^\d\. ", found[1], re.MULTILINE) if found else []
    if commands != ["1. ", "2. ", "3. "]:
        yield f"its runbook gives {len(commands)} numbered commands, not three"
    for asked in re.findall(r"localhost:11490(/[^\s`'|;]*)", text):
        if f'"{asked.replace("$MODEL", "")}"' not in router:
            yield f"its runbook asks for {asked}, which src/http/router.rs does not answer"
    for link in re.findall(r"\]\(([^)#]+)", text):
        if not link.startswith("https://") and not (path.parent / link).exists():
            yield f"its runbook links to {link}, which does not exist"


def check_tests(alert, groups):
    """Whether the three kinds are there and do what their names say."""
    for kind in KINDS:
        group = groups.get(f"{alert}: {kind}")
        if group is None:
            yield f"the test `{alert}: {kind}` is missing"
            continue
        steps = [step for step in group.get("alert_rule_test", []) if step["alertname"] == alert]
        firing = [bool(step.get("exp_alerts")) for step in steps]
        shape = {
            "fires": len(firing) > 1 and not firing[0] and firing[-1],
            "near miss": len(firing) > 1 and not any(firing),
            "resolves": len(firing) > 1 and firing[0] and not firing[-1],
        }
        if not shape[kind]:
            yield f"the test `{alert}: {kind}` expects {firing} in time, which is not what its name says"
        if kind == "near miss" and not group.get("input_series"):
            yield f"the test `{alert}: near miss` has no series"
        for step in steps:
            for expected in step.get("exp_alerts") or []:
                if set(expected.get("exp_annotations", {})) != {"summary", "description", "runbook_url"}:
                    yield f"the test `{alert}: {kind}` does not compare all annotations"


def has_reason(source, alert):
    """Whether a comment stands directly above the rule."""
    return re.search(rf"^ *#[^\n]*\n *- alert: {alert}$", source, re.MULTILINE) is not None


def main(root):
    problems, alerts, records = [], {}, {}
    for path in sorted((root / "alerts").glob("*.rules.yaml")):
        source = path.read_text(encoding="utf-8")
        for group in yaml.safe_load(source)["groups"]:
            for rule in group["rules"]:
                name = rule.get("alert") or rule.get("record")
                if name in alerts or name in records:
                    problems.append(f"{name}: it is there twice")
                (alerts if "alert" in rule else records)[name] = (rule, source)

    groups = {}
    for path in sorted((root / "alerts/tests").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            groups[group.get("name")] = group
    compared = " ".join(test["expr"] for group in groups.values() for test in group.get("promql_expr_test", []))
    silent = {step["alertname"] for step in groups.get("without any series only the absence is told", {}).get("alert_rule_test", [])}

    router = (root / "src/http/router.rs").read_text(encoding="utf-8")
    for name, (rule, source) in alerts.items():
        found = [*check_alert(rule, has_reason(source, name)), *check_tests(name, groups)]
        found += check_runbook(root / "docs/runbooks" / f"{name}.md", name, router)
        if name not in silent:
            found.append("the test `without any series only the absence is told` leaves it out")
        problems += [f"{name}: {problem}" for problem in found]
    for name, (rule, _) in (alerts | records).items():
        for metric in sorted(promql.unknown_metrics(rule["expr"], records, root)):
            problems.append(f"{name}: docs/METRICS.md has no {metric}")
    for name in records:
        if not re.search(rf"(?<![a-z0-9_:]){name}(?![a-z0-9_:])", compared):
            problems.append(f"{name}: no test compares it")
    for title in groups:
        subject, _, kind = str(title).partition(": ")
        if kind in KINDS and subject not in alerts:
            problems.append(f"the test `{title}` is about no alert")

    index = (root / "docs/runbooks/README.md").read_text(encoding="utf-8")
    pages = {path.stem for path in (root / "docs/runbooks").glob("*.md")} - {"README"}
    problems += [f"docs/runbooks/{page}.md is about no alert" for page in sorted(pages - set(alerts))]
    problems += [f"docs/runbooks/README.md leaves {name} out" for name in alerts if f"({name}.md)" not in index]

    for problem in problems:
        print(f"check-alerts: {problem}", file=sys.stderr)
    print(f"check-alerts: {len(alerts)} alerts, {len(records)} records, {len(groups)} tests, {len(problems)} problems")
    return 1 if problems or not alerts else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
