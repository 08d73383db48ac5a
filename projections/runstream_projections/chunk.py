"""Chunks: the metric points of a few series of one run as columns, and the bytes that a row stores.

A *series* is what one curve is logged as: metric key, and the model and dataset it was measured on, if any. A chunk
holds each of its series once, as one stretch of three columns: step, timestamp, value.

Points are equal as MLflow's primary key (key, timestamp, step, run, value, is_nan) has it in PostgreSQL: every NaN is
the same NaN, and -0.0 equals 0.0. Of equal points the first in log order stays, with its own bits.

The bytes, version 1, little-endian::

    u8 version, u32 CRC-32 of all that follows, u32 series, u32 points, u32 plain size of the directory
    directory   section: msgpack of four lists (or nil when all None), one for each field of a series
    counts      integers, one for each series
    steps       integers: the first of each series; integers: the changes from point to point within the series
    timestamps  the same
    values      u8 8, eight planes; or u8 0, one section of the doubles as they are: whichever is smaller

    integers    i64 least, u8 width, then what exceeds the least as ``width`` planes: equal numbers have width 0,
                and so has a column that rises evenly
    plane       the k-th lowest byte of every word, as a section: bytes of the same weight compress together
    section     u32 stored size, bytes; zstd when stored size < plain size, which the reader knows

Random doubles take 6.8 bytes, doubles that were a float32 3.2: some planes shrink, and the others cost zstd little.
"""

from __future__ import annotations

import functools
import struct
import threading
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from runstream_schemas.errors import InvalidEvent, Undecodable

Integers: TypeAlias = npt.NDArray[np.int64]
Doubles: TypeAlias = npt.NDArray[np.float64]
Words: TypeAlias = npt.NDArray[np.uint64]

#: Bounds of what one chunk may declare, so that no bytes make a reader allocate more.
MAX_POINTS: Final = 1 << 24
MAX_DIRECTORY_BYTES: Final = 1 << 26

VERSION: Final = 1
_ENVELOPE: Final = struct.Struct("<BI")
_LENGTHS: Final = struct.Struct("<III")
_SIZE: Final = struct.Struct("<I")
_INTEGERS: Final = struct.Struct("<qB")
_WIDTH: Final = struct.Struct("<B")
_SHORTEST_COMPRESSED: Final = 128
_LOW_64_BITS: Final = (1 << 64) - 1
_DIRECTORY: Final = msgspec.msgpack.Decoder(
    tuple[list[str], list[str | None] | None, list[str | None] | None, list[str | None] | None]
)


class Series(NamedTuple):
    """What one curve of a run is logged as. Any tuple of four equals and hashes the same."""

    key: str
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None

    def rank(self) -> tuple[object, ...]:
        """Sort key: by field, None first, strings by code point (PostgreSQL's collation "C")."""
        key, model, name, digest = self
        return key, model is not None, model or "", name is not None, name or "", digest is not None, digest or ""


