"""Writes what is generated of ``docs/mlflow-compatibility.md``: ``python -m tests.compatibility [--check]``.

The endpoints are those of the installed ``mlflow`` package's server, their states what Runstream's router says, and the
differences those that the differential test lets pass.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from mlflow.server import app as stock

from runstream_services.gateway import app
from tests.differential.differences import DIFFERENCES

PAGE: Final = Path(__file__).parents[1] / "docs" / "mlflow-compatibility.md"

_PREFIX: Final = re.compile(r"^/(ajax-api|api)(?=/)")
_GENERATED: Final = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


class Family(NamedTuple):
    """Endpoints that belong together: how their paths look, and the state of those that are not served."""

    name: str
    paths: str
    otherwise: str


LATER: Final = "later part"
NOT_PLANNED: Final = "not planned"

#: The first whose ``paths`` match is an endpoint's family.
FAMILIES: Final = (
    Family("Probes", r"/health|/version|/3\.0/mlflow/server-info", LATER),
    Family("Prompt lab and AI gateway", r".*(gateway|create-promptlab-run)", NOT_PLANNED),
    Family("Experiments", r"/2\.0/?mlflow/experiments/", LATER),
    Family("Runs", r"/2\.0/mlflow/runs/", LATER),
    Family("Metrics", r"/2\.0/mlflow/metrics/", LATER),
    Family("Logged models", r"/2\.0/mlflow/logged-models", LATER),
    Family("Model registry", r"/2\.0/mlflow/(registered-models|model-versions)|/model-versions/", LATER),
    Family("Artifacts", r"/2\.0/mlflow/(artifacts/|upload-artifact)|/2\.0/mlflow-artifacts/|/get-artifact", LATER),
    Family("Web pages", r"/$|/static-files/|/build/|/graphql|/3\.0/mlflow/ui-telemetry", LATER),
    Family("Traces", r".*(traces?\b|trace-)", NOT_PLANNED),
    Family(
        "Evaluation and prompts", r"/3\.0/mlflow/(datasets|scorers?|prompt-|label-|review-|issues|genai)", NOT_PLANNED
    ),
    Family("Webhooks, jobs, workspaces, demo", r"", NOT_PLANNED),
)


class Served(NamedTuple):
    """An endpoint of stock's: its path below its prefix, the prefixes that it has, those that are served here."""

    path: str
    method: str
    stock: frozenset[str]
    here: frozenset[str]


def endpoints() -> Iterator[Served]:
    """Stock's endpoints by path and method."""
    ours = set(served())
    asked = {
        (_PREFIX.sub("", rule.rule), method, _prefix(rule.rule), (method, rule.rule) in ours)
        for rule in stock.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    for (path, method), found in groupby(sorted(asked), key=lambda one: one[:2]):
        prefixes = list(found)
        yield Served(
            path, method, frozenset(one[2] for one in prefixes), frozenset(one[2] for one in prefixes if one[3])
        )


def served() -> Iterator[tuple[str, str]]:
    """Method and path of each of MLflow's endpoints that is served here."""
    for method, path, _ in app.MLFLOW:
        yield method, f"/api/2.0/mlflow{path}"
        yield method, f"/ajax-api/2.0/mlflow{path}"
    for method, path, _ in app.AJAX:
        yield method, f"/ajax-api/2.0/mlflow{path}"
    for method, path, _ in app.PROBES:
        yield method, path


def page(text: str) -> str:
    """The page, what is generated of it made anew."""
    parts = {"endpoints": _endpoint_tables(), "differences": _difference_table()}
    return _GENERATED.sub(lambda found: found[1] + "\n".join(parts[found[2]]) + "\n" + found[3], text)


def _endpoint_tables() -> Iterator[str]:
    known = list(endpoints())
    count = sum(one.here == one.stock for one in known)
    yield f"{count} of {len(known)} are served."
    for family in FAMILIES:
        members = [one for one in known if _family(one.path) is family]
        yield from ("", f"### {family.name}", "", "| endpoint | below | state |", "|---|---|---|")
        for one in members:
            yield f"| {one.method} `{one.path}` | {_listed(one.stock)} | {_state(one, family)} |"


def _difference_table() -> Iterator[str]:
    yield from ("| stock MLflow | Runstream | why |", "|---|---|---|")
    for difference in DIFFERENCES:
        yield f"| {difference.stock} | {difference.here} | {difference.why} |"


def _family(path: str) -> Family:
    return next(family for family in FAMILIES if re.match(family.paths, path))


def _state(one: Served, family: Family) -> str:
    if one.here == one.stock:
        return "served"
    return f"served below {_listed(one.here)}" if one.here else family.otherwise


def _listed(prefixes: Iterable[str]) -> str:
    return ", ".join(f"`{prefix}`" for prefix in sorted(prefixes))


def _prefix(path: str) -> str:
    found = _PREFIX.match(path)
    return found[0] if found else "/"


def main(*arguments: str) -> str | None:
    """Write the page, or with ``--check`` say what is wrong with it; None where nothing is."""
    strange = set(served()) - {
        (one.method, prefix.rstrip("/") + one.path) for one in endpoints() for prefix in one.stock
    }
    if strange:
        return f"served below MLflow's paths, and no endpoints of MLflow: {sorted(strange)}"
    made = page(PAGE.read_text())
    if "--check" not in arguments:
        PAGE.write_text(made)
    elif PAGE.read_text() != made:
        return f"{PAGE} is not what is served: run python -m tests.compatibility"
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
