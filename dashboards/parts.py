"""The parts that dashboards are made of: variables, panels, links. Plain dictionaries of Grafana's schema."""

PROJECT = "https://github.com/model-preloader/model-preloader"
RUNBOOKS = f"{PROJECT}/blob/main/docs/runbooks/README.md"
# Grafana 10.4 and later; newer ones migrate it when they load it.
SCHEMA = 39
TAG = "model-preloader"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# The wire names of the states in the order of the documentation: the place is the number in the timelines.
STATES = {
    "pending": "#8e8e8e",
    "pulling": "#5794f2",
    "loading": "#8ab8ff",
    "verifying": "#b877d9",
    "ready": "#73bf69",
    "retrying": "#ff9830",
    "failed": "#f2495c",
    "quarantined": "#c4162a",
    "unresponsive": "#fa6400",
    "unknown": "#56595e",
}

# Selectors. Every series of ours carries job and instance, those of Kubernetes a namespace as well.
TARGET = 'job=~"$job", namespace=~"$namespace", instance=~"$instance"'
SERVER = f'{TARGET}, server=~"$server"'
MODEL = f'{SERVER}, model=~"$model"'
# Recorded per job, model and server: an instance's label is not there.
RECORDED_JOB = 'job=~"$job", namespace=~"$namespace"'
RECORDED_MODEL = f'{RECORDED_JOB}, server=~"$server", model=~"$model"'


def query_variable(name, label, query, all_value=".+", multi=True):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": multi,
        "includeAll": True,
        "allValue": all_value,
        "current": {"text": "All", "value": "$__all"},
        "hide": 0,
        "regex": "",
        "options": [],
        "skipUrlSync": False,
    }


def variables():
    """The data source and who is looked at. Without Kubernetes there is no namespace: All matches that too."""
    datasource = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }
    build = "preloader_build_info"
    return [
        datasource,
        query_variable("job", "job", f"label_values({build}, job)"),
        query_variable("namespace", "namespace", f'label_values({build}{{job=~"$job"}}, namespace)', all_value=".*"),
        query_variable("instance", "instance", f'label_values({build}{{job=~"$job", namespace=~"$namespace"}}, instance)'),
        query_variable("server", "server", f"label_values(preloader_server_up{{{TARGET}}}, server)"),
        query_variable("model", "model", f"label_values(preloader_model_ready{{{SERVER}}}, model)"),
    ]


def target(expr, legend="", instant=False, fmt="time_series"):
    return {
        "datasource": DATASOURCE,
        "expr": " ".join(expr.split()),
        "legendFormat": legend or "__auto",
        "instant": instant,
        "range": not instant,
        "format": fmt,
        "editorMode": "code",
    }


def steps(*pairs):
    """Colours from a value on; the first one from the bottom."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in pairs]}


GOOD_BAD = steps((None, "red"), (1, "green"))
NEUTRAL = steps((None, "blue"))


def values(names):
    """Texts and colours for numbers: {1: ("ready", "green")}."""
    options = {str(value): {"text": text, "color": color, "index": place} for place, (value, (text, color)) in enumerate(names.items())}
    return [{"type": "value", "options": options}]


YES_NO = values({0: ("no", "red"), 1: ("yes", "green")})
NO_YES = values({0: ("no", "green"), 1: ("yes", "orange")})
STATE_VALUES = values({number: (name, color) for number, (name, color) in enumerate(STATES.items(), 1)})


def state_number(selector):
    """One number per model instead of ten series, so that a timeline shows one lane per model."""
    numbered = (f'preloader_model_state{{{selector}, state="{state}"}} * {number}' for number, state in enumerate(STATES, 1))
    return "sum without (state) (" + " or ".join(numbered) + ")"


def panel(kind, title, description, targets, unit="none", *, mappings=None, thresholds=None, no_value=None, options=None, custom=None, decimals=None, overrides=(), transformations=(), links=(), color=None):
    """A panel without its place."""
    defaults = {
        "unit": unit,
        "mappings": mappings or [],
        "thresholds": thresholds or NEUTRAL,
        "color": {"mode": color or ("thresholds" if kind in ("stat", "table", "bargauge", "state-timeline") else "palette-classic")},
        "custom": custom or {},
    }
    if no_value is not None:
        defaults["noValue"] = no_value
    if decimals is not None:
        defaults["decimals"] = decimals
    if links:
        defaults["links"] = list(links)
    for place, each in enumerate(targets):
        each["refId"] = "ABCDEFGH"[place]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options or {},
        "transformations": list(transformations),
    }


def stat(title, description, expr, unit="none", **more):
    legend, names = more.pop("legend", ""), more.pop("names", False)
    options = {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": "value_and_name" if names else "value",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("stat", title, description, [target(expr, legend, instant=True)], unit, options=options, **more)


def lines(title, description, targets, unit="none", stack=False, bars=False, **more):
    custom = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 80 if bars else 10,
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
    }
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, description, targets, unit, custom=custom, options=options, **more)


def timeline(title, description, targets, mappings, **more):
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.9,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return panel("state-timeline", title, description, targets, mappings=mappings, options=options, custom={"fillOpacity": 80, "lineWidth": 0}, **more)


def table(title, description, expr, columns, unit="none", **more):
    """An instant query as a table; `columns` are its labels in their order, then the value's title."""
    *labels, value = columns
    hide = {"id": "organize", "options": {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate([*labels, "Value"])},
        "renameByName": {"Value": value},
    }}
    only = {"id": "filterFieldsByName", "options": {"include": {"names": [*labels, "Value"]}}}
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""}}
    return panel("table", title, description, [target(expr, instant=True, fmt="table")], unit, options=options, transformations=[only, hide], **more)


def heatmap(title, description, expr):
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange", "reverse": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
        "legend": {"show": True},
        "showValue": "never",
        "filterValues": {"le": 1e-9},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
    }
    return panel("heatmap", title, description, [target(expr, "{{le}}", fmt="heatmap")], "none", options=options)


def bars(title, description, expr, legend):
    """How the observations of the whole range are spread over the bounds. The last point of a range query, because the
    format that takes cumulated buckets apart is made for those."""
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "minVizHeight": 10,
        "minVizWidth": 0,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("bargauge", title, description, [target(expr, legend, fmt="heatmap")], "short", options=options, decimals=0)


def board(uid, title, description, other, rows):
    """A dashboard. `rows` is a list of (title, lines), a line a list of (width, height, panel)."""
    panels, number, y = [], 0, 0
    for row_title, row_lines in rows:
        number += 1
        panels.append({"id": number, "type": "row", "title": row_title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        y += 1
        for line in row_lines:
            x = 0
            for width, height, made in line:
                number += 1
                panels.append({"id": number, **made, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
                x += width
            y += max(height for _, height, _ in line)
    other_uid, other_title = other
    keep = {"asDropdown": False, "icon": "dashboard", "includeVars": True, "keepTime": True, "targetBlank": False, "tags": [], "tooltip": "", "type": "link"}
    return {
        "id": None,
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG, "ollama"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "timepicker": {},
        "fiscalYearStartMonth": 0,
        "weekStart": "",
        "liveNow": False,
        "annotations": {"list": []},
        "links": [
            {**keep, "title": other_title, "url": f"/d/{other_uid}"},
            {**keep, "title": "Runbooks", "url": RUNBOOKS, "icon": "doc", "includeVars": False, "keepTime": False, "targetBlank": True},
        ],
        "templating": {"list": variables()},
        "panels": panels,
    }