class Points(NamedTuple):
    """Three columns of one length: steps, timestamps (ms), values."""

    steps: Integers
    timestamps: Integers
    values: Doubles

    def take(self, which: Integers | slice) -> Points:
        """These points in this order; a slice is a view."""
        return Points(self.steps[which], self.timestamps[which], self.values[which])


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Points of distinct series, grouped by series in the order of ``series``; ``len`` is the number of points.

    ``counts`` (int64): points of each series, at least 1. ``steps`` (int64), ``timestamps`` (int64, ms), ``values``
    (float64). The arrays are not to be written to: chunks share them.
    """

    series: Sequence[Series]
    counts: Integers
    steps: Integers
    timestamps: Integers
    values: Doubles

    def __len__(self) -> int:
        return len(self.values)

    @property
    def points(self) -> Points:
        """The columns."""
        return Points(self.steps, self.timestamps, self.values)

    @staticmethod
    def concat(chunks: Sequence[Chunk]) -> Chunk:
        """All points, grouped by series again; series by first appearance, points of a series in the order given."""
        chunks = [chunk for chunk in chunks if len(chunk)]
        if not chunks:
            none = np.empty(0, np.int64)
            return Chunk((), none, none, none, np.empty(0))
        if len(chunks) == 1:
            return chunks[0]
        steps = np.concatenate([chunk.steps for chunk in chunks])
        timestamps = np.concatenate([chunk.timestamps for chunk in chunks])
        points = Points(steps, timestamps, np.concatenate([chunk.values for chunk in chunks]))
        series, width = chunks[0].series, len(chunks[0].series)
        if all(chunk.series is series or chunk.series == series for chunk in chunks):
            if width == 1:
                return Chunk(series, np.array([len(points.values)]), *points)
            if all(len(chunk.values) == width for chunk in chunks):
                # Every chunk is one point of each series: rows of a matrix, whose columns are the series.
                by_series = np.arange(len(points.values)).reshape(-1, width).T.ravel()
                return Chunk(series, np.full(width, len(chunks)), *points.take(by_series))
        return _regroup(chunks, points)

    def select(self, key: str) -> Chunk:
        """The points of one metric key, all its series; a view where they are neighbours, as in a sorted chunk."""
        which = [at for at, series in enumerate(self.series) if series[0] == key]
        counts = self.counts[which]
        starts = _starts(self.counts)[which]
        series = tuple(self.series[at] for at in which)
        if which and which[-1] - which[0] + 1 == len(which):
            return Chunk(series, counts, *self.points.take(slice(starts[0], starts[-1] + counts[-1])))
        return Chunk(series, counts, *self.points.take(_stretches(starts, counts)))

    def sorted_unique(self) -> Chunk:
        """Series by :meth:`Series.rank`; in a series by (timestamp, step, value), NaN last; equal points once."""
        ranks = [Series.rank(series) for series in self.series]
        order = sorted(range(len(ranks)), key=ranks.__getitem__)
        counts, points = self.counts, self.points
        if order != list(range(len(order))):
            points = points.take(_stretches(_starts(counts)[order], counts[order]))
            counts = counts[order]
        points, counts = _sort_stretches(points, counts)
        return Chunk(tuple(self.series[at] for at in order), counts, *points)


def history(chunks: Iterable[Chunk], key: str) -> Points:
    """All points of a metric key in these chunks by (timestamp, step, value), NaN last, equal points once.

    The chunks are given in log order, and may overlap. MLflow's key of a point does not hold the model and dataset:
    the same point logged again with a model is one point here. Of such a pair with values 0.0 and -0.0 the one
    whose series ranks first stays, so that compaction, which sorts by series, changes no answer.
    """
    merged = Chunk.concat([part for part in (chunk.select(key) for chunk in chunks) if len(part)])
    if len(merged.series) > 1:
        merged = merged.sorted_unique()
    points, _ = _sort_stretches(merged.points, np.array([len(merged)]))
    return points


def _starts(counts: Integers) -> Integers:
    """Where each stretch of a column begins."""
    starts: Integers = np.cumsum(counts) - counts
    return starts


def _stretches(starts: Integers, counts: Integers) -> Integers:
    """The indices of stretches of a column, one stretch after the other."""
    indices: Integers = np.repeat(starts - _starts(counts), counts) + np.arange(counts.sum())
    return indices


def _regroup(chunks: Sequence[Chunk], points: Points) -> Chunk:
    """The points of chunks, one after the other, moved together by series: whole stretches, in stable order."""
    places: dict[Series, int] = {}
    parts: list[Integers] = []
    seen: Sequence[Series] | None = None
    for chunk in chunks:
        if chunk.series is not seen:
            part = np.array([places.setdefault(series, len(places)) for series in chunk.series], np.int64)
            seen = chunk.series
        parts.append(part)
    place = np.concatenate(parts)
    counts = np.concatenate([chunk.counts for chunk in chunks])
    order = np.argsort(place, kind="stable")
    totals = np.bincount(place, weights=counts, minlength=len(places)).astype(np.int64)
    return Chunk(tuple(places), totals, *points.take(_stretches(_starts(counts)[order], counts[order])))


def _sort_stretches(points: Points, counts: Integers) -> tuple[Points, Integers]:
    """Each stretch by (timestamp, step, value), stable, equal points once; the points and the counts that are left.

    What is in order already is only looked at; what is in order but for its timestamps is sorted by these alone.
    """
    in_order, repeats = _compare_neighbours(points, counts)
    if not in_order:
        stretch = np.repeat(np.arange(len(counts)), counts)
        by_time = points.take(np.lexsort((points.timestamps, stretch)))
        in_order, repeats = _compare_neighbours(by_time, counts)
        if in_order:
            points = by_time
        else:
            points = points.take(np.lexsort((points.values, points.steps, points.timestamps, stretch)))
            _, repeats = _compare_neighbours(points, counts)
    if not len(repeats):
        return points, counts
    shortened = np.searchsorted(np.cumsum(counts), repeats, side="right")
    kept = np.delete(np.arange(len(points.values)), repeats)
    return points.take(kept), counts - np.bincount(shortened, minlength=len(counts))


def _compare_neighbours(points: Points, counts: Integers) -> tuple[bool, Integers]:
    """Whether no point of a stretch comes after a greater one, and which points equal the one before them."""
    not_later = points.timestamps[1:] <= points.timestamps[:-1]
    not_later[_starts(counts)[1:] - 1] = False
    left = np.flatnonzero(not_later)
    if not len(left):
        return True, left
    right = left + 1
    (step, time, value), (next_step, next_time, next_value) = points.take(left), points.take(right)
    same_time, same_step = next_time == time, next_step == step
    nan, next_nan = np.isnan(value), np.isnan(next_value)
    less = (next_value < value) | (nan & ~next_nan)
    falls = (next_time < time) | (same_time & ((next_step < step) | (same_step & less)))
    equal = same_time & same_step & ((next_value == value) | (nan & next_nan))
    return not falls.any(), right[equal]


class _Zstd(threading.local):
    """The compressors and the decompressor of one thread: they are costly to make and cannot be shared."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()
        self.compressor = functools.cache(lambda level: zstandard.ZstdCompressor(level=level))


