"""What a chunk gives and refuses; the laws are in tests/laws/test_chunk_laws.py."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec
import numpy as np
import pytest

from runstream_projections import chunk as chunks
from runstream_projections.chunk import Chunk, Points, Series, decode, encode, history
from runstream_schemas.errors import InvalidEvent, Undecodable

TAIL_LEVEL, BLOCK_LEVEL = 1, 3
NAN = float("nan")
LEAST, GREATEST = -(1 << 63), (1 << 63) - 1
START_MS = 1_700_000_000_000

#: A chunk of two series as version 1 wrote it: what is stored stays readable.
GOLDEN_V1 = bytes.fromhex(
    "01fd152eb8020000000300000020000000200000009492a46c6f7373a76772c3b6c39f6592c0a36d2d3192c0a46461746192"
    "c0a1310100000000000000010200000001000000000000000080080200000000050200000000000200000000000200000000"
    "00020000000000020000000000020000000000020000000080ffffffffffffffff00ffffffffffffffff0602000000010002"
    "000000680002000000e50002000000cf00020000008b00020000000100070000000000000000001800000000000000000000"
    "80000000000000f87f0100000000000000"
)


def of(*stretches: tuple[Series, list[tuple[int, int, float]]]) -> Chunk:
    """A chunk from (series, [(step, timestamp, value), ...])."""
    points = [point for _, stretch in stretches for point in stretch]
    return Chunk(
        tuple(series for series, _ in stretches),
        np.array([len(stretch) for _, stretch in stretches], np.int64),
        np.array([step for step, _, _ in points], np.int64),
        np.array([timestamp for _, timestamp, _ in points], np.int64),
        np.array([value for _, _, value in points], np.float64),
    )


def rows(points: Points) -> list[tuple[int, int, str]]:
    """(step, timestamp, value) of each point; the text of a value tells -0.0 from 0.0, and equals itself for NaN."""
    return [(int(step), int(time), repr(float(value))) for step, time, value in zip(*points, strict=True)]


def listed(chunk: Chunk) -> dict[tuple[str | None, ...], list[tuple[int, int, str]]]:
    ends = np.cumsum(chunk.counts)
    return {
        tuple(series): rows(chunk.points.take(slice(end - count, end)))
        for series, count, end in zip(chunk.series, chunk.counts, ends, strict=True)
    }


def event(series: tuple[Series, ...], step: int, values: np.ndarray) -> Chunk:
    """One log call: a point of each series."""
    ones = np.ones(len(series), np.int64)
    return Chunk(series, ones, ones * step, ones * (START_MS + step // 8), values)


LOSS, ACCURACY = Series("loss"), Series("accuracy")


class TestConcat:
    def test_log_calls_with_the_same_keys_become_one_stretch_for_each_key(self) -> None:
        calls = [event((LOSS, ACCURACY), step, np.array([step, -step], float)) for step in range(3)]
        assert listed(Chunk.concat(calls)) == {
            tuple(LOSS): [(step, START_MS, repr(float(step))) for step in range(3)],
            tuple(ACCURACY): [(step, START_MS, repr(float(-step))) for step in range(3)],
        }

    def test_equal_series_need_not_be_the_same_object(self) -> None:
        other = event((Series("loss"), Series("accuracy")), 1, np.array([3.0, 4.0]))
        both = Chunk.concat([event((LOSS, ACCURACY), 0, np.array([1.0, 2.0])), other])
        assert both.values.tolist() == [1.0, 3.0, 2.0, 4.0]
        assert both.counts.tolist() == [2, 2]

    def test_chunks_of_one_and_the_same_series_are_put_end_to_end(self) -> None:
        both = Chunk.concat([of((LOSS, [(0, 0, 1.0), (1, 0, 2.0)])), of((LOSS, [(2, 0, 3.0)]))])
        assert listed(both) == {tuple(LOSS): [(0, 0, "1.0"), (1, 0, "2.0"), (2, 0, "3.0")]}

    def test_same_series_with_several_points_each(self) -> None:
        one = of((LOSS, [(0, 0, 1.0), (1, 0, 2.0)]), (ACCURACY, [(0, 0, 3.0)]))
        assert listed(Chunk.concat([one, one])) == {
            tuple(LOSS): [(0, 0, "1.0"), (1, 0, "2.0")] * 2,
            tuple(ACCURACY): [(0, 0, "3.0")] * 2,
        }

    def test_different_series_keep_the_order_in_which_they_first_appear(self) -> None:
        first = of((LOSS, [(0, 0, 1.0)]), (ACCURACY, [(0, 0, 2.0), (1, 0, 3.0)]))
        second = of((Series("lr"), [(0, 0, 4.0)]), (LOSS, [(1, 0, 5.0)]))
        third = of((ACCURACY, [(2, 0, 6.0)]), (LOSS, [(2, 0, 7.0)]))
        merged = Chunk.concat([first, second, third])
        assert merged.series == (LOSS, ACCURACY, Series("lr"))
        assert merged.counts.tolist() == [3, 3, 1]
        assert merged.values.tolist() == [1.0, 5.0, 7.0, 2.0, 3.0, 6.0, 4.0]
        assert merged.steps.tolist() == [0, 1, 2, 0, 1, 2, 0]

    def test_points_of_a_series_stay_in_order_over_many_chunks(self) -> None:
        alternating = [of(((LOSS, ACCURACY, Series("lr"))[at % 3], [(at, 0, 0.0)])) for at in range(300)]
        merged = Chunk.concat(alternating)
        assert merged.steps.tolist() == [*range(0, 300, 3), *range(1, 300, 3), *range(2, 300, 3)]

    def test_nothing_and_empty_chunks(self) -> None:
        empty = Chunk.concat([])
        assert len(empty) == 0
        assert empty.series == ()
        one = of((LOSS, [(0, 0, 1.0)]))
        assert Chunk.concat([empty, one, empty]) is one
        assert len(Chunk.concat([empty, empty])) == 0


class TestSelect:
    def test_all_series_of_a_key_and_no_other(self) -> None:
        with_model = Series("loss", "m-1")
        mixed = of((LOSS, [(0, 0, 1.0)]), (ACCURACY, [(0, 0, 2.0)]), (with_model, [(0, 0, 3.0), (1, 0, 4.0)]))
        selected = mixed.select("loss")
        assert selected.series == (LOSS, with_model)
        assert selected.values.tolist() == [1.0, 3.0, 4.0]

    def test_a_sorted_chunk_gives_a_view(self) -> None:
        ordered = of((ACCURACY, [(0, 0, 2.0)]), (LOSS, [(0, 0, 1.0)]), (Series("loss", "m-1"), [(0, 0, 3.0)]))
        selected = ordered.select("loss")
        assert selected.values.tolist() == [1.0, 3.0]
        assert np.shares_memory(selected.values, ordered.values)

    def test_an_unknown_key_has_no_points(self) -> None:
        assert len(of((LOSS, [(0, 0, 1.0)])).select("los")) == 0


class TestSortedUnique:
    def test_series_sort_by_field_with_none_first(self) -> None:
        series = [
            Series("a"),
            Series("a", None, "data"),
            Series("a", None, "data", "1"),
            Series("a", ""),
            Series("a", "m"),
            Series("a", "m", "data"),
            Series("b"),
            Series("\ufb01"),
            Series("\U0001f600"),
        ]
        mixed = of(*((one, [(0, 0, float(at))]) for at, one in reversed(list(enumerate(series)))))
        ordered = mixed.sorted_unique()
        assert list(ordered.series) == series
        assert ordered.values.tolist() == list(range(len(series)))

    def test_points_sort_by_timestamp_then_step_then_value_with_nan_last(self) -> None:
        points = [(1, 5, NAN), (1, 5, float("inf")), (0, 5, 1.0), (9, 4, 1.0), (1, 5, float("-inf")), (1, 5, 0.0)]
        assert rows(of((LOSS, points)).sorted_unique().points) == [
            (9, 4, "1.0"),
            (0, 5, "1.0"),
            (1, 5, "-inf"),
            (1, 5, "0.0"),
            (1, 5, "inf"),
            (1, 5, "nan"),
        ]

    def test_the_least_and_the_greatest_integers_are_in_order(self) -> None:
        points = [(GREATEST, GREATEST, 1.0), (LEAST, GREATEST, 1.0), (0, LEAST, 1.0), (0, 0, 1.0)]
        ordered = of((LOSS, points)).sorted_unique()
        assert ordered.timestamps.tolist() == [LEAST, 0, GREATEST, GREATEST]
        assert ordered.steps.tolist() == [0, 0, LEAST, GREATEST]

    @pytest.mark.parametrize("rest", [[], [(9, 9, 9.0), (0, 0, 0.5)]], ids=["in order", "out of order"])
    def test_of_equal_points_the_first_stays(self, rest: list[tuple[int, int, float]]) -> None:
        points = [(0, 1, -0.0), (0, 1, 0.0), (0, 1, -0.0), (1, 1, 0.0), (1, 1, -0.0), (2, 1, NAN), (2, 1, -NAN), *rest]
        kept = of((LOSS, points)).sorted_unique()
        assert [row for row in rows(kept.points) if row[1] == 1] == [(0, 1, "-0.0"), (1, 1, "0.0"), (2, 1, "nan")]

    def test_equal_points_of_neighbouring_series_stay_apart(self) -> None:
        kept = of((ACCURACY, [(0, 0, 1.0)]), (LOSS, [(0, 0, 1.0), (0, 0, 1.0)]), (Series("lr"), [(0, 0, 1.0)]))
        assert kept.sorted_unique().counts.tolist() == [1, 1, 1]


class TestHistory:
    def test_a_point_logged_again_with_a_model_is_one_point(self) -> None:
        first = of((LOSS, [(0, 1, 1.0), (1, 2, NAN)]))
        again = of((Series("loss", "m-1", "data", "1"), [(1, 2, NAN), (2, 3, 3.0)]))
        assert rows(history([first, again], "loss")) == [(0, 1, "1.0"), (1, 2, "nan"), (2, 3, "3.0")]

    def test_chunks_may_overlap_and_come_in_any_order(self) -> None:
        late, early = of((LOSS, [(3, 30, 3.0), (4, 40, 4.0)])), of((LOSS, [(4, 40, 4.0), (0, 0, 0.0)]))
        assert rows(history([late, early], "loss")) == [(0, 0, "0.0"), (3, 30, "3.0"), (4, 40, "4.0")]

    def test_no_chunk_and_an_unknown_key_give_no_points(self) -> None:
        assert rows(history([], "loss")) == []
        assert rows(history([of((LOSS, [(0, 0, 1.0)]))], "accuracy")) == []


def random_block(jitter_ms: int) -> Chunk:
    random = np.random.default_rng(7)
    gaps = 1000 + random.integers(-jitter_ms, jitter_ms + 1, 4096)
    return Chunk((LOSS,), np.array([4096]), np.arange(4096), START_MS + np.cumsum(gaps), random.random(4096))


class TestSize:
    @pytest.mark.parametrize(("jitter_ms", "most"), [(0, 7.0), (50, 7.9), (500, 8.4)])
    def test_bytes_a_point_of_a_block_of_random_doubles(self, jitter_ms: int, most: float) -> None:
        assert len(encode(random_block(jitter_ms), BLOCK_LEVEL)) / 4096 < most

    def test_bytes_a_point_of_a_tail_of_390_log_calls_with_50_keys(self) -> None:
        random = np.random.default_rng(7)
        keys = tuple(Series(f"train/layer_{at}/grad_norm") for at in range(50))
        tail = Chunk.concat([event(keys, step, random.random(50)) for step in range(390)])
        assert len(encode(tail, TAIL_LEVEL)) / len(tail) < 7.0

    def test_equal_and_evenly_rising_columns_take_no_bytes_a_point(self) -> None:
        count = 1000
        steps, none = np.arange(2 * count) % count * 10, np.zeros(2 * count)
        even = Chunk((LOSS, ACCURACY), np.array([count, count]), steps, np.full(2 * count, START_MS), none)
        assert len(encode(even, TAIL_LEVEL)) < 150

    def test_recurring_values_are_not_taken_apart(self) -> None:
        block = random_block(0)
        rounded = Chunk(block.series, block.counts, block.steps, block.timestamps, np.round(block.values, 4))
        assert len(encode(rounded, BLOCK_LEVEL)) / 4096 < 5.0


class TestCodec:
    def test_what_version_1_wrote_stays_readable(self) -> None:
        golden = decode(GOLDEN_V1)
        assert listed(golden) == {
            ("loss", None, None, None): [(LEAST, 1_700_000_000_000, "-0.0"), (GREATEST, 1_700_000_000_007, "nan")],
            ("größe", "m-1", "data", "1"): [(5, -1, "5e-324")],
        }

    def test_an_empty_chunk(self) -> None:
        empty = decode(encode(Chunk.concat([]), TAIL_LEVEL))
        assert (len(empty), len(empty.series), len(empty.counts)) == (0, 0, 0)

    def test_series_read_back_are_series(self) -> None:
        read = decode(encode(of((Series("loss", "m-1"), [(0, 0, 1.0)])), TAIL_LEVEL))
        assert read.series == (Series("loss", "m-1"),)
        assert read.series[0].model_id == "m-1"

    def test_a_slice_of_a_larger_chunk_is_encoded_as_it_is(self) -> None:
        block = random_block(50)
        part = Chunk(block.series, np.array([500]), *block.points.take(slice(1000, 2000, 2)))
        assert rows(decode(encode(part, BLOCK_LEVEL)).points) == rows(part.points)

    def test_threads_do_not_share_a_compressor(self) -> None:
        block = random_block(50)
        expected = encode(block, BLOCK_LEVEL)
        with ThreadPoolExecutor(4) as pool:
            encoded = list(pool.map(lambda _: encode(block, BLOCK_LEVEL), range(40)))
            decoded = list(pool.map(decode, encoded))
        assert set(encoded) == {expected}
        assert all(np.array_equal(one.values, block.values) for one in decoded)


def sealed(body: bytes) -> bytes:
    """A body under a right version and checksum."""
    return struct.pack("<BI", chunks.VERSION, zlib.crc32(body)) + body


class TestDamage:
    data = encode(of((LOSS, [(0, 0, 1.0), (1, 5, 2.0), (7, 1, NAN)])), TAIL_LEVEL)

    @pytest.mark.parametrize("whole", [data, encode(random_block(50), BLOCK_LEVEL)[:600]], ids=["small", "cut block"])
    def test_every_cut_is_refused(self, whole: bytes) -> None:
        for length in range(len(whole)):
            with pytest.raises(Undecodable):
                decode(whole[:length])

    def test_every_changed_byte_is_refused(self) -> None:
        for at in range(len(self.data)):
            changed = bytearray(self.data)
            changed[at] ^= 0x40
            with pytest.raises(Undecodable):
                decode(bytes(changed))

    @pytest.mark.parametrize("level", [TAIL_LEVEL, BLOCK_LEVEL])
    def test_forged_bodies_under_a_right_checksum_are_refused_or_read(self, level: int) -> None:
        body = encode(random_block(50), level)[5:]
        for at in [*range(200), *range(200, len(body), 97)]:
            forged = bytearray(body)
            forged[at] ^= 0xFF
            with suppress(Undecodable):
                assert len(decode(sealed(bytes(forged)))) == 4096

    @pytest.mark.parametrize("lengths", [(1, (1 << 24) + 1, 20), (3, 2, 20), (1, 1, (1 << 26) + 1)])
    def test_declared_lengths_are_bounded_before_anything_is_allocated(self, lengths: tuple[int, int, int]) -> None:
        with pytest.raises(Undecodable, match="cannot be"):
            decode(sealed(struct.pack("<III", *lengths)))

    def test_a_frame_that_declares_more_than_its_section_is_refused(self) -> None:
        bomb = chunks._zstd.compressor(3).compress(bytes(1 << 20))
        with pytest.raises(Undecodable, match="does not unpack"):
            decode(sealed(struct.pack("<IIII", 1, 1, 1000, len(bomb)) + bomb))

    def test_words_wider_than_eight_bytes_are_refused(self) -> None:
        names = msgspec.msgpack.encode([["loss"], None, None, None])
        section, nine_planes = struct.pack("<I", len(names)) + names, struct.pack("<IB", 1, 1) * 9
        with pytest.raises(Undecodable):
            decode(sealed(struct.pack("<III", 1, 1, len(names)) + section + struct.pack("<qB", 0, 9) + nine_planes))

    def test_bytes_after_the_end_are_refused(self) -> None:
        with pytest.raises(Undecodable, match="where the bytes end"):
            decode(sealed(self.data[5:] + b"\x00"))

    def test_another_version_is_named(self) -> None:
        with pytest.raises(Undecodable, match="version 2"):
            decode(b"\x02" + self.data[1:])

    def test_a_name_with_a_lone_surrogate_is_an_invalid_event(self) -> None:
        with pytest.raises(InvalidEvent, match="Unicode"):
            encode(of((Series("loss\ud800"), [(0, 0, 1.0)])), TAIL_LEVEL)

    def test_more_points_than_a_reader_takes_are_not_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chunks, "MAX_POINTS", 2)
        with pytest.raises(InvalidEvent, match="3 points"):
            encode(of((LOSS, [(0, 0, 1.0)] * 3)), TAIL_LEVEL)
