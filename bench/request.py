"""What is sent: HTTP requests with slots, filled by wrk/request.lua and, to know what must be stored, here.

A slot is a run of one control character: :data:`NONCE`, :data:`TIMESTAMP`, :data:`NUMBER`. Filling never changes a
request's length, so ``Content-Length`` is a constant of the template.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

NONCE: Final = "\x01" * 10
TIMESTAMP: Final = "\x02" * 13
NUMBER: Final = "\x03" * 7

#: Numbers have seven digits, so that no slot changes its width and JSON has no leading zero.
FIRST_NUMBER: Final = 1_000_000
FIRST_MS: Final = 1_700_000_000_000


def nonce(number: int) -> str:
    """Ten digits that no other request number below 9,800,000 has; the same formula is in wrk/request.lua."""
    low = number * 61803 % 100_000
    high = (number * 31415 + number // 100_000 * 1009) % 100_000
    return f"{high:05d}{low:05d}"


@dataclass(frozen=True)
class MetricLiteral:
    """One metric's value literal: three digits of the key, ten of the request, four of the key: 17 significant ones."""

    prefix: str
    suffix: str

    def text(self, digits: str) -> str:
        """The literal with ``digits`` (a nonce, or the slot for one) in it."""
        return f"0.{self.prefix}{digits}{self.suffix}"


def metric_literal(index: int) -> MetricLiteral:
    """The literal of ``metric_<index>``; first and last digit are never 0, so all 17 digits count."""
    return MetricLiteral(str(100 + index * 7919 % 900), str(1000 + index * 4801 % 9000 | 1))


def metric_key(index: int) -> str:
    """The key of the metric number ``index``."""
    return f"metric_{index}"


def metric_value(index: int, number: int) -> float:
    """The double that request ``number`` sends for ``metric_<index>``."""
    return float(metric_literal(index).text(nonce(number)))


def metrics_body(run_id: str, count: int, key: Callable[[int], str] = metric_key) -> str:
    """A log-batch body of ``count`` metrics, each at the request's step and timestamp."""
    items = ",".join(
        f'{{"key":"{key(i)}","value":{metric_literal(i).text(NONCE)},"timestamp":{TIMESTAMP},"step":{NUMBER}}}'
        for i in range(count)
    )
    return f'{{"run_id":"{run_id}","metrics":[{items}]}}'


def param_key(number: int | str, index: int) -> str:
    """The key of param ``index`` in request ``number``: new in every request (one thread, hence p0)."""
    return f"p0-{number}-{index}"


def param_value(digits: str, index: int) -> str:
    """The value of param ``index`` in the request with the nonce ``digits``."""
    return f"value-{index}-{digits}"


def new_params_body(run_id: str, count: int) -> str:
    """A log-batch body of ``count`` params that the run does not have."""
    items = ",".join(f'{{"key":"{param_key(NUMBER, i)}","value":"{param_value(NONCE, i)}"}}' for i in range(count))
    return f'{{"run_id":"{run_id}","params":[{items}]}}'


def equal_params(count: int) -> dict[str, str]:
    """The params that are sent again and again with equal values."""
    return {f"param_{i}": f"value-{i}-{nonce(FIRST_NUMBER + i)}" for i in range(count)}


def equal_params_body(run_id: str, count: int) -> str:
    """A log-batch body of ``count`` params that is the same every time."""
    items = ",".join(f'{{"key":"{key}","value":"{value}"}}' for key, value in equal_params(count).items())
    return f'{{"run_id":"{run_id}","params":[{items}]}}'


def create_run_body(experiment_id: str) -> str:
    """A runs/create body with a name of its own in each request."""
    return f'{{"experiment_id":"{experiment_id}","start_time":{TIMESTAMP},"run_name":"run-{NUMBER}","tags":[]}}'


def post(host: str, path: str, body: str) -> bytes:
    """The whole HTTP request that carries ``body``."""
    content = body.encode()
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + content


def fill(template: str, number: int) -> str:
    """The template as wrk sends it in request ``number``."""
    return (
        template.replace(NONCE, nonce(number))
        .replace(TIMESTAMP, f"{FIRST_MS + number:013d}")
        .replace(NUMBER, f"{number:07d}")
    )
