"""Old versions of events brought to the current one, by pure functions on the payload's bytes.

Version 1 is the first: there is nothing to lift yet. A later version adds its step here and a golden example of the
version it replaces under ``examples/``, where they stay for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: (type, version) -> the function that turns that version's payload into the next version's.
STEPS: Final[dict[tuple[str, int], Callable[[bytes], bytes]]] = {}


def upcast(event_type: str, version: int, payload: bytes) -> bytes:
    """Return ``payload`` lifted step by step until no step is known for its version."""
    while (step := STEPS.get((event_type, version))) is not None:
        payload = step(payload)
        version += 1
    return payload
