"""HTTP at the edge: reads a bounded body, calls the endpoint, writes the answer or the error in MLflow's shape.

Every MLflow path is exact, so that finding an endpoint is one look into a dictionary; what is left, the probes and
unknown paths, goes through Starlette's router. The web framework's layers would take 40 % of a small log call's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

import orjson
import structlog
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from runstream_schemas.errors import RequestError, RunstreamError, Transient, Unavailable, invalid
from runstream_services.gateway.access import Access
from runstream_services.gateway.sender import ANYONE, Sender
from runstream_services.gateway.service import Gateway

log = structlog.get_logger()

#: The largest body; 800 metrics, 100 params and 100 tags at their greatest lengths fit in UTF-8, not in ASCII escapes.
MAX_BODY_BYTES: Final = 16 << 20

#: Of bodies that are larger than this, so many bytes are kept at once: many senders cannot fill the memory with them.
SMALL_BODY_BYTES: Final = 1 << 20
LARGE_BODIES_BYTES: Final = 64 << 20

#: A body may take this long to arrive, and a second more for each MiB.
BODY_S: Final = 20.0

#: How much of a body that is too large is read and thrown away, so that its sender gets to read the answer.
MAX_DRAINED_BYTES: Final = 1 << 30
DRAIN_S: Final = 30.0

#: MLflow's client tries seven times and sleeps as long as it is told: this is a minute of patience and more, where a
#: second would give up a training job after eight.
RETRY_AFTER_S: Final = b"10"

JSON: Final = b"application/json"

#: What a 401 says can be sent: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
CHALLENGES: Final = (
    (b"www-authenticate", b'Bearer realm="runstream"'),
    (b"www-authenticate", b'Basic realm="runstream", charset="UTF-8"'),
)

#: Where a request's ASGI scope holds its :class:`Sender`.
SENDER: Final = "runstream.sender"


class Answer(NamedTuple):
    """What an endpoint answers; ``rest`` are further parts of a body that is too long to be held whole."""

    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    status: int = 200
    content_type: bytes = JSON
    rest: AsyncIterator[bytes] | None = None


class Request(NamedTuple):
    """What an endpoint gets: a POST's raw body or a GET's query, who sends it, and the headers, in lower case."""

    body: bytes
    query: list[tuple[str, str]]
    sender: Sender = ANYONE
    headers: Sequence[tuple[bytes, bytes]] = ()


Handler = Callable[[Gateway, Request], Awaitable[Answer]]


class Room:
    """Memory that large bodies share: each takes its part as it arrives, and gives it back when it is answered."""

    def __init__(self, free_bytes: int = LARGE_BODIES_BYTES) -> None:
        self.free_bytes = free_bytes

    def take(self, size: int) -> None:
        """Raise :class:`Unavailable` where there is no room left."""
        if size > self.free_bytes:
            raise Unavailable(f"{LARGE_BODIES_BYTES} bytes of large request bodies are being handled already")
        self.free_bytes -= size


class Endpoint:
    """One handler behind one path, as an ASGI application."""

    def __init__(self, gateway: Gateway, handlers: dict[str, Handler], room: Room) -> None:
        self._gateway = gateway
        self._room = room
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, sent by the ``scope``'s :data:`SENDER`."""
        try:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            handler = self._handlers.get(method)
            if handler is None:
                answer = self._not_allowed(scope)
            elif method == "POST":
                answer = await self._post(handler, scope, receive)
            else:
                query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=1_000)
                answer = await handler(self._gateway, Request(b"", query, scope[SENDER], scope["headers"]))
        except asyncio.CancelledError:
            # Requests are cancelled by a server that stops and has waited for them; uvicorn would answer a bare 500.
            answer = _of_error(Unavailable("the server is stopping; what was sent may still take effect"), scope)
        except Exception as error:
            answer = _of_error(error, scope)
        try:
            await _send(send, answer, self._gateway.answers)
        except Transient as error:
            # The status is sent. The connection is cut before the answer's end, which no client takes for it.
            log.warning("an answer broke off", path=scope["path"], reason=str(error))

    def _not_allowed(self, scope: Scope) -> Answer:
        allowed = ", ".join(sorted(self._handlers))
        error = RequestError("BAD_REQUEST", f"{scope['method']} is not allowed here: {allowed} is", status=405)
        return _of_error(error, scope)._replace(headers=((b"allow", allowed.encode()),))

    async def _post(self, handler: Handler, scope: Scope, receive: Receive) -> Answer:
        size, key = _declared(scope["headers"])
        if size > MAX_BODY_BYTES:
            await _drain(receive, {"type": "http.request", "more_body": True})
            _check_size(size)
        if size <= SMALL_BODY_BYTES:
            return await handler(self._gateway, _request(await _body(receive, size, lambda more: None), scope, key))
        taken = 0

        def take(more: int) -> None:
            nonlocal taken
            self._room.take(more)
            taken += more

        try:
            return await handler(self._gateway, _request(await _body(receive, size, take), scope, key))
        finally:
            self._room.free_bytes += taken


def _request(body: bytes, scope: Scope, key: bytes | None) -> Request:
    sender: Sender = scope[SENDER]
    sender = sender if key is None else sender.with_key(key, scope["path"], body)
    return Request(body, [], sender, scope["headers"])


