"""The right answer to a search, and what is wrong with the one that a server gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bench.population import USER, Population
from bench.request import FIRST_MS
from bench.shapes import Shape

#: The newest runs of a searched experiment, which are written to while it is searched.
LIVE_RUNS: Final = 20

#: What some servers add to a run on their own.
ADDED_TAG: Final = "mlflow.runName"
#: What of a run's info is compared; int64 may be text in JSON.
TEXTS: Final = ("run_id", "run_name", "user_id", "status")
TIMES: Final = ("start_time", "end_time")


@dataclass(frozen=True)
class Expected:
    """The runs of a page in order, and whether there is another page. Metrics of live runs are None: not compared."""

    runs: list[dict[str, Any]]
    more: bool

    def wrong_in(self, answer: dict[str, Any]) -> str | None:
        """What is wrong with the answer, or None: every run, in order, with all of its data."""
        found = [_flat(run) for run in answer.get("runs", [])]
        names, wanted = [run["run_name"] for run in found], [run["run_name"] for run in self.runs]
        if names != wanted:
            place = next(
                (i for i, pair in enumerate(zip(names, wanted, strict=False)) if pair[0] != pair[1]), len(names)
            )
            got, want = (" ".join(some[place : place + 3]) or "none" for some in (names, wanted))
            return f"{len(names)} runs, at {place} {got}; not {len(wanted)} runs, at {place} {want}"
        if self.more and not answer.get("next_page_token"):
            return "no token for the next page"
        for run, right in zip(found, self.runs, strict=True):
            if differs := [key for key, value in right.items() if value is not None and run[key] != value]:
                key = differs[0]
                return f"{key} of {right['run_name']} is {run[key]}, not {right[key]}"
        return None


def expected(shape: Shape, population: Population, live: list[str]) -> Expected:
    """The answer to ``shape`` in an experiment of this population and the live runs with these ids, oldest first."""
    runs = [{**live_run(population, place), "run_id": run_id} for place, run_id in enumerate(live) if shape.live]
    matching = shape.matching(population)
    fit = matching[: max(shape.size - len(runs), 0)].tolist()
    more = len(runs) + len(matching) > shape.size
    return Expected([*runs[::-1], *(population.run(number) for number in fit)][: shape.size], more)


def live_run(population: Population, place: int) -> dict[str, Any]:
    """A live run but for its id: newer than the population, and outside of every filter."""
    return {
        "run_name": f"live-{place}",
        "user_id": USER,
        "status": "RUNNING",
        "start_time": FIRST_MS + population.runs + place,
        "end_time": None,
        "metrics": None,
        "params": dict.fromkeys(population.params, "0"),
        "tags": dict.fromkeys(population.tags, "tag0"),
    }


def _flat(run: dict[str, Any]) -> dict[str, Any]:
    """A run of an answer in the form of :meth:`Population.run`."""
    info, data = run["info"], run["data"]
    return {
        **{key: info.get(key) for key in TEXTS},
        **{key: int(info[key]) if info.get(key) else None for key in TIMES},
        "metrics": {metric["key"]: float(metric["value"]) for metric in data.get("metrics", ())},
        "params": {param["key"]: param["value"] for param in data.get("params", ())},
        "tags": {tag["key"]: tag["value"] for tag in data.get("tags", ()) if tag["key"] != ADDED_TAG},
    }
