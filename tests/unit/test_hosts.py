"""Whose requests are answered, by their Host, Origin and X-Forwarded-Host."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_schemas.errors import RequestError
from runstream_services.gateway.hosts import Hosts, Others, read_host

PROXIES = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::1"))


def answered(hosts: Hosts, *headers: tuple[str, str], method: str = "POST", client: str = "127.0.0.1") -> bool:
    """Whether a request is answered; asked twice, since what was seen once is remembered."""
    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope: dict[str, Any] = {"method": method, "headers": raw, "client": (client, 1)}
    found = []
    for _ in range(2):
        try:
            hosts.check(scope)
            found.append(True)
        except RequestError as error:
            found.append(False)
            said = error
    if not found[0]:
        assert (said.code, said.status) == ("PERMISSION_DENIED", 403)
        assert "--allowed-hosts (RUNSTREAM_ALLOWED_HOSTS)" in said.message
        assert "--trusted-proxies (RUNSTREAM_TRUSTED_PROXIES)" in said.message
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("spelled", "name", "port"),
    [
        ("Example.ORG:80", "example.org", "80"),
        ("a_b", "a_b", ""),
        ("127.0.0.1:", "127.0.0.1", ""),
        ("[::1]:5000", "::1", "5000"),
        ("[0:0::0:1]", "::1", ""),
    ],
)
def test_a_host_is_a_name_or_an_address_with_or_without_a_port(spelled: str, name: str, port: str) -> None:
    found = read_host(spelled)
    assert found is not None
    assert (found.name, found.port) == (name, port)


@pytest.mark.parametrize("spelled", ["", ":80", "::1", "[::1", "[name]", "a b", "a/b", "a@b", "a:b", "a,b", "ä", "a\n"])
def test_what_is_no_host_is_none(spelled: str) -> None:
    assert read_host(spelled) is None


@given(st.text(max_size=30))
def test_any_text_can_be_asked_for(text: str) -> None:
    found = read_host(text)
    assert found is None or found.is_local in (True, False)


@pytest.mark.parametrize(
    ("others", "known"),
    [(Others.NONE, (False, False)), (Others.ADDRESSES, (True, False)), (Others.ALL, (True, True))],
)
def test_which_others_are_answered(others: Others, known: tuple[bool, bool]) -> None:
    hosts = Hosts(others=others)
    assert answered(hosts, ("host", "localhost:1"))
    for address in ("192.168.0.1:5000", "[fe80::1]"):
        assert answered(hosts, ("host", address)) == known[0]
    for name in ("evil.example", "127.0.0.1.evil.example", "1.2.3", "0x7f000001.evil"):
        assert answered(hosts, ("host", name)) == known[1]


def test_a_name_is_answered_on_any_port_or_on_the_one_that_it_has() -> None:
    hosts = Hosts(("Tracking.example", "other.example:8080", "[fd00::5]", "[0:0::6]:443"))
    for host in ("tracking.example", "TRACKING.EXAMPLE:1", "other.example:8080", "[fd00:0::5]:9", "[::6]:443"):
        assert answered(hosts, ("host", host))
    for host in ("other.example", "other.example:80", "tracking.example.evil", "[::6]", "[fd00::7]"):
        assert not answered(hosts, ("host", host))


def test_each_of_several_hosts_counts() -> None:
    assert not answered(Hosts(), ("host", "localhost"), ("host", "evil.example"))
    assert not answered(Hosts(), ("host", "evil.example"), ("host", "localhost"))


@pytest.mark.parametrize("others", Others)
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE", "PUT"])
def test_a_page_of_another_host_changes_nothing(others: Others, method: str) -> None:
    hosts = Hosts(("named.example",), others=others)
    own = ("host", "named.example:5000")
    for page in ("http://named.example:5000", "https://named.example", "http://localhost:3000"):
        assert answered(hosts, own, ("origin", page), method=method)
    for page in ("null", "", "file://", "http://", "http://evil.example", "http://6.6.6.6", "http://a/named.example"):
        assert not answered(hosts, own, ("origin", page), method=method)
        assert not answered(hosts, ("origin", page), own, method=method)
        assert not answered(hosts, own, ("origin", "http://localhost"), ("origin", page), method=method)
        assert answered(hosts, own, ("origin", page), method="GET")


def test_the_servers_own_page_may_change_what_it_shows_by_any_name_that_is_answered() -> None:
    for host, others in (("10.0.0.9:5000", Others.ADDRESSES), ("tracking.example", Others.ALL)):
        hosts = Hosts(others=others)
        assert answered(hosts, ("host", host), ("origin", f"https://{host}"))
        assert not answered(hosts, ("host", host), ("origin", f"https://{host}:1"))


def test_a_page_counts_for_the_host_that_it_came_with_alone() -> None:
    hosts = Hosts(others=Others.ALL)
    assert answered(hosts, ("host", "a.example"), ("origin", "http://a.example"))
    assert not answered(hosts, ("host", "b.example"), ("origin", "http://a.example"))


@pytest.mark.parametrize("client", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"])
def test_a_trusted_proxy_says_what_its_client_asked_for(client: str) -> None:
    hosts = Hosts(("tracking.example",), PROXIES)
    inner = ("host", "10.0.0.5:5000")
    assert answered(hosts, inner, ("x-forwarded-host", "tracking.example"), client=client)
    assert answered(hosts, inner, ("x-forwarded-host", "evil.example, tracking.example"), client=client)
    for said in ("evil.example", "tracking.example, evil.example", ""):
        assert not answered(hosts, ("host", "localhost"), ("x-forwarded-host", said), client=client)
    assert not answered(hosts, inner, client=client)
    page = ("origin", "https://tracking.example")
    assert answered(hosts, inner, page, ("x-forwarded-host", "tracking.example"), client=client)


@pytest.mark.parametrize("client", ["10.2.0.1", "127.0.0.1", "fd00::2", "", "a name"])
def test_another_peer_cannot_say_what_it_was_asked_for(client: str) -> None:
    hosts = Hosts(("tracking.example",), PROXIES)
    said = ("x-forwarded-host", "tracking.example")
    assert not answered(hosts, ("host", "evil.example"), said, client=client)
    assert answered(hosts, ("host", "localhost"), ("x-forwarded-host", "evil.example"), client=client)


def test_what_is_remembered_is_bounded() -> None:
    hosts = Hosts(others=Others.ALL)
    for number in range(3_000):
        assert answered(hosts, ("host", f"h{number}"), ("origin", f"http://127.0.0.1:{number}"))
    assert answered(hosts, ("host", "h" * 60_000), ("origin", f"{'s' * 60_000}://localhost"))
    assert answered(Hosts(), ("host", f"localhost:{'0' * 60_000}"))
    for known in (hosts._hosts, hosts._origins):
        assert 0 < len(known) <= 1_000
        assert max(map(len, known)) <= 300
