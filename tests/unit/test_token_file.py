"""The file of named tokens: what is read from it, what is refused, and that a change keeps what others changed."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_schemas.errors import StartupError
from runstream_services.token_file import NAME, Token, add, hash_of, load, parse, remove

PATH = Path("tokens")
ALICE = Token("alice", hash_of(b"secret"), "2026-01-01T00:00:00+00:00")


def test_a_line_is_a_name_a_hash_and_when_it_was_made() -> None:
    line = f"alice {hash_of(b'secret').hex()} 2026-01-01T00:00:00+00:00"
    bare = f"\tbob\t{hash_of(b'other').hex()}  # of the night job"
    text = f"# a comment\n\n{line}\r\n{bare}\n"
    assert parse(text.encode(), PATH) == [ALICE, Token("bob", hash_of(b"other"))]


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        "alice secret",
        f"alice {'0' * 63}",
        f"alice {'0' * 65}",
        f"alice {'A' * 64}",
        f"al:ice {'0' * 64}",
        f"-alice {'0' * 64}",
        f"{'a' * 101} {'0' * 64}",
        f"älice {'0' * 64}",
        f"alice {'0' * 64} 2026 2027",
        "\x00",
    ],
)
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(StartupError, match="tokens is not a file of tokens: line 2"):
        parse(f"# first\n{line}\n".encode(), PATH)


def test_two_tokens_of_one_name_are_refused() -> None:
    line = f"alice {'0' * 64}\n"
    with pytest.raises(StartupError, match="line 2 is a second token named alice"):
        parse((line * 2).encode(), PATH)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.from_regex(NAME, fullmatch=True).filter(str.isascii), unique=True, max_size=8), st.data())
def test_what_was_added_and_not_removed_is_there(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    added = [add(path, Token(name, hash_of(name.encode()), "2026")) for name in names]
    assert added == [True, *[False] * (len(names) - 1)][: len(names)]
    gone = data.draw(st.sets(st.sampled_from(names))) if names else set()
    for name in gone:
        remove(path, name)
    left = [Token(name, hash_of(name.encode()), "2026") for name in names if name not in gone]
    assert (load(path) if names else []) == left


def test_a_file_is_for_its_owner_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    add(path, ALICE)
    path.chmod(0o644)
    add(path, Token("bob", hash_of(b"b")))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokens"]
    assert b"secret" not in path.read_bytes()


def test_a_name_that_is_taken_or_not_there_is_said_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    add(path, ALICE)
    before = path.read_bytes()
    with pytest.raises(StartupError, match=r"token named alice already.*runstream token remove alice"):
        add(path, Token("alice", hash_of(b"another")))
    with pytest.raises(StartupError, match="no token named bob"):
        remove(path, "bob")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokens"]


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    tokens = [Token(f"t{number}", hash_of(bytes([number]))) for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda token: add(path, token), tokens))
    assert sorted(load(path)) == sorted(tokens)


def test_a_link_is_followed_and_kept(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    link = tmp_path / "tokens"
    link.symlink_to(tmp_path / "secrets" / "tokens")
    add(link, ALICE)
    assert link.is_symlink()
    assert load(tmp_path / "secrets" / "tokens") == [ALICE]


@pytest.mark.parametrize("mode", [0o602, 0o666])
def test_a_file_that_everybody_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "tokens"
    add(path, ALICE)
    path.chmod(mode)
    with pytest.raises(StartupError, match=f"chmod 600 {path}"):
        load(path)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No such file"):
        load(tmp_path / "none")
    with pytest.raises(StartupError, match="is not a regular file"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StartupError, match="is not a regular file"):
        load(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(StartupError, match="over 1048576 bytes"):
        load(tmp_path / "large")
    with pytest.raises(StartupError, match=r"cannot use the directory .*/none: No such file"):
        add(tmp_path / "none" / "tokens", ALICE)