def _declared(headers: list[tuple[bytes, bytes]]) -> tuple[int, bytes | None]:
    """Refuse what is not JSON, as stock does; return the body's declared size and the call's ``Idempotency-Key``.

    The size is the largest where none is declared.
    """
    content_type, size, key = b"", MAX_BODY_BYTES, None
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            size = int(value)
        elif name == b"idempotency-key":
            if key is not None:
                raise invalid("The request has several Idempotency-Key headers.")
            key = value
        elif name == b"content-encoding" and value.lower() != b"identity":
            message = f"Content-Encoding {value[:250].decode('latin-1')} is not supported"
            raise RequestError("INVALID_PARAMETER_VALUE", message, status=415)
        elif name == b"transfer-encoding" and value.lower() != b"chunked":  # the parser undoes the chunks, nothing else
            message = f"Transfer-Encoding {value[:250].decode('latin-1')} is not supported, only chunked is"
            raise RequestError("INVALID_PARAMETER_VALUE", message, status=415)
    if content_type.partition(b";")[0].strip().lower() != JSON:
        shown = content_type.decode("latin-1") or "none"
        raise invalid(f"Bad Request. Content-Type should be 'application/json', got '{shown}'.")
    return size, key


async def _body(receive: Receive, declared: int, take: Callable[[int], None]) -> bytes:
    """The whole body; ``take`` is called with the size of each part before the next is waited for."""
    message = await _next_part(receive)
    body: bytes = message.get("body", b"")
    take(len(body))
    if not message.get("more_body"):
        _check_size(len(body))
        return body
    limit_s = BODY_S + declared / (1 << 20)
    try:
        async with asyncio.timeout(limit_s):
            return await _whole(receive, body, take)
    except TimeoutError:
        raise invalid(f"The request body did not arrive within {limit_s:.0f} s.") from None


async def _whole(receive: Receive, first: bytes, take: Callable[[int], None]) -> bytes:
    parts, size = [first], len(first)
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await _next_part(receive)
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            parts.clear()
            await _drain(receive, message)
            _check_size(size)
        take(len(part))
        parts.append(part)
    return b"".join(parts)


async def _next_part(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":  # even as the first: what was sent of the body is lost then
        raise invalid("The request ended before its body did.")
    return message


def _check_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        message = f"The request body is over {MAX_BODY_BYTES} bytes: send it in several calls."
        raise RequestError("INVALID_PARAMETER_VALUE", message, status=413)


async def _drain(receive: Receive, message: Message) -> None:
    drained = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            while message.get("more_body") and drained < MAX_DRAINED_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))
    except TimeoutError:
        return


def _of_error(error: Exception, scope: Scope) -> Answer:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, RequestError):
        code, message, status = error.code, error.message, error.status
        headers = CHALLENGES if status == 401 else ()
    elif isinstance(error, ValueError) and "fields exceeded" in str(error):
        code, message, status = "INVALID_PARAMETER_VALUE", "The query has over 1,000 fields.", 400
    elif isinstance(error, Transient):
        code, message, status = "TEMPORARILY_UNAVAILABLE", str(error), 503
        headers = ((b"retry-after", RETRY_AFTER_S),)
    else:
        log.error("a request failed", path=scope["path"], exc_info=error)
        name = type(error).__name__ if isinstance(error, RunstreamError) else "an unexpected error"
        code, message, status = "INTERNAL_ERROR", f"{name}; the server's log says more", 500
    return Answer(orjson.dumps({"error_code": code, "message": message}), headers, status)


async def _send(send: Send, answer: Answer, answers: list[int]) -> None:
    answers[answer.status // 100] += 1
    headers = [
        (b"content-type", answer.content_type),
        (b"x-content-type-options", b"nosniff"),
        *answer.headers,
    ]
    if answer.rest is None:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": answer.rest is not None})
    if answer.rest is not None:
        async for part in answer.rest:  # each waits until the client has read most of those before
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Front:
    """The server's ASGI application: MLflow's exact paths first, then Starlette's router.

    In front of both stands ``access``, for every path, known or not, that is not one of the ``open`` ones.
    """

    def __init__(
        self,
        access: Access,
        exact: dict[str, Endpoint],
        others: dict[str, Endpoint],
        open_paths: Collection[str],
        answers: list[int],
    ) -> None:
        self._access = access
        self._exact = exact
        self._answers = answers
        self._open = frozenset(open_paths)
        # The endpoints know their methods: any reaches them, and a wrong one gets MLflow's JSON.
        self._router = Router(
            [Route(path, endpoint) for path, endpoint in others.items()],
            redirect_slashes=False,
            default=self._not_found,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Dispatch one request."""
        path = scope["path"]
        try:
            scope[SENDER] = ANYONE if path in self._open else self._access.sender(scope)
        except RequestError as error:
            await _send(send, _of_error(error, scope), self._answers)
            return
        await self._exact.get(path, self._router)(scope, receive, send)

    async def _not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        shown = f"{scope['method'][:20]} {scope['path'][:250]}"
        message = f"This release has no endpoint {shown}: artifacts, models and traces come with later ones"
        await _send(send, _of_error(RequestError("ENDPOINT_NOT_FOUND", message), scope), self._answers)
