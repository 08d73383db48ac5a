"""The one error tree.

::

    RunstreamError
    ├── Transient                 the same call may succeed later: retry with back-off
    │   └── Unavailable           PostgreSQL or the bus is away, or a deadline passed
    ├── Conflict                  somebody else moved what this process believed it owned: read again
    │   ├── HeadMoved             another writer appended first
    │   ├── OriginMoved           the origin's next offset is not the one expected (zombie or redelivery)
    │   └── CheckpointMoved       another owner has the projection
    ├── InvalidEvent              poison: dead-letter it, with position or origin and reason
    │   ├── Undecodable           not an envelope, or not valid Unicode for PostgreSQL
    │   └── UnknownEventType      a newer writer's event; skipped live, refused by a rebuild
    ├── LogCorrupt                the log does not hash to its chain; names the position
    ├── StartupError              the process cannot start as asked; says what to change
    └── RequestError              the client's mistake, answered as MLflow answers it

Every message says what happened, where (position, run, key), and what to do about it.
"""

from __future__ import annotations

from typing import Final


class RunstreamError(Exception):
    """Root of every error that Runstream raises on purpose."""


class Transient(RunstreamError):
    """The same call may succeed later; nothing is known to be wrong with it."""


class Unavailable(Transient):
    """PostgreSQL or the bus did not answer in time; what was sent may still take effect."""


class Conflict(RunstreamError):
    """Another process changed what this one believed it owned; read it again before going on."""


class HeadMoved(Conflict):
    """Another log writer appended since the head was read."""


class OriginMoved(Conflict):
    """The origin's next offset in the log is not the expected one: a redelivery or a zombie writer."""


class CheckpointMoved(Conflict):
    """The projection's checkpoint or lease is not the one this process held."""


class InvalidEvent(RunstreamError):
    """An event that can never be applied; carries why."""


class Undecodable(InvalidEvent):
    """Bytes that are not an event envelope of a known version."""


class UnknownEventType(InvalidEvent):
    """An event type or version that this release does not know."""


class LogCorrupt(RunstreamError):
    """A stored event does not match its hash or its neighbours; ``position`` says which."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class StartupError(RunstreamError):
    """The process cannot start as asked."""


#: MLflow's error codes that Runstream answers with, and their HTTP status (mlflow.exceptions, 3.17).
STATUS_BY_CODE: Final[dict[str, int]] = {
    "BAD_REQUEST": 400,
    "INVALID_PARAMETER_VALUE": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_CONFLICT": 409,
    "INTERNAL_ERROR": 500,
    "TEMPORARILY_UNAVAILABLE": 503,
}


class RequestError(RunstreamError):
    """A request that is answered with an error in MLflow's JSON shape.

    ``code`` is one of :data:`STATUS_BY_CODE`; ``status`` replaces the code's own HTTP status where HTTP has a more
    exact one (405, 413, 415). A permanent error is never a 5xx: the MLflow client retries those for four minutes.
    """

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status if status is not None else STATUS_BY_CODE[code]


def invalid(message: str) -> RequestError:
    """The commonest answer to bad input: 400 INVALID_PARAMETER_VALUE."""
    return RequestError("INVALID_PARAMETER_VALUE", message)


def missing(message: str) -> RequestError:
    """404 RESOURCE_DOES_NOT_EXIST, which the MLflow client reads as "there is none"."""
    return RequestError("RESOURCE_DOES_NOT_EXIST", message)
