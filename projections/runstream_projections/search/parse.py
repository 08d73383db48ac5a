"""Filter text to a syntax tree, or a refusal that names the column of the mistake."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any, Final

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from runstream_projections.search.syntax import And, Comparison, Field, Not, Or, Term
from runstream_projections.search.terms import Dialect, Entity, Kind
from runstream_schemas.errors import invalid

#: A filter of more characters, comparisons or nested parentheses than anybody writes.
MAX_CHARACTERS: Final = 100_000
MAX_COMPARISONS: Final = 200
MAX_LIST: Final = 10_000
MAX_DEPTH: Final = 50

_GRAMMAR: Final = (resources.files(__package__) / "filter.lark").read_text(encoding="utf-8")
_parser: Final = Lark(_GRAMMAR, parser="lalr", lexer="contextual", propagate_positions=True)

_NAMES: Final = {
    "OPERATOR": "=, !=, >, >=, <, <=, LIKE, ILIKE",
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
    _check_depth(text)
    try:
        tree = _parser.parse(text)
    except UnexpectedInput as error:
        raise _refused(text, error) from None
    term = _Reader(dialect).term(tree.children[0])
    return term


def _check_depth(text: str) -> None:
    depth = 0
    for found in re.finditer(r"'(?:''|\\'|[^'])*'|\"(?:\"\"|\\\"|[^\"])*\"|`[^`]*`|[()]|\bNOT\b", text, re.IGNORECASE):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth > MAX_DEPTH:
            raise invalid(f"Invalid filter at column {found.start() + 1}: over {MAX_DEPTH} nested parentheses.")


def _refused(text: str, error: UnexpectedInput) -> Exception:
    column = error.pos_in_stream + 1 if error.pos_in_stream is not None and error.pos_in_stream >= 0 else len(text) + 1
    expected = getattr(error, "accepts", None) or getattr(error, "allowed", None) or getattr(error, "expected", None)
    wanted = " or ".join(sorted({_NAMES.get(name, name) for name in expected or ()}))
    found = repr(text[column - 1 : column + 19]) if column <= len(text) else "the end"
    return invalid(f"Invalid filter at column {column}: expected {wanted}, found {found}.")


class _Reader:
    """Makes syntax of a parse tree, in one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._comparisons = 0

    def term(self, tree: Tree[Token]) -> Term:
        children: list[Any] = tree.children
        match tree.data:
            case "either":
                return Or(tuple(map(self.term, children)))
            case "both":
                return And(tuple(map(self.term, children)))
            case "negated":
                return Not(self.term(children[0]))
            case _:
                return self._comparison(str(tree.data), children)

    def _comparison(self, form: str, children: list[Any]) -> Comparison:
        self._comparisons += 1
        token: Token = children[0]
        column = (token.start_pos or 0) + 1
        if self._comparisons > MAX_COMPARISONS:
            raise invalid(f"Invalid filter at column {column}: over {MAX_COMPARISONS} comparisons.")
        entity, field, kind = _field(str(token), column, self._dialect)
        value: Any = None
        if form == "compared":
            operator = children[1].upper()
            value = children[2]
        elif form in _LIST_OPERATORS:
            operator = _LIST_OPERATORS[form]
            value = tuple(str(string)[1:-1] for string in children[1].children)
        else:
            operator = _PRESENCE[form]
        if operator not in kind.operators:
            shown = ", ".join(kind.operators)
            raise invalid(f"Invalid comparator '{operator}' at column {column}: {entity.name} {field.key!r} takes {shown}.")
        if form == "compared":
            value = _value(value, kind, field)
        return Comparison(field, operator, value, column)


def _field(text: str, column: int, dialect: Dialect) -> tuple[Entity, Field, Kind]:
    first, dot, rest = text.partition(".")
    name, key = (_unquoted(first, "`"), rest) if dot else ("attribute", first)
    entity = dialect.entities.get(name)
    if entity is None:
        valid = ", ".join(sorted({e.name for e in dialect.entities.values()}))
        raise invalid(f"Invalid entity type '{name}' at column {column}. Valid entity types are {valid}.")
    key = _unquoted(_unquoted(key, '"'), "`")
    if isinstance(entity.fields, Kind):
        return entity, Field(entity.name, key), entity.fields
    key = entity.aliases.get(key, key)
    kind = entity.fields.get(key)
    if kind is None:
        valid = ", ".join(entity.fields)
        raise invalid(f"Invalid {entity.name} key '{key}' at column {column}. Valid keys are {valid}.")
    return entity, Field(entity.name, key), kind


def _unquoted(text: str, quote: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == quote else text


def _value(token: Token, kind: Kind, field: Field) -> float | str:
    column = (token.start_pos or 0) + 1
    if kind.holds == "text":
        if token.type != "STRING":
            raise invalid(
                f"Expected a quoted string value for {field.entity} {field.key!r} at column {column}, got {token}."
            )
        return str(token)[1:-1]
    if token.type != "NUMBER":
        raise invalid(
            f"Expected numeric value type for {field.entity} {field.key!r} at column {column}. Found {token}."
        )
    if field.entity == "metric":
        return float(token)
    try:
        return int(token)
    except ValueError:
        if kind.holds == "integer":
            raise invalid(f"Expected an integer for {field.entity} {field.key!r} at column {column}. Found {token}.") from None
        return float(token)
