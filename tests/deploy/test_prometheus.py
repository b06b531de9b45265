"""Alert rules and dashboard: Prometheus takes them, and they name what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.measured import all_series

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "ffcluster.rules.yml"
RULE_TESTS = DEPLOY / "prometheus" / "ffcluster.rules.test.yml"
DASHBOARD = DEPLOY / "grafana" / "ffcluster.json"
MONITORING = DEPLOY.parent / "docs" / "monitoring.md"
_NAME = re.compile(r"\b(?:ffcluster|process|python)_[a-z_]+\b")
# What a rule records is no metric of ours.
_RECORDED = re.compile(r"instance:ffcluster_\w+:\w+")
_SELECTED = re.compile(r"\b((?:ffcluster|process|python|up)\w*)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|without|on|ignoring) ?\(([^)]*)\)")
_SUMMED = re.compile(r"\b(?:sum|min|max|avg)\b")
# Prometheus itself adds these.
_OF_TARGETS = {"job", "instance"}
# Which encoders there are depends on plugins; how fine a histogram is, on its metric.
_OPEN = {"encoder", "le", "version", "python", "ffmpeg"}


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed")
    return subprocess.run(
        [found, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        if panel["type"] != "row":
            yield panel


def queries() -> list[str]:
    """Every query of the dashboard, as Prometheus would get it."""
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    variables = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]
    asked += [v["query"]["query"] for v in variables if v["type"] == "query"]
    return [query.replace("$job", ".*").replace("$instance", ".*") for query in asked]


def test_prometheus_takes_the_rules() -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_alerts_fire_when_they_should_and_not_before() -> None:
    checked = promtool("test", "rules", RULE_TESTS)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_is_tested_both_ways() -> None:
    fires, silent = set(), set()
    for case in yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]:
        for test in case["alert_rule_test"]:
            (fires if test.get("exp_alerts") else silent).add(test["alertname"])
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert alerts == fires
    assert alerts <= silent


def test_every_alert_says_how_bad_it_is_and_is_documented() -> None:
    text = MONITORING.read_text(encoding="utf-8")
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert {"summary", "description"} == set(rule["annotations"])
            assert f"| `{rule['alert']}` |" in text, rule["alert"]


def names(query: str) -> list[str]:
    """Every metric of ours, or of the process, that a query names."""
    found = _NAME.findall(_RECORDED.sub("", query))
    # Of the process itself only Linux tells.
    return [name for name in found if sys.platform == "linux" or not name.startswith("process_")]


def simulated() -> list[str]:
    """What the alerts' tests pretend that a coordinator shows."""
    tests = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    return [series["series"] for test in tests for series in test["input_series"]]


def test_rules_and_dashboard_ask_for_what_there_is() -> None:
    known = all_series()
    for query in (*(rule["expr"] for rule in rules()), *queries(), *simulated()):
        for name in names(query):
            assert name in known, f"{name} in {query}"


def test_labels_and_their_values_are_those_that_there_are() -> None:
    known = all_series()
    for query in (*(rule["expr"] for rule in rules()), *queries(), *simulated()):
        for name, inside in _SELECTED.findall(query):
            for label, how, value in _MATCHER.findall(inside):
                if label in _OF_TARGETS:
                    continue
                assert label in known[name], f"{label} of {name} in {query}"
                wanted = value.split("|") if "~" in how else [value]
                if label not in _OPEN:
                    assert set(wanted) <= known[name][label], f"{inside} of {name} in {query}"


def test_what_is_grouped_by_or_put_into_words_is_a_label_of_what_is_asked() -> None:
    known = all_series()

    def labels(query: str) -> set[str]:
        return _OF_TARGETS.union(*(known[name] for name in names(query) if name in known))

    def grouped(query: str) -> set[str]:
        inside = ",".join(_GROUPED.findall(query))
        return {word.strip() for word in inside.split(",") if word.strip()}

    for query in (*(rule["expr"] for rule in rules()), *queries()):
        assert grouped(query) <= labels(query), query
    for panel in panels():
        for target in panel["targets"]:
            said = set(re.findall(r"{{ *(\w+) *}}", target.get("legendFormat", "")))
            query = target["expr"]
            # What is summed up has no other label left.
            left = grouped(query) if _SUMMED.search(query) else labels(query)
            assert said <= left, panel["title"]
    for rule in rules():
        words = " ".join(rule.get("annotations", {}).values())
        assert set(re.findall(r"\$labels\.(\w+)", words)) <= labels(rule["expr"]), rule


def test_prometheus_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    asked = [query for query in queries() if not query.startswith("label_values(")]
    assert len(asked) > 20
    made = [{"record": f"dashboard:query{n}", "expr": query} for n, query in enumerate(asked)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": made}]}))
    checked = promtool("check", "rules", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_panels_do_not_lie_over_each_other_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["title"]
        assert panel["description"].endswith(".")


def test_dashboard_asks_the_data_source_that_is_chosen() -> None:
    text = DASHBOARD.read_text(encoding="utf-8")
    assert set(re.findall(r'"uid": "([^"]+)"', text)) == {"${datasource}", "ffcluster"}
