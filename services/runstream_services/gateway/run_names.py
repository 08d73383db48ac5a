"""Names for runs that were given none: adjective-noun-number, as MLflow users know them."""

from __future__ import annotations

from typing import Final

ADJECTIVES: Final = tuple(
    """
    agile amber ancient arctic autumn azure bold brave breezy bright brisk calm candid careful cheerful clever
    cobalt coral cosmic crimson crisp curious daring dapper deep eager early earnest electric elegant emerald fair
    fearless fleet fluent fond gentle gilded glad golden graceful grand hardy hazel honest humble ivory jade jolly
    keen kind learned lively lucid lucky lunar mellow merry mighty mild modest noble nimble olive opal patient
    placid plucky polar polite proud pure quick quiet rapid ready robust rosy royal ruby rustic sage scarlet
    serene sharp silent silver sleek smooth snowy solar solid spry stately steady stellar stoic sunny swift tidy
    tranquil trusty upbeat valiant velvet vivid warm wild wise witty zesty
    """.split()  # noqa: SIM905 -- a list of words reads best as words
)
NOUNS: Final = tuple(
    """
    acorn antelope asteroid aurora badger bay beacon beaver birch bison brook canyon cedar cheetah cliff cloud
    comet condor coyote crane creek cricket cypress dawn delta dolphin dove dune eagle egret elk elm falcon fern
    ferret finch fjord fox gale galaxy gazelle geyser glacier grove gull harbor hare hawk heron hill ibex island
    jaguar juniper kestrel kite lagoon lake lark leaf lemur lichen lion lynx maple marlin marten meadow mesa
    meteor mink mist moon moose moss nebula newt oak ocean orca orchid osprey otter owl panda peak pebble penguin
    pine planet plover pond puffin quail quasar rain raven reef ridge river robin salmon seal shore sparrow spruce
    star stone stork stream swan thrush tide tiger trout tundra valley walrus wave willow wolf wren
    """.split()  # noqa: SIM905 -- a list of words reads best as words
)


def run_name(randomness: bytes) -> str:
    """Return a name made of six random bytes."""
    adjective = ADJECTIVES[int.from_bytes(randomness[:2]) % len(ADJECTIVES)]
    noun = NOUNS[int.from_bytes(randomness[2:4]) % len(NOUNS)]
    return f"{adjective}-{noun}-{int.from_bytes(randomness[4:6]) % 1000}"
