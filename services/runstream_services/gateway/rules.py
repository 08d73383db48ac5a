"""MLflow's limits and value rules, with stock's wording (mlflow.utils.validation and server.handlers, 3.17).

Lengths are in characters. Every refusal is a 400 that names the field; ``path`` is that field's name, for example
``metrics[3].name``. Stock calls a metric's key its name.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence, Sized
from typing import Final
from urllib.parse import unquote, urlparse, urlunparse

from runstream_schemas.errors import RequestError, invalid
from runstream_schemas.events import RUN_STATUSES as STATUS_NAMES
from runstream_services.gateway.fields import INT64_MAX, INT64_MIN, refused, shown

MAX_METRICS: Final = 1000
MAX_PARAMS: Final = 100
MAX_TAGS: Final = 100
MAX_ENTITIES: Final = 1000
#: Tags of a run or experiment at its creation: MLflow's autologging may send as many; stock has no limit there.
MAX_FIRST_TAGS: Final = 1000
MAX_KEY: Final = 250
MAX_RUN_ID: Final = 256
MAX_PARAM_VALUE: Final = 6000
MAX_TAG_VALUE: Final = 8000
MAX_EXPERIMENT_TAG_VALUE: Final = 20_000
MAX_EXPERIMENT_NAME: Final = 500
MAX_ARTIFACT_LOCATION: Final = 2048
MAX_CUSTOM_VIEWS: Final = 50
MAX_SEARCH_RESULTS: Final = 50_000
#: Widths of stock's columns for what its handlers do not limit.
MAX_USER_ID: Final = 256
MAX_MODEL_ID: Final = 36
MAX_DATASET_NAME: Final = 500
MAX_DATASET_DIGEST: Final = 36
#: Of a dataset that is logged as an input; the type's is the width of stock's column.
DATASET_LIMITS: Final = {
    "name": MAX_DATASET_NAME,
    "digest": MAX_DATASET_DIGEST,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
    "source_type": 36,
}
MAX_INPUT_TAG_KEY: Final = 255
MAX_INPUT_TAG_VALUE: Final = 500
MAX_DATASET_EXPERIMENTS: Final = 20
MAX_DATASET_SUMMARIES: Final = 1000

CUSTOM_VIEW_PREFIX: Final = "mlflow.customView.view"
RUN_NAME_TAG: Final = "mlflow.runName"

#: MLflow's enums: names and protobuf's numbers.
RUN_STATUSES: Final = {name: number for number, name in enumerate(STATUS_NAMES, start=1)}
VIEW_TYPES: Final = {"ACTIVE_ONLY": 1, "DELETED_ONLY": 2, "ALL": 3}

#: Schemes whose location makes the server connect to the host that it names (stock's GHSA-mr9f-g8qf-4w4j).
HOST_SCHEMES: Final = frozenset(
    {"ftp", "sftp", "hdfs", "viewfs", "http", "https", "mlflow-artifacts", "r2", "b2", "abfss"}
)

_KEY_CHARACTERS: Final = re.compile(r"[/\w.\- :]*\n?")  # stock's `$` lets one line feed slip through at the end
_RUN_ID: Final = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_EXPERIMENT_ID: Final = re.compile(r"[+-]?[0-9]{1,100}")
_URL_DECODINGS: Final = 10
#: A memo, so that a key that is logged again and again is looked at once: at most 20 MB, usually 1.5 MB.
_MEMO_KEYS: Final = 20_000
_good_keys: set[str] = set()


def key_fault(key: str) -> str | None:
    """Why ``key`` cannot name a metric, param or tag, its length aside; None where it can."""
    if not _KEY_CHARACTERS.fullmatch(key):
        return (
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) "
            "and slashes (/)."
        )
    if key and key[0] != "." and "/" not in key:
        return None  # most keys, spared the look at their path
    normal = posixpath.normpath(key)
    if normal != key or normal == "." or normal.startswith(("..", "/")):
        return (
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. "
            f"This name would resolve to {normal[:MAX_KEY]!r}"
        )
    return None


def keys_are_good(keys: set[str]) -> bool:
    """Tell whether each key may name a metric, param or tag and is short enough."""
    if keys <= _good_keys:
        return True
    new = keys - _good_keys
    if any(len(key) > MAX_KEY or key_fault(key) for key in new):
        return False
    if len(_good_keys) + len(new) > _MEMO_KEYS:
        _good_keys.clear()
    _good_keys.update(new)
    return True


def check_key(key: str, path: str) -> None:
    """Refuse a key that cannot name a metric, param or tag, its length aside."""
    fault = None if key in _good_keys else key_fault(key)
    if fault is not None:
        raise refused(path, key, fault)


def check_length(value: str, limit: int, path: str, *, called: str | None = None) -> None:
    """Refuse a string of more than ``limit`` characters; ``called`` is what stock calls it, where not ``path``."""
    if len(value) > limit:
        where = "" if called is None else f" ({path})"
        raise invalid(f"'{called or path}' exceeds the maximum length of {limit} characters{where}")


def check_metric(key: str, value: float, timestamp: int, path: str = "") -> None:
    """Refuse a metric point that breaks a rule. ``path`` is the point's, empty in a call that logs one point only."""
    name = f"{path}.name" if path else "name"
    check_key(key, name)
    if timestamp < 0:
        where = f"{path}.timestamp" if path else "timestamp"
        why = f"metric '{key[:MAX_KEY]}' (value={value}). Timestamp must be a nonnegative long (64-bit integer) "
        raise refused(where, timestamp, why)
    check_length(key, MAX_KEY, name, called="Metric name")