_zstd: Final = _Zstd()


def encode(chunk: Chunk, level: int) -> bytes:
    """The bytes of a chunk, exact for every 64-bit integer and every bit of a double.

    ``level`` is zstd's: to random doubles 1 and 3 do the same, rounded ones are 6 % smaller with 3 for 20 % more time.
    Raises InvalidEvent for more points or names than a chunk may hold, and for a name that is not valid Unicode.
    """
    fields: list[tuple[str | None, ...]] = list(zip(*chunk.series, strict=True)) or [()] * 4
    lists = [fields[0], *(field if any(name is not None for name in field) else None for field in fields[1:])]
    try:
        names = msgspec.msgpack.encode(lists)
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"a name of a metric series is not valid Unicode: {error}") from error
    if len(chunk) > MAX_POINTS or len(names) > MAX_DIRECTORY_BYTES:
        raise InvalidEvent(
            f"{len(chunk)} points and {len(names)} bytes of names do not fit a chunk: cut it into several"
        )
    starts = _starts(chunk.counts)
    body = _LENGTHS.pack(len(chunk.series), len(chunk), len(names)) + _section(names, level)
    body += _integers(chunk.counts, level) + _progressions(chunk.steps, starts, level)
    body += _progressions(chunk.timestamps, starts, level) + _doubles(chunk.values, level)
    return _ENVELOPE.pack(VERSION, zlib.crc32(body)) + body


def _section(plain: bytes, level: int) -> bytes:
    if len(plain) >= _SHORTEST_COMPRESSED:
        packed = _zstd.compressor(level).compress(plain)
        if len(packed) < len(plain):
            return _SIZE.pack(len(packed)) + packed
    return _SIZE.pack(len(plain)) + plain


def _planes(words: Words, width: int, level: int) -> bytes:
    if not width:
        return b""
    planes = np.ascontiguousarray(words.view(np.uint8).reshape(-1, 8)[:, :width].T)
    return b"".join(_section(plane.tobytes(), level) for plane in planes)


def _integers(column: Integers, level: int) -> bytes:
    if not len(column):
        return _INTEGERS.pack(0, 0)
    least = int(column.min())
    excess = column.view(np.uint64) - np.uint64(least & _LOW_64_BITS)
    width = (int(excess.max()).bit_length() + 7) // 8
    return _INTEGERS.pack(least, width) + _planes(excess, width, level)


def _progressions(column: Integers, starts: Integers, level: int) -> bytes:
    if len(starts) == len(column):
        return _integers(column, level) + _integers(column[:0], level)
    # Unsigned, so that a change from the least to the greatest integer wraps around and back.
    words = column.view(np.uint64)
    changes = np.delete(words[1:] - words[:-1], starts[1:] - 1) if len(starts) > 1 else words[1:] - words[:-1]
    return _integers(column[starts], level) + _integers(changes.view(np.int64), level)


