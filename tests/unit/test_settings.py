"""What may be set, and what a wrong setting is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from runstream_services.settings import Settings


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "HOST", "PORT", "DATABASE_URL", "LOG_LEVEL"):
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


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "example.org", "::", ""])
def test_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ValidationError, match="loopback"):
        Settings(host=host)