def check_dataset(dataset_name: str | None, dataset_digest: str | None, path: str = "") -> None:
    """Refuse a metric point that names a dataset without its digest, or the other way round."""
    if bool(dataset_name) != bool(dataset_digest):
        where = f" ({path})" if path else ""
        raise invalid(f"Both dataset_name and dataset_digest must be provided if one is provided{where}")


def check_origin(model_id: str | None, dataset_name: str | None, dataset_digest: str | None, path: str = "") -> None:
    """Refuse a metric point whose model id, dataset name or digest is longer than stock's columns for them."""
    dot = f"{path}." if path else ""
    check_length(model_id or "", MAX_MODEL_ID, f"{dot}model_id")
    check_length(dataset_name or "", MAX_DATASET_NAME, f"{dot}dataset_name")
    check_length(dataset_digest or "", MAX_DATASET_DIGEST, f"{dot}dataset_digest")


def check_param_key(key: str, path: str) -> None:
    """Refuse a key that a param cannot have."""
    check_key(key, path)
    check_length(key, MAX_KEY, path, called="Param key")


def check_tag_key(key: str, path: str) -> None:
    """Refuse a key that a tag cannot have."""
    check_key(key, path)
    check_length(key, MAX_KEY, path)


def check_experiment_tag(key: str, value: str, key_path: str = "key", value_path: str = "value") -> None:
    """Refuse a tag that an experiment cannot have; unlike a run's, a long value is not cut."""
    check_tag_key(key, key_path)
    check_length(value, MAX_EXPERIMENT_TAG_VALUE, value_path)


def cut_values(pairs: list[tuple[str, str]], limit: int) -> tuple[list[tuple[str, str]], int]:
    """``pairs`` with each value cut to ``limit`` characters, as stock does by default, and how many were cut."""
    long = sum(len(value) > limit for _, value in pairs)
    return ([(key, value[:limit]) for key, value in pairs], long) if long else (pairs, 0)


def check_batch_limits(metrics: int, params: int, tags: int) -> None:
    """Refuse a log-batch with more entries than one call may have."""
    for entries, limit, called in (
        (metrics, MAX_METRICS, "metrics"),
        (params, MAX_PARAMS, "params"),
        (tags, MAX_TAGS, "tags"),
        (metrics + params + tags, MAX_ENTITIES, "metrics, params, and tags"),
    ):
        if entries > limit:
            raise invalid(
                f"A batch logging request can contain at most {limit} {called}. Got {entries} {called}. "
                f"Please split up {called} across multiple requests and try again."
            )


def check_first_tags(tags: Sized) -> None:
    """Refuse more tags than a run or experiment may be created with."""
    if len(tags) > MAX_FIRST_TAGS:
        raise invalid(
            f"'tags' can hold at most {MAX_FIRST_TAGS} tags here, got {len(tags)}: set the others afterwards."
        )


