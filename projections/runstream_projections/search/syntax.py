"""The syntax tree of a filter. Text becomes it in ``parse.py``, and it becomes SQL in ``conditions.py``."""

from __future__ import annotations

from typing import NamedTuple


class Field(NamedTuple):
    """What is compared: ``entity`` is metric, parameter, tag, attribute or dataset."""

    entity: str
    key: str


class Comparison(NamedTuple):
    """A field and a value; ``column`` is where it stands in the filter, from 1.

    ``operator`` is in upper case: ``= != > >= < <= LIKE ILIKE`` with a number or a string, ``IN``, ``NOT IN`` with
    strings, ``IS NULL``, ``IS NOT NULL`` with None.
    """

    field: Field
    operator: str
    value: float | str | tuple[str, ...] | tuple[int, ...] | None
    column: int


class And(NamedTuple):
    """All of them hold."""

    terms: tuple[Term, ...]


class Or(NamedTuple):
    """One of them holds."""

    terms: tuple[Term, ...]


class Not(NamedTuple):
    """It does not hold."""

    term: Term


Term = Comparison | And | Or | Not


class Order(NamedTuple):
    """What results are ordered by."""

    field: Field
    ascending: bool
