"""Endpoints of runs."""

from __future__ import annotations

from runstream_projections import reads
from runstream_projections.suffixes import RUN_INFO_PROJECTIONS, RUN_PROJECTIONS
from runstream_schemas.errors import RequestError, Transient, invalid, missing
from runstream_schemas.events import RunCreated, RunDeleted, RunLogged, RunRestored, RunTagDeleted, RunUpdated
from runstream_schemas.ids import run_of, run_stream
from runstream_services.gateway import render, requests_log, requests_runs
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.positions import written
from runstream_services.gateway.requests_log import LogBatch
from runstream_services.gateway.run_names import run_name
from runstream_services.gateway.sender import Sender
from runstream_services.gateway.service import Emitted, Gateway


async def log_batch(gateway: Gateway, request: Request) -> Answer:
    """``runs/log-batch``: the hot path."""
    return await _log(gateway, requests_log.parse_log_batch(request.body), request.sender)


async def log_metric(gateway: Gateway, request: Request) -> Answer:
    """``runs/log-metric``."""
    return await _log(gateway, requests_log.parse_log_metric(request.body), request.sender)


async def log_parameter(gateway: Gateway, request: Request) -> Answer:
    """``runs/log-parameter``."""
    return await _log(gateway, requests_log.parse_log_parameter(request.body), request.sender)


async def set_tag(gateway: Gateway, request: Request) -> Answer:
    """``runs/set-tag``."""
    return await _log(gateway, requests_log.parse_set_tag(request.body), request.sender)


async def _log(gateway: Gateway, call: LogBatch, sender: Sender) -> Answer:
    event = RunLogged(metrics=call.series, params=dict(call.params), tags=call.tags)
    try:
        outcome = await gateway.write_run(call.run_id, event, sender, metrics_only=not call.params and not call.tags)
    except RequestError as error:
        raise await _with_logged_value(gateway, call, error) from error
    hidden_by = gateway.hidden_by(call.run_id)
    if hidden_by is not None:
        return written(outcome, headers=((b"x-runstream-not-visible", hidden_by.encode()),))
    return _said_truncated(gateway, call.truncated, outcome) if call.truncated else written(outcome)


def _said_truncated(gateway: Gateway, truncated: int, outcome: Emitted, body: bytes = render.EMPTY) -> Answer:
    """Over-long values are cut, as stock cuts them; unlike stock, the answer and a counter say so."""
    gateway.truncated += truncated
    return written(outcome, body, ((b"x-runstream-truncated-values", b"%d" % truncated),) if truncated else ())


async def _with_logged_value(gateway: Gateway, call: LogBatch, error: RequestError) -> RequestError:
    """Name the value that a param has: the decision knows only its hash."""
    if error.code != "INVALID_PARAMETER_VALUE" or not call.params:
        return error
    asked = dict(call.params)
    try:
        rows = await gateway.fetch(("runs",), reads.logged_params_query, call.run_id, list(asked))
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
    """``runs/create``: the run's id and name are chosen here, before the event, but for a call that repeats another."""
    asked = requests_runs.parse_create_run(request.body)
    now_ms = gateway.now_ms()
    claim = RunCreated(
        name=asked.run_name or run_name(gateway.randomness(6)),
        start_time=asked.start_time or now_ms,
        user_id=asked.user_id,
        experiment_id=asked.experiment_id,
        tags=asked.tags,
    )
    gateway.refuse_parked_experiments()
    location = await gateway.artifact_location(asked.experiment_id)
    outcome = await gateway.emit(run_stream(gateway.randomness(16).hex()), claim, request.sender)
    stream, event = outcome.stream, outcome.event
    assert isinstance(event, RunCreated)  # an earlier one has the same type
    tags = {**event.tags, "mlflow.runName": event.name}
    row = {
        "run_id": run_of(stream), "experiment_id": asked.experiment_id, "name": event.name, "user_id": event.user_id,
        "status": "RUNNING", "start_time": event.start_time, "end_time": None, "artifact_location": location,
        "deleted": False, "metric_keys": None, "param_keys": None, "param_values": None,
        "tag_keys": sorted(tags), "tag_values": [tags[key] for key in sorted(tags)],
        "inputs": "{}", "outputs": "{}",
    }  # fmt: skip
    body = render.run(row)
    del body["outputs"]  # as in stock, this answer alone has none
    return _said_truncated(gateway, asked.truncated, outcome, render.dump({"run": body}))


async def get(gateway: Gateway, request: Request) -> Answer:
    """``runs/get``: a run, active or deleted."""
    run_id = requests_runs.parse_get_run(request.query).run_id
    rows = await gateway.fetch(RUN_PROJECTIONS, reads.run_query, run_id)
    if not rows:
        raise missing(f"Run with id={run_id} not found")
    return Answer(b'{"run":' + rows[0][0].encode() + b"}")


async def update(gateway: Gateway, request: Request) -> Answer:
    """``runs/update``: status, end time, name."""
    asked = requests_runs.parse_update_run(request.body)
    event = RunUpdated(status=asked.status, end_time=asked.end_time, name=asked.run_name)
    outcome = await gateway.write_run(asked.run_id, event, request.sender)
    rows = await gateway.fetch(RUN_INFO_PROJECTIONS, reads.run_info_query, asked.run_id)
    return written(outcome, b'{"run_info":' + rows[0][0].encode() + b"}")


async def delete(gateway: Gateway, request: Request) -> Answer:
    """``runs/delete``; again is the same."""
    run_id = requests_runs.parse_delete_run(request.body).run_id
    return written(await gateway.write_run(run_id, RunDeleted(), request.sender))


async def restore(gateway: Gateway, request: Request) -> Answer:
    """``runs/restore``; again is the same."""
    run_id = requests_runs.parse_restore_run(request.body).run_id
    return written(await gateway.write_run(run_id, RunRestored(), request.sender))


async def delete_tag(gateway: Gateway, request: Request) -> Answer:
    """``runs/delete-tag``."""
    asked = requests_runs.parse_delete_tag(request.body)
    return written(await gateway.write_run(asked.run_id, RunTagDeleted(key=asked.key), request.sender))
