"""What tools/check-alerts and tools/check-dashboards share: which metrics and labels a PromQL expression names.

Not a parser: Prometheus itself parses every expression in both checks. This only tells the words apart.
"""

import re

OPERATORS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
LABEL_LISTS = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
SELECTOR = re.compile(r"\{[^{}]*\}")
STRING = re.compile(r'"(?:\\.|[^"\\])*"')
RANGE = re.compile(r"\[[^\[\]]*\]")
OFFSET = re.compile(r"\boffset\s+-?[0-9a-z]+")
WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
MATCHER = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)")
# One per target, made by Prometheus; ALERTS and ALERTS_FOR_STATE come from its rules.
PROMETHEUS = {"up", "ALERTS"}


def metrics(expression):
    """The names of all metrics that an expression reads."""
    text = STRING.sub('""', expression)
    text = SELECTOR.sub("", text)
    text = RANGE.sub("", text)
    text = OFFSET.sub("", text)
    text = LABEL_LISTS.sub(" ", text)
    names = set()
    for found in WORD.finditer(text):
        word, rest = found.group(), text[found.end() :].lstrip()
        before = text[found.start() - 1 : found.start()]
        is_unit = before.isdigit() or before == "."
        if not rest.startswith("(") and word.lower() not in OPERATORS | {"by", "without"} and not is_unit:
            names.add(word)
    return names


def label_matchers(expression):
    """The names of all labels that an expression selects by."""
    text = STRING.sub('""', expression)
    return {label for selector in SELECTOR.findall(text) for label in MATCHER.findall(selector)}


def documented(root):
    """Every metric of docs/METRICS.md: name -> type."""
    page = (root / "docs/METRICS.md").read_text(encoding="utf-8")
    row = re.compile(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|", re.MULTILINE)
    return dict(row.findall(page))


def unknown_metrics(expression, recorded, root):
    """What an expression reads and nobody writes: neither documented, nor recorded by a rule, nor Prometheus's own."""
    known = set(PROMETHEUS) | set(recorded)
    for name, kind in documented(root).items():
        known |= {name + suffix for suffix in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return metrics(expression) - known
