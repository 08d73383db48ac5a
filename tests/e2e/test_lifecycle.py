"""Runs and experiments are deleted, restored, renamed, tagged and searched by MLflow's own client as in stock."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.client import run_script
from tests.server import Server


@pytest.fixture(scope="module")
def found(standing_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the client saw, by the functions of ``scripts/lifecycle.py``."""
    return run_script("lifecycle", standing_server.url, tmp_path_factory.mktemp("lifecycle") / "job")


def test_a_deleted_run_is_read_but_not_written_until_it_is_restored(found: Any) -> None:
    assert found["runs"]["while deleted"] == {
        "stage": "deleted",
        "metrics": {"m": 1.0},
        "listed": {"active": 0, "deleted": 1, "all": 1},
        "refusals": ["INVALID_PARAMETER_VALUE"] * 5,
    }
    assert found["runs"]["restored"] == ["active", "FINISHED", 4.0]


def test_a_run_is_renamed_by_its_name_and_by_its_tag_but_never_to_nothing(found: Any) -> None:
    assert found["runs"]["names"] == ["first", "second", "second", "third"]
    assert found["runs"]["random name"]


def test_an_unknown_run_does_not_exist(found: Any) -> None:
    assert found["runs"]["missing"] == ["RESOURCE_DOES_NOT_EXIST"] * 3


def test_tags_of_a_run_are_set_and_deleted(found: Any) -> None:
    assert found["run_tags"] == {"tags": {"a": "2", "given": "1"}, "deleted again": "RESOURCE_DOES_NOT_EXIST"}


def test_a_deleted_experiment_takes_its_runs_along_and_keeps_its_name(found: Any) -> None:
    assert found["experiments"]["while deleted"] == {
        "stage": "deleted",
        "by name": "deleted",
        "runs": ["deleted", "deleted"],
        "refusals": {
            "create": "RESOURCE_ALREADY_EXISTS",
            "set_experiment": "INVALID_PARAMETER_VALUE",
            "create run": "INVALID_PARAMETER_VALUE",
            "log": "INVALID_PARAMETER_VALUE",
            "rename": "INVALID_PARAMETER_VALUE",
            "tag": "INVALID_PARAMETER_VALUE",
            "delete": "RESOURCE_DOES_NOT_EXIST",
        },
    }


def test_the_later_of_a_runs_and_its_experiments_deletes_and_restores_counts(found: Any) -> None:
    assert found["experiments"]["restored alone"] == "active"
    assert found["experiments"]["after restoring"] == ["active", "active", "active"]
    assert found["experiments"]["restored again"] == "RESOURCE_DOES_NOT_EXIST"


def test_an_experiment_is_renamed_and_tagged(found: Any) -> None:
    experiments = found["experiments"]
    assert experiments["renamed"] == [True, True]
    assert experiments["old name is free"]
    assert experiments["name taken"] == "BAD_REQUEST"
    assert experiments["tags"] == {"a": "2", "given": "1"}
    assert experiments["tag deleted again"] == "RESOURCE_DOES_NOT_EXIST"


def test_an_experiment_has_at_most_50_custom_views(found: Any) -> None:
    assert found["experiments"]["custom views"] == ["INVALID_PARAMETER_VALUE", "not refused, but answered None", 50]


def test_an_unknown_experiment_is_none_by_name_and_an_error_by_id(found: Any) -> None:
    assert found["experiments"]["unknown"] == [True, "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"]


def test_runs_keep_their_artifacts_where_their_experiment_does(found: Any) -> None:
    assert found["experiments"]["artifacts"]


def test_the_experiment_0_is_default(found: Any) -> None:
    assert found["experiments"]["default"] == ["Default", "0"]


def test_runs_are_listed_newest_first_in_pages(found: Any) -> None:
    runs = found["searched_runs"]
    assert [len(page) for page in runs["pages"]] == [10, 10, 3]
    assert sorted(number for page in runs["pages"] for number in page) == sorted({*range(25)} - {3, 8})
    assert runs["start times"] == sorted(runs["start times"], reverse=True)
    assert runs["one experiment"] == [1, *range(5, 25, 2)]
    assert runs["pandas"] == 11


def test_runs_are_listed_by_view(found: Any) -> None:
    assert found["searched_runs"]["views"] == {
        "active": sorted({*range(25)} - {3, 8}),
        "deleted": [3, 8],
        "all": [*range(25)],
    }


def test_a_run_that_is_created_between_two_pages_shifts_nothing(found: Any) -> None:
    assert found["searched_runs"]["shifted"] == [*range(10, 25, 2)]


def test_no_runs_are_found_in_no_or_an_unknown_experiment(found: Any) -> None:
    assert found["searched_runs"]["none"] == [0, 0]


def test_runs_are_filtered_and_a_wrong_filter_is_refused(found: Any) -> None:
    assert found["searched_runs"]["filter"] == [12, 7]
    assert found["searched_runs"]["wrong filter"] == "INVALID_PARAMETER_VALUE"


def test_experiments_are_found_by_name_in_pages_newest_first(found: Any) -> None:
    experiments = found["searched_experiments"]
    names = experiments["names"]
    active = [*names[:2], *names[3:]]
    assert [sorted(page) for page in experiments["pages"]] == [names[5:], names[3:5], names[:2]]
    assert [name for page in experiments["pages"] for name in page] == active[::-1]
    assert experiments["views"] == {"active": active[::-1], "deleted": [names[2]], "all": names[::-1]}
    assert experiments["by name"] == [names[4]]
    assert experiments["ordered"] == active
    assert experiments["all"]
