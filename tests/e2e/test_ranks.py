"""Several processes of MLflow's own client log at once, to one run and to runs of their own: each point counts once."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.client import Script, run_script
from tests.server import Server

RANKS = 4
STEPS = 40
CONFLICTS = 10
NAME = "one name for all"


class Found(NamedTuple):
    """What each process left, and the runs that another one read afterwards."""

    ranks: list[dict[str, Any]]
    shared: dict[str, Any]
    own: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def found(standing_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """All processes from their start to their end, and then what was stored."""
    directory = tmp_path_factory.mktemp("ranks")
    url = standing_server.url
    experiment_id = standing_server.post("experiments/create", {"name": "shared"}).json()["experiment_id"]
    run = standing_server.post("runs/create", {"experiment_id": experiment_id}).json()["run"]
    shared_id = run["info"]["run_id"]
    place: Path = directory / "place"
    place.mkdir()
    with ExitStack() as stack:
        scripts = [
            stack.enter_context(Script("rank", url, directory / str(rank), rank, RANKS, place, shared_id, NAME))
            for rank in range(RANKS)
        ]
        ranks = [script.found() for script in scripts]
    shared = run_script("read_back", url, directory / "reads shared", experiment_id)
    own = run_script("read_back", url, directory / "reads own", ranks[0]["experiment"])
    return Found(ranks, shared[shared_id], own)


def test_processes_that_set_the_same_new_experiment_get_the_same_one(found: Found, standing_server: Server) -> None:
    assert len({rank["experiment"] for rank in found.ranks}) == 1
    listed = standing_server.post("experiments/search", {"max_results": 100}).json()["experiments"]
    assert [experiment["name"] for experiment in listed].count(NAME) == 1
    assert set(found.own) == {rank["own"] for rank in found.ranks}


def test_every_point_of_the_shared_run_is_there_exactly_once(found: Found) -> None:
    steps = range(STEPS)
    every_step = range(STEPS * RANKS)
    assert found.shared["history"] == {
        "same": [[step, step / 7] for step in steps],
        "same/batch": [[step, step / 11] for step in steps],
        "interleaved": [[step, step / 3] for step in every_step],
        **{f"own/{rank}": [[step, step / 9] for step in steps] for rank in range(RANKS)},
    }
    assert found.shared["metrics"] == {key: points[-1][1] for key, points in found.shared["history"].items()}


def test_of_conflicting_params_exactly_one_is_taken_and_the_others_are_refused(found: Found) -> None:
    for step in range(CONFLICTS):
        answers = [rank["answers"][step] for rank in found.ranks]
        assert answers.count("INVALID_PARAMETER_VALUE") == RANKS - 1
        taken = [rank for rank, answer in enumerate(answers) if answer != "INVALID_PARAMETER_VALUE"]
        assert found.shared["params"][f"conflict/{step}"] == str(taken[0])


def test_params_and_tags_of_all_processes_are_there(found: Found) -> None:
    own = {f"own/{rank}/{step}": str(step) for rank in range(RANKS) for step in range(STEPS)}
    conflicts = {key: value for key, value in found.shared["params"].items() if key.startswith("conflict/")}
    assert found.shared["params"] == {"equal": "1"} | own | conflicts
    tags = {key: value for key, value in found.shared["tags"].items() if not key.startswith("mlflow.")}
    assert tags == {f"own.{rank}": str(STEPS - 1) for rank in range(RANKS)}


def test_each_run_of_its_own_holds_what_its_process_logged_and_nothing_else(found: Found) -> None:
    for number, rank in enumerate(found.ranks):
        run = found.own[rank["own"]]
        assert run["name"] == f"rank {number}"
        assert run["status"] == "FINISHED"
        assert run["history"] == {
            "same": [[step, step / 7] for step in range(STEPS)],
            "same/batch": [[step, step / 11] for step in range(STEPS)],
            "interleaved": [[step * RANKS + number, (step * RANKS + number) / 3] for step in range(STEPS)],
            f"own/{number}": [[step, step / 9] for step in range(STEPS)],
        }
        assert rank["answers"] != []
        assert {key: value for key, value in run["params"].items() if key.startswith("conflict/")} == {
            f"conflict/{step}": str(number) for step in range(CONFLICTS)
        }
