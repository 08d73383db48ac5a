"""Filter and order text to syntax, or a refusal that names the column of the mistake."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from runstream_projections.search.syntax import And, Comparison, Field, Not, Or, Order, Term
from runstream_projections.search.terms import Dialect, Entity, Kind
from runstream_schemas.errors import RequestError, invalid

#: A filter of more characters, comparisons, strings in a list or nested parentheses than anybody writes.
MAX_CHARACTERS: Final = 100_000
MAX_COMPARISONS: Final = 200
MAX_LIST: Final = 10_000
MAX_DEPTH: Final = 50

#: Fields that results are ordered by.
MAX_ORDERS: Final = 20

_GRAMMAR: Final = (resources.files(__package__) / "filter.lark").read_text(encoding="utf-8")
_parser: Final = Lark(
    _GRAMMAR,
    parser="lalr",
    lexer="contextual",
    propagate_positions=True,
    start=["filter", "order"],
    maybe_placeholders=False,
)

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,100}")

_NAMES: Final = {
    "OPERATOR": "=, !=, >, >=, <, <=, LIKE, ILIKE",
    "DIRECTION": "ASC or DESC",
    "IDENTIFIER": "a field such as metrics.loss",
    "NUMBER": "a number",
    "STRING": "a quoted string",
    "_AND": "AND",
    "_OR": "OR",
    "_NOT": "NOT",
    "_IN": "IN",
    "_IS": "IS",
    "_NULL": "NULL",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "$END": "the end",
}
_LIST_OPERATORS: Final = {"within": "IN", "not_within": "NOT IN"}
_PRESENCE: Final = {"missing": "IS NULL", "present": "IS NOT NULL"}


def parse_filter(text: str, dialect: Dialect) -> Term | None:
    """Return the syntax tree of a filter; None for the empty one, which all match.

    Raises 400 INVALID_PARAMETER_VALUE with the column, from 1, of what is wrong.
    """
    if not text:
        return None
    if len(text) > MAX_CHARACTERS:
        raise invalid(f"Invalid filter: {len(text)} characters, over the limit of {MAX_CHARACTERS}.")
    try:
        tree = _parser.parse(text, start="filter")
    except UnexpectedInput as error:
        raise _refused("filter", text, error) from None
    [term] = tree.children
    assert isinstance(term, Tree)
    return _Reader(dialect).term(term)


def parse_order(clauses: Sequence[str], dialect: Dialect) -> tuple[Order, ...]:
    """Return what results are ordered by, given as MLflow's ``order_by``; each field at most once.

    Raises 400 INVALID_PARAMETER_VALUE with the clause and the column, from 1, of what is wrong.
    """
    if len(clauses) > MAX_ORDERS:
        raise invalid(f"Invalid order_by: {len(clauses)} clauses, over the limit of {MAX_ORDERS}.")
    orders = tuple(_order(f"order_by[{at}]", text, dialect) for at, text in enumerate(clauses))
    first = {order.field: order for order in reversed(orders)}
    if len(first) < len(orders) and not dialect.repeats:
        raise invalid(f"`order_by` contains duplicate fields: {list(map(_shown, clauses))}.")
    return tuple(order for order in orders if first[order.field] is order)


def _order(clause: str, text: str, dialect: Dialect) -> Order:
    if len(text) > MAX_CHARACTERS:
        raise invalid(f"Invalid {clause}: {len(text)} characters, over the limit of {MAX_CHARACTERS}.")
    try:
        name, *direction = map(str, _parser.parse(text, start="order").children)
    except UnexpectedInput as error:
        raise _refused(clause, text, error) from None
    written = name
    for quote in ("`", '"'):  # an order's quotes may hold the entity too
        inner = _unquoted(written, quote)
        if "." in inner and quote not in inner:
            written = inner
    entity, field, _ = _field(written, f"column {len(text) - len(text.lstrip()) + 1} of {clause}", dialect)
    if entity.name not in dialect.ordered:
        raise invalid(f"Invalid {clause}: entity {entity.name}; results are ordered by {', '.join(dialect.ordered)}.")
    return Order(field, not direction or direction[0].upper() == "ASC")


def _refused(what: str, text: str, error: UnexpectedInput) -> RequestError:
    # The parser's end has the place of the last token.
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    column = len(text) + 1 if at_end else (error.pos_in_stream or 0) + 1
    expected = getattr(error, "accepts", None) or getattr(error, "allowed", None) or getattr(error, "expected", None)
    wanted = " or ".join(sorted({_NAMES.get(name, name) for name in expected or ()}))
    found = repr(text[column - 1 : column + 19]) if column <= len(text) else "the end"
    return invalid(f"Invalid {what} at column {column}: expected {wanted}, found {found}.")


class _Reader:
    """Makes syntax of a parse tree, in one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._comparisons = 0

    def term(self, tree: Tree[Token], depth: int = 0) -> Term:
        if depth > MAX_DEPTH:
            raise invalid(f"Invalid filter at column {tree.meta.column}: nested deeper than {MAX_DEPTH}.")
        children: list[Any] = tree.children
        match tree.data:
            case "either":
                return Or(tuple(self.term(child, depth + 1) for child in children))
            case "both":
                return And(tuple(self.term(child, depth + 1) for child in children))
            case "negated":
                return Not(self.term(children[0], depth + 1))
            case _:
                return self._comparison(str(tree.data), children)

    def _comparison(self, form: str, children: list[Any]) -> Comparison:
        self._comparisons += 1
        token: Token = children[0]
        column = (token.start_pos or 0) + 1
        if self._comparisons > MAX_COMPARISONS:
            raise invalid(f"Invalid filter at column {column}: over {MAX_COMPARISONS} comparisons.")
        entity, field, kind = _field(str(token), f"column {column}", self._dialect)
        operator = _operator(form, children, self._dialect)
        if operator not in kind.operators:
            what, operators = f"{entity.name} {_shown(field.key)!r}", ", ".join(kind.operators)
            raise invalid(f"Invalid comparator '{operator}' at column {column}: {what} takes {operators}.")
        value: Any = None
        if form == "compared":
            value = _value(children[2], kind, field)
            if operator in ("LIKE", "ILIKE"):
                _check_pattern(value, column)
        elif form in _LIST_OPERATORS:
            value = tuple(str(string)[1:-1] for string in children[1].children)
            if len(value) > MAX_LIST:
                raise invalid(f"Invalid filter at column {column}: over {MAX_LIST} strings in a list.")
            if kind.holds == "id":
                value = tuple(_id(text, column) for text in value)
        return Comparison(field, operator, value, column)


