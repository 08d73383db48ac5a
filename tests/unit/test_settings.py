"""What may be set, and what a wrong setting is answered with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from runstream_schemas.errors import StartupError
from runstream_services.gateway.access import access_of
from runstream_services.settings import Settings
from runstream_services.token_file import Token, add, remove


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("DATA", "HOST", "PORT", "DATABASE_URL", "LOG_LEVEL")
    for name in (*names, "TOKEN_FILE", "NO_AUTH", "ALLOWED_HOSTS", "TRUSTED_PROXIES"):
        monkeypatch.setenv(f"RUNSTREAM_{name}", "")
    assert Settings() == Settings(data=Path("runstream-data"), host="127.0.0.1", port=5000, log_level="info")


def test_a_directory_without_a_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="name a directory"):
        Settings(data="")


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("RUNSTREAM_DATA", "~/runs")
    assert Settings().data == Path("/home/somebody/runs")
    with pytest.raises(ValidationError, match="~no-such-user/x"):
        Settings(data="~no-such-user/x")


@pytest.mark.parametrize("level", ["WARNING", "Warning", "warning"])
def test_a_level_is_a_word_in_any_case(level: str) -> None:
    assert Settings(log_level=level).log_level == "warning"


def test_a_level_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValidationError, match="'debug', 'info', 'warning' or 'error'"):
        Settings(log_level="loud")


@pytest.mark.parametrize("host", ["", "a b", "http://x", "127.0.0.1:80", "[::1]", "x/y"])
def test_what_is_no_address_is_not_listened_on(host: str) -> None:
    with pytest.raises(ValidationError, match="neither an address nor a name"):
        Settings(host=host)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.0.1", False), ("tracking.example", False),
        ("localhost.evil", False),
    ],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert Settings(host=host).is_loopback == loopback


def test_hosts_and_proxies_are_lists_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Settings(allowed_hosts="a.example, [::1]:5000,,B:1 ", trusted_proxies="10.0.0.0/8,::1")
    assert given.allowed_hosts == ("a.example", "[::1]:5000", "B:1")
    assert [str(network) for network in given.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    monkeypatch.setenv("RUNSTREAM_ALLOWED_HOSTS", "a.example,b")
    monkeypatch.setenv("RUNSTREAM_TRUSTED_PROXIES", "10.1.2.3")
    assert Settings().allowed_hosts == ("a.example", "b")
    assert [str(network) for network in Settings().trusted_proxies] == ["10.1.2.3/32"]


@pytest.mark.parametrize("hosts", ["http://a", "::1", "a b", "*", "a.example/x"])
def test_a_host_that_is_none_is_named(hosts: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(f"{hosts!r} is not host or host:port")):
        Settings(allowed_hosts=f"ok,{hosts}")


@pytest.mark.parametrize("proxies", ["proxy", "10.0.0.1/8", "300.1.1.1", "*"])
def test_a_proxy_that_is_no_network_is_named(proxies: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(proxies)):
        Settings(trusted_proxies=proxies)


def test_a_token_file_and_no_authentication_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="take one of the two away"):
        Settings(token_file=tmp_path / "tokens", no_auth=True)


def access(data: Path, **given: object) -> str:
    """Whether a server with these settings asks for tokens, or why it is not started."""
    try:
        made = access_of(Settings.model_validate({"data": data, **given}))
    except StartupError as error:
        return str(error)
    return "nobody is asked" if made._tokens is None else "tokens"


def test_who_is_asked_for_a_token(tmp_path: Path) -> None:
    network: dict[str, object] = {"host": "0.0.0.0"}
    assert access(tmp_path) == "nobody is asked"
    assert access(tmp_path, **network, no_auth=True) == "nobody is asked"
    for host in ("0.0.0.0", "::", "10.0.0.1", "tracking.example"):
        refusal = access(tmp_path, host=host)
        assert [said for said in (host, "runstream token add NAME", "--no-auth") if said not in refusal] == []
    assert "No such file" in access(tmp_path, token_file=tmp_path / "tokens")

    add(tmp_path / "tokens", Token("alice", bytes(32)))
    add(tmp_path / "others", Token("bob", bytes(32)))
    assert access(tmp_path) == "tokens"
    assert access(tmp_path, **network) == "tokens"
    assert access(tmp_path / "none", token_file=tmp_path / "others") == "tokens"
    assert access(tmp_path, no_auth=True) == "nobody is asked"
    assert access(tmp_path, **network, no_auth=True) == "nobody is asked"

    remove(tmp_path / "tokens", "alice")
    for given in ({}, network):
        assert "nobody could get in" in access(tmp_path, **given)
    (tmp_path / "tokens").unlink()
    (tmp_path / "tokens").symlink_to(tmp_path / "unmounted")
    assert "No such file" in access(tmp_path)
    assert "Not a directory" in access(tmp_path, token_file=tmp_path / "others" / "x")
    assert access(tmp_path / "others") == "nobody is asked"
