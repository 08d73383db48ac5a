"""Calls as data: what they name is marked, since ids and times differ between two servers.

A mark is a word between dollar signs within any string, so that a call that fails reads as what was meant:

========================  ===============================================================================
``$run:3$``               the id of the history's fourth run (counted on from the first after the last)
``$experiment:1$``        the id of its second experiment
``$limbo$``               the id of an experiment that no search looks into
``$name:x$``              ``x`` made unique among histories
``$created:1$``           when the second experiment was made, by the server's clock (ms); ``$updated:1$``
``$model:1$``            the id of a model, another in each call
``$noise:7:3000$``        3,000 characters that do not compress, by seed 7
``$times:ab:251$``        ``ab`` 251 times
``$at$``                  the index within ``{"$times": [3, item]}``, which stands for an array of three items
========================  ===============================================================================
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable
from typing import Any, Final

_MARK: Final = re.compile(r"\$([a-z]+)(?::([^$]*))?\$")
_NOISE: Final = string.ascii_letters + string.digits

#: Gives what a mark stands for on one server: its word and its argument.
Lookup = Callable[[str, str], str]


def filled(value: Any, lookup: Lookup) -> Any:
    """``value`` with what its marks stand for."""
    if isinstance(value, str):
        return _MARK.sub(lambda found: _text(found[1], found[2] or "", lookup), value)
    if isinstance(value, list):
        return [filled(item, lookup) for item in value]
    if isinstance(value, dict):
        if "$times" in value:
            times, item = value["$times"]
            return [filled(item, lambda word, more, at=at: _at(word, more, at, lookup)) for at in range(times)]
        return {filled(key, lookup): filled(item, lookup) for key, item in value.items()}
    return value


def _at(word: str, argument: str, at: int, lookup: Lookup) -> str:
    return str(at) if word == "at" else _text(word, argument, lookup)


def _text(word: str, argument: str, lookup: Lookup) -> str:
    if word == "noise":
        seed, length = map(int, argument.split(":"))
        return "".join(random.Random(seed).choices(_NOISE, k=length))
    if word == "times":
        text, _, times = argument.rpartition(":")
        return text * int(times)
    return lookup(word, argument)