def check_params_unique(keys: Sequence[str]) -> None:
    """Refuse a call that gives one param key twice, even with equal values."""
    seen: set[str] = set()
    again = []
    for key in keys:
        if key in seen:
            again.append(key)
        seen.add(key)
    if again:
        raise invalid(
            f"Duplicate parameter keys have been submitted: {again}. Please ensure the request contains only one param "
            "value per param key."
        )


def is_run_id(run_id: str) -> bool:
    """Tell whether ``run_id`` has the form that log-batch asks of it; elsewhere stock just finds no such run."""
    return _RUN_ID.fullmatch(run_id) is not None


def check_run_id(run_id: str) -> None:
    """Refuse a run id of another form (:func:`is_run_id`)."""
    if not is_run_id(run_id):
        raise refused("run_id", run_id, "A run id is letters, digits, underscores and dashes, at most 256.")


def experiment_id(value: str, path: str = "experiment_id") -> int:
    """The number that an experiment id stands for."""
    if _EXPERIMENT_ID.fullmatch(value):
        number = int(value)
        if INT64_MIN <= number <= INT64_MAX:
            return number
    raise invalid(f"Invalid experiment ID {shown(value)}. Experiment ID must be a valid integer of 64 bits ({path}).")


def check_experiment_name(name: str, path: str = "name") -> None:
    """Refuse an experiment name that is too long."""
    check_length(name, MAX_EXPERIMENT_NAME, path)


def check_custom_views(keys: Iterable[str]) -> None:
    """Refuse more tags that are custom views of an experiment than it may have."""
    if sum(key.startswith(CUSTOM_VIEW_PREFIX) for key in keys) > MAX_CUSTOM_VIEWS:
        raise invalid(
            "Unable to create another custom view; the maximum number of custom views per experiment is "
            f"{MAX_CUSTOM_VIEWS} (tags)."
        )


def check_artifact_location(location: str) -> None:
    """Refuse an artifact location that could not be stored, or would lead outside it or to another host."""
    path = "artifact_location"
    if len(location) > MAX_ARTIFACT_LOCATION:
        raise invalid(
            "Invalid artifact path length. The length of the artifact path cannot be greater than "
            f"{MAX_ARTIFACT_LOCATION} characters ({path})."
        )
    try:
        parsed = urlparse(location)
        query = _fully_unquoted(parsed.query)
    except ValueError as error:
        raise refused(path, location, f"not a URL or path: {error}.") from None
    if parsed.fragment or parsed.params:
        raise invalid(f"'{path}' URL can't include fragments or params.")
    if ".." in query:
        raise invalid(f"Invalid query string in '{path}'.")
    if parsed.scheme in HOST_SCHEMES and (parsed.scheme != "mlflow-artifacts" or parsed.netloc):
        raise invalid(
            f"'{path}' cannot use the '{parsed.scheme}' scheme: it addresses a host other than the tracking server's "
            "configured artifact storage, so the server would connect to the host named in the URI."
        )
    if location.startswith("runs:"):
        raise refused(path, location, "Artifact location cannot be a runs:/ URI.")


def _fully_unquoted(query: str) -> str:
    """``query`` unquoted until it stays the same; ValueError where ten times are not enough."""
    for _ in range(_URL_DECODINGS):
        unquoted = urlunparse(urlparse(unquote(query)))
        if unquoted == query:
            return query
        query = unquoted
    raise ValueError("quoted too often")


def search_size(max_results: int) -> int:
    """``max_results`` of a search, where it is in range."""
    if page_size(max_results) > MAX_SEARCH_RESULTS:
        raise _bad_size(max_results, f"It must be at most {MAX_SEARCH_RESULTS}")
    return max_results


def page_size(max_results: int) -> int:
    """``max_results`` of any call, where it is positive."""
    if max_results < 1:
        raise _bad_size(max_results, "It must be a positive integer")
    return max_results


def _bad_size(max_results: int, why: str) -> RequestError:
    return invalid(f"Invalid value {max_results} for parameter 'max_results' supplied. {why}")
