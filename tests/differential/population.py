"""Calls that are not drawn: what most histories begin with, and what would be drawn too seldom."""

from __future__ import annotations

from typing import Any, Final

from tests.differential.calls import Call


def _run(experiment: int, name: str, start_time: int, **more: Any) -> Call:
    fields = {"experiment_id": f"$experiment:{experiment}$", "run_name": name, "start_time": start_time, **more}
    return Call("POST", "runs/create", fields)


def _log(run: int, metrics: dict[str, Any], params: dict[str, str], tags: dict[str, str]) -> Call:
    fields = {
        "run_id": f"$run:{run}$",
        "metrics": [{"key": key, "value": value, "timestamp": 5, "step": 0} for key, value in metrics.items()],
        "params": [{"key": key, "value": value} for key, value in params.items()],
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
    return Call("POST", "runs/log-batch", fields)


_IT_IS: Final = [{"key": "it's", "value": "x"}, {"key": 'say "x"', "value": "it's"}, {"key": "a%", "value": "a%b"}]

#: Two experiments, and runs that differ in what searches look at.
POPULATION: Final = (
    Call("POST", "experiments/create", {"name": "$name:a$", "tags": [{"key": "m", "value": "x"}]}),
    Call("POST", "experiments/create", {"name": "$name:B$"}),
    _run(0, "x", 5, user_id="x", tags=_IT_IS),
    _run(0, "X", 5),
    _run(0, "a%b", 7, user_id="it's"),
    _run(0, "aXb", 1000, user_id="é✓"),
    _run(1, "x", 1, user_id="x"),
    _run(1, "it's", 5, tags=_IT_IS),
    _log(0, {"m": 1, "loss": 0.1, "a b": 3}, {"m": "x", "loss": "$noise:1:3000$"}, {"m": "x", "a/b": "a%b"}),
    _log(1, {"m": 1, "loss": "NaN", "é": -1.5}, {"m": "X", "a b": ""}, {"m": "", "loss": "$noise:2:3000$"}),
    _log(2, {"m": "NaN", "a.b": 0}, {"m": "", "a.b": "it's"}, {"m": "X", "a.b": 'say "x"'}),
    _log(3, {"m": "Infinity", "loss": -0.0}, {"m": "a%b", "select": "_"}, {"select": "back\\slash", "m": "aXb"}),
    _log(4, {"m": "-Infinity", "a-b": 3, "1x": 1}, {"m": "aXb", "1x": "1"}, {"m": "É", "1x": " x "}),
    _log(5, {"m": 0.5, "a:b": 1e308}, {}, {"a:b": "é✓"}),
)

#: Calls that meet differences which drawn ones hardly meet.
SELDOM: Final = (
    Call("POST", "experiments/search", {"max_results": 50_000, "filter": "tags. = 'x'"}),
    Call("POST", "runs/search", {"experiment_ids": ["$experiment:0$"], "filter": "metrics.m > 1 AND"}),
    Call("POST", "runs/search", {"experiment_ids": ["$experiment:0$"], "filter": "run_id IN ('a' 'b')"}),
    Call("POST", "runs/search", {"experiment_ids": ["$experiment:0$"], "order_by": ["`Run Name`"]}),
    Call("POST", "runs/create", {"experiment_id": "00", "run_name": "x", "start_time": 5}),
    Call("POST", "runs/log-batch", {"run_id": "$run:0$", "metrics": [[]]}),
    Call("POST", "runs/outputs", {"run_id": "$run:0$", "models": [{"model_id": "$model:1$"}] * 2}),
    Call(
        "POST",
        "runs/log-metric",
        {
            "run_id": "$run:0$",
            "key": "m",
            "value": 1,
            "timestamp": 5,
            "dataset_name": "$times:d:501$",
            "dataset_digest": "1",
        },
    ),
)
