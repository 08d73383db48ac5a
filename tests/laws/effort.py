"""How much a law on a database is tried: little in `make test`, much in `make test-long`."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

# A failing history is not made smaller: on a database that takes minutes. To find a small one, add Phase.shrink here.
_ON_A_DATABASE = settings(
    deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)

FEW = settings(_ON_A_DATABASE, max_examples=8)
FEWER = settings(_ON_A_DATABASE, max_examples=5)
MANY = settings(_ON_A_DATABASE, max_examples=300)

#: Searches change nothing, so that one database serves all of them.
SEARCHES = settings(_ON_A_DATABASE, max_examples=100)
MORE_SEARCHES = settings(_ON_A_DATABASE, max_examples=5_000)
