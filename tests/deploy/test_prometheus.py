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

from tests.services.measured import all_names

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "ffcluster.rules.yml"
RULE_TESTS = DEPLOY / "prometheus" / "ffcluster.rules.test.yml"
DASHBOARD = DEPLOY / "grafana" / "ffcluster.json"
MONITORING = DEPLOY.parent / "docs" / "monitoring.md"
_NAME = re.compile(r"\b(?:ffcluster|process|python)_[a-z_]+\b")
# What a rule records is no metric of ours.
_RECORDED = re.compile(r"instance:ffcluster_\w+:\w+")


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


def test_rules_and_dashboard_ask_for_what_there_is() -> None:
    known = all_names()
    for query in (*(rule["expr"] for rule in rules()), *queries()):
        for name in _NAME.findall(_RECORDED.sub("", query)):
            # Of the process itself only Linux tells.
            if sys.platform == "linux" or not name.startswith("process_"):
                assert name in known, f"{name} in {query}"


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
