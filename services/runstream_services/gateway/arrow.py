"""Metric histories as an Arrow IPC stream: one schema, and a record batch for each part of a series.

Columns: ``run_id`` and ``key`` (dictionary-encoded strings), ``step`` (int64), ``timestamp`` (int64, ms), ``value``
(float64); none has nulls. pyarrow, polars, pandas, DuckDB, R and Java read it.

The format is Apache Arrow's (`Columnar.rst`, `Message.fbs` and `Schema.fbs` of version 1.0 on): each message is a
marker, the size of its metadata, the metadata as a FlatBuffer, and a body of buffers on boundaries of eight bytes. Six
kinds of tables are all that is written here; a library of 40 MB would write them no faster.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from runstream_projections.chunk import Points

CONTENT_TYPE: Final = b"application/vnd.apache.arrow.stream"
#: What ends a stream.
END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"

# Members of the unions and enums of Message.fbs and Schema.fbs.
_VERSION_5: Final = 4
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_INT, _FLOAT, _UTF8 = 2, 3, 5
_DOUBLE: Final = 2
_RUN_IDS, _KEYS = 0, 1

#: Writes itself at the end of a buffer and returns where it begins.
_Writer = Callable[["_Buffer"], int]
#: A field of a table: its struct format and value, a writer of what it points to, or None where it is left out.
_Field = tuple[str, int] | _Writer | None


class _Buffer:
    """A FlatBuffer, written from its root on: what a table points to comes after it."""

    def __init__(self, root: _Writer) -> None:
        self.bytes = bytearray(4)
        struct.pack_into("<I", self.bytes, 0, root(self))
        self.align(8)

    def align(self, size: int) -> None:
        self.bytes += bytes(-len(self.bytes) % size)

    def put(self, data: bytes) -> int:
        self.bytes += data
        return len(self.bytes) - len(data)

    def point(self, at: int, writer: _Writer) -> None:
        """Write what the offset at ``at`` points to."""
        struct.pack_into("<I", self.bytes, at, writer(self) - at)


def _table(*fields: _Field) -> _Writer:
    def write(buffer: _Buffer) -> int:
        forms = [None if field is None else field[0] if isinstance(field, tuple) else "I" for field in fields]
        places, end = [], 4
        for form in forms:
            size = 0 if form is None else struct.calcsize(f"<{form}")
            end += -end % size if size else 0
            places.append(end if size else 0)
            end += size
        buffer.align(2)
        vtable = buffer.put(struct.pack(f"<{2 + len(places)}H", 4 + 2 * len(places), end, *places))
        buffer.align(8)
        start = buffer.put(bytes(end))
        struct.pack_into("<i", buffer.bytes, start, start - vtable)
        for field, form, place in zip(fields, forms, places, strict=True):
            if isinstance(field, tuple):
                struct.pack_into(f"<{form}", buffer.bytes, start + place, field[1])
            elif field is not None:
                buffer.point(start + place, field)
        return start

    return write


def _tables(*writers: _Writer) -> _Writer:
    def write(buffer: _Buffer) -> int:
        buffer.align(4)
        start = buffer.put(struct.pack("<I", len(writers)) + bytes(4 * len(writers)))
        for number, writer in enumerate(writers):
            buffer.point(start + 4 + 4 * number, writer)
        return start

    return write


def _structs(form: str, rows: Sequence[tuple[int, ...]]) -> _Writer:
    """A vector of structs of 64-bit integers."""

    def write(buffer: _Buffer) -> int:
        buffer.bytes += bytes((4 - len(buffer.bytes)) % 8)  # the rows are on a boundary of eight
        return buffer.put(struct.pack("<I", len(rows)) + b"".join(struct.pack(form, *row) for row in rows))

    return write


def _text(value: str) -> _Writer:
    def write(buffer: _Buffer) -> int:
        buffer.align(4)
        encoded = value.encode()
        return buffer.put(struct.pack("<I", len(encoded)) + encoded + b"\0")

    return write


def _metadata(pairs: Mapping[str, str]) -> _Writer:
    return _tables(*(_table(_text(key), _text(value)) for key, value in pairs.items()))


def _message(
    kind: int, header: _Writer, body: Sequence[bytes | memoryview], metadata: Mapping[str, str] | None = None
) -> bytes:
    sizes = sum(len(part) for part in body)
    about = None if metadata is None else _metadata(metadata)
    table = _table(("h", _VERSION_5), ("B", kind), header, ("q", sizes), about)
    flat = bytes(_Buffer(table).bytes)
    return b"".join((b"\xff\xff\xff\xff", struct.pack("<I", len(flat)), flat, *body))


def _field(name: str, kind: int, form: _Writer, dictionary: int | None = None) -> _Writer:
    """A column without nulls; its values are those of a dictionary where it has one, found by eight-bit indices."""
    encoding = None
    if dictionary is not None:
        encoding = _table(("q", dictionary), _table(("i", 8), ("B", 1)))
    return _table(_text(name), ("B", 0), ("B", kind), form, encoding, _tables())


def _record_batch(
    rows: int, nodes: int, buffers: Sequence[bytes | memoryview | None]
) -> tuple[_Writer, list[bytes | memoryview]]:
    """The table of a batch, and its body; None stands for the bitmap of a column that has no nulls."""
    places, body, at = [], [], 0
    for data in buffers:
        size = 0 if data is None else len(data)
        places.append((at, size))
        if data is not None:
            body += [data, bytes(-size % 8)]
            at += size + -size % 8
    return _table(("q", rows), _structs("<qq", [(rows, 0)] * nodes), _structs("<qq", places)), body


def begin(run_ids: Sequence[str], keys: Sequence[str]) -> bytes:
    """The schema, and the run ids and keys that batches refer to by their places here: at most 127 of each."""
    integer = _table(("i", 64), ("B", 1))
    schema = _table(
        None,  # little-endian
        _tables(
            _field("run_id", _UTF8, _table(), _RUN_IDS),
            _field("key", _UTF8, _table(), _KEYS),
            _field("step", _INT, integer),
            _field("timestamp", _INT, integer),
            _field("value", _FLOAT, _table(("h", _DOUBLE))),
        ),
    )
    return _message(_SCHEMA, schema, []) + _dictionary(_RUN_IDS, run_ids) + _dictionary(_KEYS, keys)


def _dictionary(number: int, names: Sequence[str]) -> bytes:
    encoded = [name.encode() for name in names]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    batch, body = _record_batch(len(names), 1, [None, offsets.tobytes(), b"".join(encoded)])
    return _message(_DICTIONARY, _table(("q", number), batch), body)


def batch(run: int, key: int, points: Points, metadata: Mapping[str, str]) -> bytes:
    """Points of one series, named by the places of its run id and key, with metadata of the batch."""
    rows = len(points.values)
    buffers: list[bytes | memoryview | None] = [None, bytes([run]) * rows, None, bytes([key]) * rows]
    for column in points:
        buffers += [None, column.view(np.uint8).data]
    header, body = _record_batch(rows, len(buffers) // 2, buffers)
    return _message(_BATCH, header, body, metadata)
