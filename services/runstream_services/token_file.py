"""The file of named tokens: one a line, as ``NAME SHA256 MADE``; what is behind a ``#`` is a comment.

A token is 32 random bytes, so that one round of SHA-256 hides it for good. The file holds no secret, but whoever can
write to it can let others in.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG, S_IWOTH
from typing import Final, NamedTuple

from runstream_schemas.errors import StartupError

#: Its name in a data directory.
FILE_NAME: Final = "tokens"

#: The largest file that is read: ten thousand tokens.
MAX_FILE_BYTES: Final = 1 << 20

#: What a token may be called: Basic authentication ends a name at its colon.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")

_LINE: Final = re.compile(rf"(?P<name>{NAME.pattern})[ \t]+(?P<sha256>[0-9a-f]{{64}})(?:[ \t]+(?P<made>\S+))?")


class Token(NamedTuple):
    """A token that is taken: its name, its SHA-256, and when it was made (ISO 8601)."""

    name: str
    sha256: bytes
    made: str = ""


def hash_of(token: bytes) -> bytes:
    """What stands in the file for a token."""
    return sha256(token).digest()


def is_there(path: Path) -> bool:
    """Whether there is a file, be it a link to nowhere. Raises :class:`StartupError` where that cannot be told."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StartupError(f"cannot look for tokens in {path}: {error.strerror or error}") from error
    return True


def parse(data: bytes, path: Path) -> list[Token]:
    """The tokens in a file's text. Raises :class:`StartupError`, which names the file and the line, for others."""
    tokens: dict[str, Token] = {}
    for number, line in enumerate(data.decode("ascii", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        found = _LINE.fullmatch(text)
        if found is None:
            raise StartupError(f"{path} is not a file of tokens: line {number} is not NAME SHA256 MADE")
        if found["name"] in tokens:
            raise StartupError(f"{path}: line {number} is a second token named {found['name']}")
        tokens[found["name"]] = Token(found["name"], bytes.fromhex(found["sha256"]), found["made"] or "")
    return list(tokens.values())


def read(path: Path) -> bytes:
    """The file's text. Raises :class:`StartupError` where it cannot be read, or anybody may write to it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would keep the server waiting
        try:
            mode, data = os.fstat(descriptor).st_mode, b""
            if S_ISREG(mode):
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StartupError(f"cannot read the tokens in {path}: {error.strerror or error}") from error
    if not S_ISREG(mode):
        raise StartupError(f"cannot read the tokens in {path}: it is not a regular file, which can be read again")
    if mode & S_IWOTH:
        raise StartupError(f"everybody can write to {path}, and so let everybody in: `chmod 600 {path}`")
    if len(data) > MAX_FILE_BYTES:
        raise StartupError(f"{path} is over {MAX_FILE_BYTES} bytes: it is not a file of tokens")
    return data


def load(path: Path) -> list[Token]:
    """The tokens in a file. Raises :class:`StartupError` where that is not possible."""
    return parse(read(path), path)


def add(path: Path, token: Token) -> bool:
    """Add a token durably; True where the file is new. Raises :class:`StartupError` where its name is taken."""

    def change(tokens: Sequence[Token]) -> list[Token]:
        if any(other.name == token.name for other in tokens):
            raise StartupError(
                f"there is a token named {token.name} already: choose another name, or "
                f"`runstream token remove {token.name}` first"
            )
        return [*tokens, token]

    return _change(path, change)


def remove(path: Path, name: str) -> None:
    """Remove a token durably. Raises :class:`StartupError` where there is none of that name."""

    def change(tokens: Sequence[Token]) -> list[Token]:
        left = [token for token in tokens if token.name != name]
        if len(left) == len(tokens):
            raise StartupError(f"there is no token named {name} in {path}: `runstream token list` names them")
        return left

    _change(path, change)


def _change(path: Path, change: Callable[[Sequence[Token]], list[Token]]) -> bool:
    """Write the file anew under a lock on its directory: readers see the one before or the one after."""
    place = path.resolve()
    try:
        folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StartupError(f"cannot use the directory {place.parent}: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        is_new = not place.exists()
        _replace(place, _text(change([] if is_new else load(place))), is_new=is_new)
        os.fsync(folder)
        return is_new
    except OSError as error:
        raise StartupError(f"cannot write {place}: {error.strerror}") from error
    finally:
        os.close(folder)


def _text(tokens: Sequence[Token]) -> bytes:
    lines = [f"{token.name} {token.sha256.hex()} {token.made}".rstrip() for token in tokens]
    return "\n".join(["# Runstream's tokens: `runstream token --help`", *lines, ""]).encode()


def _replace(place: Path, text: bytes, *, is_new: bool) -> None:
    owner = (place.parent if is_new else place).stat()
    descriptor, beside = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)  # of mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            with suppress(PermissionError):  # only root gives files away: then the server can still read its tokens
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    except BaseException:
        os.unlink(beside)
        raise
