"""Lint argument lists by the thousand, and print what became of them as a Markdown table.

    python -m tests.encoders.argv_table [--most N] [--encoder NAME ...]

`--most 0` is the whole product, which for most encoders would run for weeks.
"""

from __future__ import annotations

import argparse
import sys

from tests.encoders.argv import offers, product_size, recorded_build
from tests.encoders.argv_lint import Tally, lint, lint_recorded
from tests.encoders.builds import builds
from tests.encoders.facts import VERSIONS, facts


def cell(tally: Tally | None) -> str:
    """Argument lists accepted and made, then choices of settings and those refused beforehand."""
    if tally is None:
        return "not in it"
    accepted = len(tally.lints) - len(tally.complaints)
    return f"{accepted} of {len(tally.lints)} ({tally.cases}, {tally.refused})"


def rows(most: int | None, names: list[str]) -> bool:
    """Print the table; whether every argument list was accepted."""
    at_hand = {build.version.split("-")[0].removeprefix("n"): build for build in builds()}
    recorded = [version for version in VERSIONS if version not in at_hand]
    heads = [*at_hand, *(f"{version} (recorded)" for version in recorded)]
    sys.stdout.write("| encoder | product | " + " | ".join(heads) + " |\n")
    sys.stdout.write("|---" * (len(heads) + 2) + "|\n")
    good = True
    for backend, schema in offers():
        if names and schema.encoder not in names:
            continue
        tallies = [
            lint(backend, schema, build, most) if schema.encoder in build.encoders else None
            for build in at_hand.values()
        ]
        for version in recorded:
            build, known = recorded_build(version), facts(version)
            has = schema.encoder in build.encoders
            tallies.append(lint_recorded(backend, schema, build, known, most) if has else None)
        cells = " | ".join(cell(tally) for tally in tallies)
        size = product_size(backend, schema)
        sys.stdout.write(f"| {schema.encoder} | {size:,} | {cells} |\n")
        sys.stdout.flush()
        for found in tallies:
            for complaint in found.complaints if found else ():
                good = False
                sys.stderr.write(f"{complaint.complaint}\n    {' '.join(complaint.argv)}\n")
    return good


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--most", type=int, default=1000, help="choices for each encoder and build")
parser.add_argument("--encoder", action="append", default=[], help="only this one; repeatable")
options = parser.parse_args()
sys.exit(0 if rows(options.most or None, options.encoder) else 1)