def _check_pattern(pattern: str, column: int) -> None:
    """PostgreSQL would refuse it only where it comes so far in a value."""
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        raise invalid(f"Invalid pattern at column {column}: a backslash at its end has nothing to escape.")


def _operator(form: str, children: list[Any], dialect: Dialect) -> str:
    if form == "compared":
        written: str = str(children[1])
        return written.upper() if dialect.keywords_in_any_case else written
    return _LIST_OPERATORS.get(form) or _PRESENCE[form]


def _field(text: str, place: str, dialect: Dialect) -> tuple[Entity, Field, Kind]:
    first, dot, rest = text.partition(".")
    name, key = (_unquoted(first, "`"), rest) if dot else ("attribute", first)
    entity = dialect.entities.get(name)
    if entity is None:
        valid = ", ".join(sorted({e.name for e in dialect.entities.values()}))
        raise invalid(f"Invalid entity type '{_shown(name)}' at {place}. Valid entity types are {valid}.")
    key = _unquoted(_unquoted(key, '"'), "`")
    if isinstance(entity.fields, Kind):
        return entity, Field(entity.name, key), entity.fields
    key = entity.aliases.get(key, key)
    kind = entity.fields.get(key)
    if kind is None:
        valid = ", ".join(entity.fields)
        raise invalid(f"Invalid {entity.name} key '{_shown(key)}' at {place}. Valid keys are {valid}.")
    return entity, Field(entity.name, key), kind


def _shown(text: str) -> str:
    """A client's text in a message, which need not be as long."""
    return text if len(text) <= 80 else text[:79] + "…"


def _unquoted(text: str, quote: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == quote else text


def _id(text: str, column: int) -> int:
    if _INTEGER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    raise invalid(f"Invalid ID {text[:40]!r} at column {column}: it must be an integer of 64 bits.")


def _value(token: Token, kind: Kind, field: Field) -> float | str | tuple[int, ...]:
    column = (token.start_pos or 0) + 1
    what, found = f"{field.entity} {_shown(field.key)!r} at column {column}", _shown(token)
    if kind.holds in ("text", "id"):
        if token.type != "STRING":
            raise invalid(f"Expected a quoted string value for {what}, got {found}.")
        inner = str(token)[1:-1]
        return (_id(inner, column),) if kind.holds == "id" else inner
    if token.type != "NUMBER":
        raise invalid(f"Expected numeric value type for {what}. Found {found}.")
    if field.entity == "metric":
        return float(token)
    try:
        return int(token)
    except ValueError:
        if kind.holds == "integer":
            raise invalid(f"Expected an integer for {what}. Found {found}.") from None
        return float(token)
