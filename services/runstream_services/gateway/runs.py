"""Endpoints of runs."""

from __future__ import annotations

from typing import Final

from runstream_projections import reads
from runstream_schemas.errors import RequestError, Transient, invalid, missing
from runstream_schemas.events import RunCreated, RunDeleted, RunLogged, RunRestored, RunTagDeleted, RunUpdated
from runstream_schemas.ids import run_stream
from runstream_services.gateway import render, requests_log, requests_runs
from runstream_services.gateway.fields import INT64_MAX, INT64_MIN
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.page_token import page_token, read_token
from runstream_services.gateway.requests_log import LogBatch
from runstream_services.gateway.run_names import run_name
from runstream_services.gateway.service import Gateway

DONE: Final = Answer(render.EMPTY)
_DELETED: Final = {"ACTIVE_ONLY": False, "DELETED_ONLY": True, "ALL": None}


async def log_batch(gateway: Gateway, request: Request) -> Answer:
    """``runs/log-batch``: the hot path."""
    return await _log(gateway, requests_log.parse_log_batch(request.body))


async def log_metric(gateway: Gateway, request: Request) -> Answer:
    """``runs/log-metric``."""
    return await _log(gateway, requests_log.parse_log_metric(request.body))


async def log_parameter(gateway: Gateway, request: Request) -> Answer:
    """``runs/log-parameter``."""
    return await _log(gateway, requests_log.parse_log_parameter(request.body))


async def set_tag(gateway: Gateway, request: Request) -> Answer:
    """``runs/set-tag``."""
    return await _log(gateway, requests_log.parse_set_tag(request.body))


async def _log(gateway: Gateway, call: LogBatch) -> Answer:
    event = RunLogged(metrics=call.series, params=dict(call.params), tags=call.tags)
    try:
        await gateway.write_run(call.run_id, event, metrics_only=not call.params and not call.tags)
    except RequestError as error:
        raise await _with_logged_value(gateway, call, error) from error
    hidden_by = gateway.hidden_by(call.run_id)
    if hidden_by is not None:
        return Answer(render.EMPTY, ((b"x-runstream-not-visible", hidden_by.encode()),))
    return _said_truncated(gateway, call.truncated, render.EMPTY) if call.truncated else DONE


def _said_truncated(gateway: Gateway, truncated: int, body: bytes) -> Answer:
    """Over-long values are cut, as stock cuts them; unlike stock, the answer and a counter say so."""
    gateway.truncated += truncated
    return Answer(body, ((b"x-runstream-truncated-values", b"%d" % truncated),) if truncated else ())


async def _with_logged_value(gateway: Gateway, call: LogBatch, error: RequestError) -> RequestError:
    """Name the value that a param has: the decision knows only its hash."""
    if error.code != "INVALID_PARAMETER_VALUE" or not call.params:
        return error
    asked = dict(call.params)
    try:
        rows = await gateway.fetch(("params",), reads.logged_params_query, call.run_id, list(asked))
    except Transient:
        return error  # the refusal is certain; only the value that it should name is not at hand
    logged = {row["key"]: row["value"] for row in rows}
    for key, value in asked.items():
        if logged.get(key, value) != value:
            return invalid(
                f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                f"value='{logged[key]}' for run ID='{call.run_id}'. Attempted logging new value '{value}'."
            )
    return error


async def create(gateway: Gateway, request: Request) -> Answer:
    """``runs/create``: the run's id and name are chosen here, before the event."""
    asked = requests_runs.parse_create_run(request.body)
    now_ms = gateway.now_ms()
    run_id = gateway.randomness(16).hex()
    name = asked.run_name or run_name(gateway.randomness(6))
    event = RunCreated(
        name=name,
        start_time=asked.start_time or now_ms,
        user_id=asked.user_id,
        experiment_id=asked.experiment_id,
        tags=asked.tags,
    )
    gateway.refuse_parked_experiments()
    location = await gateway.artifact_location(asked.experiment_id)
    await gateway.emit(run_stream(run_id), event)
    tags = {**asked.tags, "mlflow.runName": name}
    row = {
        "run_id": run_id, "experiment_id": asked.experiment_id, "name": name, "user_id": asked.user_id,
        "status": "RUNNING", "start_time": event.start_time, "end_time": None, "artifact_location": location,
        "deleted": False, "metric_keys": None, "param_keys": None, "param_values": None,
        "tag_keys": sorted(tags), "tag_values": [tags[key] for key in sorted(tags)],
    }  # fmt: skip
    body = render.run(row)
    del body["outputs"]  # as in stock, this answer alone has none
    return _said_truncated(gateway, asked.truncated, render.dump({"run": body}))


async def get(gateway: Gateway, request: Request) -> Answer:
    """``runs/get``: a run, active or deleted."""
    run_id = requests_runs.parse_get_run(request.query).run_id
    rows = await gateway.fetch(reads.RUN_PROJECTIONS, reads.run_query, run_id)
    if not rows:
        raise missing(f"Run with id={run_id} not found")
    return Answer(render.dump({"run": render.run(rows[0])}))


async def update(gateway: Gateway, request: Request) -> Answer:
    """``runs/update``: status, end time, name."""
    asked = requests_runs.parse_update_run(request.body)
    event = RunUpdated(status=asked.status, end_time=asked.end_time, name=asked.run_name)
    await gateway.write_run(asked.run_id, event)
    rows = await gateway.fetch(reads.RUN_INFO_PROJECTIONS, reads.run_info_query, asked.run_id)
    return Answer(render.dump({"run_info": render.run_info(rows[0])}))


async def delete(gateway: Gateway, request: Request) -> Answer:
    """``runs/delete``; again is the same."""
    await gateway.write_run(requests_runs.parse_delete_run(request.body).run_id, RunDeleted())
    return DONE


async def restore(gateway: Gateway, request: Request) -> Answer:
    """``runs/restore``; again is the same."""
    await gateway.write_run(requests_runs.parse_restore_run(request.body).run_id, RunRestored())
    return DONE


async def delete_tag(gateway: Gateway, request: Request) -> Answer:
    """``runs/delete-tag``."""
    asked = requests_runs.parse_delete_tag(request.body)
    await gateway.write_run(asked.run_id, RunTagDeleted(key=asked.key))
    return DONE


async def search(gateway: Gateway, request: Request) -> Answer:
    """``runs/search``: experiments' runs, newest first, in pages that writes do not shift."""
    asked = requests_runs.parse_search_runs(request.body)
    after = _after(asked.page_token)
    if not asked.experiment_ids:
        return DONE
    rows = await gateway.fetch(
        reads.RUN_PROJECTIONS,
        reads.runs_page_query,
        asked.experiment_ids,
        _DELETED[asked.view_type],
        *after,
        asked.max_results + 1,
    )
    page = rows[: asked.max_results]
    body: dict[str, object] = {"runs": [render.run(row) for row in page]} if page else {}
    if len(rows) > len(page):
        last = page[-1]
        body["next_page_token"] = page_token([last["start_time"], last["run_id"]])
    return Answer(render.dump(body))


def _after(token: str | None) -> tuple[int | None, str | None]:
    match read_token(token) if token else [None, None]:
        case [None, None]:
            return None, None
        case [int(start_time), str(run_id)] if INT64_MIN <= start_time <= INT64_MAX:
            return start_time, run_id
    raise invalid("Invalid value for parameter 'page_token': it is not one that this endpoint gave.")
