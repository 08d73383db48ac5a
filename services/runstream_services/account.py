"""The user of the operating system that PostgreSQL runs as, and that user's way into the data directory.

PostgreSQL refuses to run as root, so a root process needs a second account, and that account a way to PGDATA.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runstream_schemas.errors import StartupError

#: Who PostgreSQL runs as when ``runstream up`` is run by root; created when first needed.
SYSTEM_USER: Final = "runstream-postgres"

#: Ends the messages about that user.
WHY_ANOTHER_USER: Final = (
    "as whom PostgreSQL must run because it refuses to run as root "
    "(run this as another user than root, or use a database of your own with --database-url)"
)


@dataclass(frozen=True, slots=True)
class Account:
    """The user of the operating system that PostgreSQL runs as."""

    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        """Whether PostgreSQL runs as the user of this process: then nothing has to be opened or given away."""
        return self.uid == os.geteuid()

    def ask(self, script: str, arguments: Sequence[Path]) -> subprocess.CompletedProcess[bytes]:
        """Run a shell script as this user, with the arguments as ``$1`` and on; gives its output."""
        command = ["/bin/sh", "-c", script, "sh", *map(str, arguments)]
        become: dict[str, Any] = {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}
        try:
            return subprocess.run(command, **become, cwd="/", check=False, capture_output=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise StartupError(f"cannot run a program as {self.name}, {WHY_ANOTHER_USER}: {error}") from error


def postgres_account(pgdata: Path) -> Account:
    """Who PostgreSQL shall run as for this PGDATA, which need not exist.

    PostgreSQL insists on owning PGDATA, so its owner wins: root serves a directory that a user made as that user.
    Otherwise it is the user of this process, or :data:`SYSTEM_USER` for root, made if it is missing. A PGDATA that
    belongs to root (restored from a backup) is given to it. Raises :class:`StartupError` with what to do.
    """
    owner = pgdata.stat() if pgdata.exists() else None
    if os.geteuid() != 0:
        account = _account_of(os.geteuid(), os.getegid())
        if owner is not None and owner.st_uid != account.uid:
            other = _account_of(owner.st_uid, owner.st_gid).name
            raise StartupError(
                f"{pgdata} belongs to {other}, not to {account.name}: start as root or as {other}, "
                f"or give it away with `chown -R {account.name} {pgdata}`"
            )
        if owner is None and account.name == str(account.uid):
            raise StartupError(
                f"PostgreSQL cannot make a database for user id {account.uid}, which has no name in /etc/passwd: "
                "add one, run as another user, or use a database of your own with --database-url"
            )
        return account
    if owner is not None and owner.st_uid != 0:
        return _account_of(owner.st_uid, owner.st_gid)
    account = _system_account()
    if owner is not None:
        give(pgdata, account)
    return account


def give(path: Path, account: Account) -> None:
    """Make the account the owner of a directory and of all that is in it; links are not followed."""
    try:
        for folder, _, files in os.walk(path):
            os.chown(folder, account.uid, account.gid)
            for name in files:
                os.chown(Path(folder, name), account.uid, account.gid, follow_symlinks=False)
    except OSError as error:
        raise StartupError(f"cannot give {path} to {account.name}, {WHY_ANOTHER_USER}: {error}") from error


def _account_of(uid: int, gid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, gid)
    return Account(entry.pw_name, uid, entry.pw_gid)


def _system_account() -> Account:
    """:data:`SYSTEM_USER`, made by useradd (shadow-utils) or adduser (BusyBox)."""
    failures = []
    for command in (
        None,  # it exists
        ["useradd", "--system", "--no-create-home", "--home-dir", "/", "--shell", "/bin/false", SYSTEM_USER],
        ["adduser", "-S", "-D", "-H", "-h", "/", "-s", "/bin/false", SYSTEM_USER],
    ):
        if command is not None:
            try:
                made = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
                failures.append(made.stderr.strip())
            except (OSError, subprocess.TimeoutExpired) as error:
                failures.append(str(error))
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(SYSTEM_USER)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise StartupError(f"cannot make the system user {SYSTEM_USER}, {WHY_ANOTHER_USER}: {'; '.join(failures)}")


def first_closed(account: Account, paths: Sequence[Path]) -> Path | None:
    """The first path that the account cannot enter (a directory) or read (a file).

    A shell asks the kernel as that account: mode bits alone do not tell, there are ACLs and security modules.
    """
    script = 'for p do if [ -d "$p" ]; then [ -x "$p" ]; else [ -r "$p" ]; fi || { printf %s "$p"; exit 1; }; done'
    asked = account.ask(script, paths)
    return Path(os.fsdecode(asked.stdout)) if asked.returncode else None


def let_in(account: Account, directory: Path, report: Callable[[str], None]) -> None:
    """Make sure that the account can pass through every directory down to this one.

    A closed one (``/root`` is 0700) gets an ACL entry for this one account, to pass and not to list; nobody else gains
    anything. ``report`` is told of each. Raises :class:`StartupError` where the file system has no ACLs.
    """
    way = [*reversed(directory.parents), directory]
    opened: set[Path] = set()
    while (closed := first_closed(account, way)) is not None:
        try:
            if closed in opened:
                raise PermissionError(f"an ACL entry for {account.name} did not open it")
            _add_passage(closed, account.uid)
        except OSError as error:
            raise StartupError(
                f"{account.name} cannot enter {closed} ({error}), {WHY_ANOTHER_USER}; "
                f"or choose a data directory elsewhere, or let it pass with `chmod o+x {closed}`"
            ) from error
        opened.add(closed)
        report(f"{closed}: {account.name} may now pass through (ACL entry user:{account.name}:--x)")


_ACL: Final = "system.posix_acl_access"
_OWNER, _USER, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_MASKED: Final = (_USER, _GROUP, 0x08)  # 0x08: a named group
_NOBODY_NAMED: Final = 0xFFFFFFFF


def _add_passage(directory: Path, uid: int) -> None:
    """Add ``user:uid:--x`` to a directory's ACL and leave everybody else's rights as they are.

    Written as the extended attribute that setfacl writes (linux/posix_acl_xattr.h): version 2, then (tag, permissions,
    id) sorted by tag and id. The mask caps named users and all groups, so that a mask without x must be widened, and
    what it took from the others until now is taken from them one by one.
    """
    if sys.platform != "linux":
        raise PermissionError("ACLs are set on Linux only")
    try:
        entries = list(struct.iter_unpack("<HHI", os.getxattr(directory, _ACL)[4:]))
    except OSError:  # ENODATA: the mode is all there is; without any support of ACLs, setting it fails below
        mode = directory.stat().st_mode
        entries = [(tag, mode >> shift & 7, _NOBODY_NAMED) for tag, shift in ((_OWNER, 6), (_GROUP, 3), (_OTHER, 0))]
    mask = next((rights for tag, rights, _ in entries if tag == _MASK), 7)
    kept = [(tag, rights & mask if tag in _MASKED else rights, who) for tag, rights, who in entries if tag != _MASK]
    kept = [(tag, rights, who) for tag, rights, who in kept if (tag, who) != (_USER, uid)] + [(_USER, 1, uid)]
    widest = 0
    for tag, rights, _ in kept:
        widest |= rights if tag in _MASKED else 0
    kept.append((_MASK, widest, _NOBODY_NAMED))
    packed = b"".join(struct.pack("<HHI", *entry) for entry in sorted(kept, key=lambda entry: (entry[0], entry[2])))
    os.setxattr(directory, _ACL, struct.pack("<I", 2) + packed)
