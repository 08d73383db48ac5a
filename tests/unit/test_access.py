"""Whose token a request carries, and that a token that was removed is refused within a second."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from runstream_schemas.errors import RequestError, StartupError
from runstream_services.gateway.access import Tokens
from runstream_services.gateway.sender import Sender
from runstream_services.token_file import Token, add, hash_of, remove

ALICE, BOB = "a" * 43, "b" * 43


class Clock:
    """Seconds, as the test sets them."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Asked:
    """The tokens of alice and bob, and a clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        add(path, Token("alice", hash_of(ALICE.encode())))
        add(path, Token("bob", hash_of(BOB.encode())))
        self.clock = Clock()
        self.tokens = Tokens(path, self.clock)

    def sender(self, *values: str | bytes) -> Sender:
        headers = [(b"authorization", value if isinstance(value, bytes) else value.encode()) for value in values]
        scope: dict[str, Any] = {"headers": [(b"host", b"x"), *headers, (b"accept", b"*/*")]}
        return self.tokens.sender(scope)

    def refusal(self, *values: str | bytes) -> str:
        with pytest.raises(RequestError) as caught:
            self.sender(*values)
        assert (caught.value.code, caught.value.status) == ("UNAUTHENTICATED", 401)
        for way in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "token add"):
            assert way in caught.value.message
        return caught.value.message


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path / "tokens")


def basic(name: str | bytes, token: str) -> str:
    whole = (name if isinstance(name, bytes) else name.encode()) + b":" + token.encode()
    return "Basic " + base64.b64encode(whole).decode()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_a_bearer_is_known_by_its_token(asked: Asked, scheme: str) -> None:
    for _ in range(2):
        assert asked.sender(f"{scheme} {ALICE}") == Sender("alice")
        assert asked.sender(f"{scheme}   {BOB} ") == Sender("bob")


def test_basic_needs_the_tokens_own_name(asked: Asked) -> None:
    for scheme in ("Basic", "basic", "BASIC"):
        assert asked.sender(basic("alice", ALICE).replace("Basic", scheme)) == Sender("alice")
    for name in ("bob", "", "Alice", "alice ", b"\xff", "älice"):
        assert "has another name" in asked.refusal(basic(name, ALICE))


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "Bearer", "Bearer ", f"Bearer{ALICE}", ALICE, f"Bearer {ALICE[:-1]}", f"Bearer {ALICE}x",
        f"Bearer\t{ALICE}", f"Bearer {ALICE},{BOB}", f"Bearer {ALICE} {BOB}", f"Bearer {ALICE.upper()}",
        f"Bearer {hash_of(ALICE.encode()).hex()}", f"Digest {ALICE}", f"Token {ALICE}",
        "Basic", "Basic ", "Basic !!!", "Basic YQ", "Basic YWxpY2U=", basic("alice", ""), basic("", ""),
        f"Basic {ALICE}", basic("alice", ALICE) + "!",
        b"Bearer \xff\xfe", "Bearer ä", b"\xff", "Bearer " + "x" * 60_000, "Basic " + "YWFh" * 20_000,
    ],
)  # fmt: skip
def test_anything_else_is_refused(asked: Asked, value: str | bytes) -> None:
    for _ in range(2):
        asked.refusal(value)
    assert asked.sender(f"Bearer {ALICE}") == Sender("alice")


def test_a_header_of_1_024_bytes_is_looked_at_and_a_longer_one_is_not(asked: Asked) -> None:
    assert asked.sender(f"Bearer {ALICE:>1017}") == Sender("alice")
    assert "over 1024 bytes" in asked.refusal(f"Bearer {ALICE:>1018}")


def test_no_header_and_two_are_refused(asked: Asked) -> None:
    assert "without a token" in asked.refusal()
    assert "several" in asked.refusal(f"Bearer {ALICE}", f"Bearer {ALICE}")
    assert "several" in asked.refusal("Bearer x", f"Bearer {ALICE}")


def test_a_token_is_refused_a_second_after_it_was_removed_and_taken_a_second_after_it_was_added(asked: Asked) -> None:
    assert asked.sender(f"Bearer {ALICE}") == Sender("alice")
    remove(asked.path, "alice")
    add(asked.path, Token("carol", hash_of(b"c" * 43)))
    asked.clock.now_s += 0.5
    assert asked.sender(f"Bearer {ALICE}") == Sender("alice")
    asked.clock.now_s += 0.5
    asked.refusal(f"Bearer {ALICE}")
    assert asked.sender(f"Bearer {'c' * 43}") == Sender("carol")
    assert asked.sender(f"Bearer {BOB}") == Sender("bob")


def test_a_change_of_the_same_size_and_time_is_seen(asked: Asked) -> None:
    before = asked.path.stat()
    text = asked.path.read_text().replace("alice", "clark")
    asked.path.write_text(text)
    os.utime(asked.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    asked.clock.now_s += 1
    assert asked.sender(f"Bearer {ALICE}") == Sender("clark")


def test_when_the_last_token_is_removed_nobody_gets_in(asked: Asked) -> None:
    for name in ("alice", "bob"):
        remove(asked.path, name)
    asked.clock.now_s += 1
    asked.refusal(f"Bearer {ALICE}")


@pytest.mark.parametrize("how", ["gone", "a directory", "garbage", "everybody's"])
def test_a_file_that_breaks_changes_nothing_and_is_said_once(asked: Asked, how: str) -> None:
    whole = asked.path.read_bytes()
    if how in ("gone", "a directory"):
        asked.path.unlink()
    if how == "a directory":
        asked.path.mkdir()
    if how == "garbage":
        asked.path.write_bytes(whole + b"half a li")
    if how == "everybody's":
        asked.path.chmod(0o666)
    with capture_logs() as said:
        for _ in range(3):
            asked.clock.now_s += 1
            assert asked.sender(f"Bearer {ALICE}") == Sender("alice")
            asked.refusal("Bearer other")
    assert [entry["log_level"] for entry in said] == ["error"]
    if how == "a directory":
        asked.path.rmdir()
    asked.path.write_bytes(b"".join(line for line in whole.splitlines(keepends=True) if b"alice" not in line))
    asked.path.chmod(0o600)
    asked.clock.now_s += 1
    asked.refusal(f"Bearer {ALICE}")
    assert asked.sender(f"Bearer {BOB}") == Sender("bob")


def test_what_is_remembered_is_bounded_and_only_what_is_right(asked: Asked) -> None:
    for number in range(1_200):
        asked.refusal(f"Bearer {number}")
        assert asked.sender(f"Bearer {ALICE}" + " " * (number % 900)) == Sender("alice")
        assert asked.sender("Bearer" + " " * (1 + number % 900) + BOB) == Sender("bob")
    assert len(asked.tokens._remembered) <= 1_000


def test_a_file_without_tokens_is_refused_at_the_start(asked: Asked, tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        remove(asked.path, name)
    with pytest.raises(StartupError, match=r"no token in .*runstream token add NAME"):
        Tokens(asked.path, Clock())
    with pytest.raises(StartupError, match="cannot read the tokens"):
        Tokens(tmp_path / "none", Clock())