def _doubles(column: Doubles, level: int) -> bytes:
    words = np.ascontiguousarray(column, np.float64).view(np.uint64)
    whole = _section(words.tobytes(), level)
    if len(words) < _SHORTEST_COMPRESSED:
        return b"\x00" + whole
    # Values that recur (0.9312 of 10,000 samples) compress better whole.
    planes = _planes(words, 8, level)
    return b"\x08" + planes if len(planes) < len(whole) else b"\x00" + whole


def decode(data: bytes) -> Chunk:
    """The chunk that :func:`encode` wrote. Raises Undecodable for bytes that are cut, changed or of another version."""
    try:
        reader = _Reader(data)
        series, counts = reader.directory()
        starts = _starts(counts)
        steps, timestamps = reader.progressions(counts, starts), reader.progressions(counts, starts)
        return Chunk(series, counts, steps, timestamps, reader.doubles())
    except (struct.error, zstandard.ZstdError, msgspec.MsgspecError, ValueError, IndexError) as error:
        raise Undecodable(f"metric chunk of {len(data)} bytes: {error}; rebuild the projection") from error


class _Reader:
    """Reads the parts of an encoded chunk in their order; every size is checked before it is used."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.at = 0
        self.points = 0

    def directory(self) -> tuple[tuple[Series, ...], Integers]:
        version, checksum = self.unpack(_ENVELOPE)
        if version != VERSION:
            raise ValueError(f"version {version} is not known here")
        if zlib.crc32(self.data[self.at :]) != checksum:
            raise ValueError("the checksum differs")
        length, self.points, size = self.unpack(_LENGTHS)
        if size > MAX_DIRECTORY_BYTES or not length <= self.points <= MAX_POINTS:
            raise ValueError(f"{length} series with {self.points} points and {size} bytes of names cannot be")
        none = [None] * length
        columns = [none if column is None else column for column in _DIRECTORY.decode(self.section(size))]
        counts = self.integers(length)
        if any(len(column) != length for column in columns) or counts.sum() != self.points or (counts < 1).any():
            raise ValueError("the directory does not add up")
        return tuple(map(Series._make, zip(*columns, strict=True))), counts

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        values = form.unpack_from(self.data, self.at)
        self.at += form.size
        return values

    def section(self, size: int) -> bytes | memoryview:
        (stored,) = self.unpack(_SIZE)
        section = self.data[self.at : self.at + stored]
        self.at += stored
        if len(section) != stored or stored > size:
            raise ValueError(f"a section of {stored} bytes where at most {size} can be")
        if stored == size:
            return section
        # zstd allocates what a frame declares.
        if zstandard.frame_content_size(section) != size:
            raise ValueError(f"a section that does not unpack to {size} bytes")
        return _zstd.decompressor.decompress(section)

    def planes(self, count: int, width: int) -> Words:
        words = np.zeros((count, 8), np.uint8)
        for plane in range(width):
            words[:, plane] = np.frombuffer(self.section(count), np.uint8)
        return words.reshape(-1).view(np.uint64)

    def integers(self, count: int) -> Integers:
        least, width = self.unpack(_INTEGERS)
        words = self.planes(count, width) + np.uint64(least & _LOW_64_BITS)
        return words.view(np.int64)

    def progressions(self, counts: Integers, starts: Integers) -> Integers:
        firsts, changes = self.integers(len(counts)), self.integers(self.points - len(counts))
        if not len(changes):
            return firsts
        if len(counts) == 1:
            words = np.concatenate([firsts, changes]).view(np.uint64)
            return np.cumsum(words, out=words).view(np.int64)
        words = np.zeros(self.points, np.uint64)
        words[np.delete(np.arange(self.points), starts)] = changes.view(np.uint64)
        np.cumsum(words, out=words)
        words += np.repeat(firsts.view(np.uint64) - words[starts], counts)
        return words.view(np.int64)

    def doubles(self) -> Doubles:
        """The last column, up to the end of the bytes."""
        (width,) = self.unpack(_WIDTH)
        column = self.planes(self.points, 8) if width else np.frombuffer(self.section(8 * self.points), np.uint64)
        if width not in (0, 8) or self.at != len(self.data):
            raise ValueError("the values do not end where the bytes end")
        return column.view(np.float64)
