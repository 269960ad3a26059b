"""What a stage costs."""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import weakref

import pytest

import rewarddiff.machine as module
from rewarddiff.machine import (
    Meter,
    describe,
    freed_memory_is_kept,
    kernel_field,
    only_new_garbage,
    peak_memory,
    release_memory,
    reset_peak_memory,
)

MEGABYTE = 10**6
HAS_MALLOPT = hasattr(ctypes.CDLL(None), "mallopt")


def resident() -> int:
    """Memory that this process holds now, bytes."""
    field = kernel_field("self/status", "VmRSS")
    assert field is not None
    return int(field.split()[0]) * 1024


def touched(size: int) -> bytes:
    """Memory that is really there: zeros would be promised only."""
    return b"\x01" * size


def can_reset() -> bool:
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return True


@pytest.mark.skipif(
    not can_reset(), reason="this system does not allow a new peak: peaks are the whole process's"
)
def test_the_peak_of_a_block_sees_what_was_freed_again_and_no_earlier_peak() -> None:
    release_memory()
    reset_peak_memory()
    start = peak_memory()
    assert start is not None
    with Meter() as large:
        block = touched(200 * MEGABYTE)
        del block
    peak = large.cost()["peak_memory_bytes"]
    assert peak is not None
    assert 190 * MEGABYTE < peak - start < 260 * MEGABYTE
    with Meter() as small:
        pass
    after = small.cost()["peak_memory_bytes"]
    assert after is not None
    assert after < peak - 150 * MEGABYTE


@pytest.mark.skipif(not HAS_MALLOPT, reason="another C library than glibc")
def test_freed_memory_serves_what_is_asked_for_next() -> None:
    """A kernel page is 4 KiB or larger: 40 MB handed out anew are thousands of faults, kept none."""

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            touched(40 * MEGABYTE)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with freed_memory_is_kept():
        touched(40 * MEGABYTE)
        kept = faults()
        held = resident()
    assert kept < 100
    assert held - resident() > 30 * MEGABYTE  # given back at the end


def test_only_what_a_block_makes_is_looked_through_for_cycles() -> None:
    """Python counts what it leaves alone; a cycle made in the block is still found."""

    class Made:
        pass

    gc.unfreeze()
    with only_new_garbage():
        assert gc.get_freeze_count() > 10_000  # all that pytest has imported
        made = Made()
        made.itself = made
        found = weakref.ref(made)
        del made
        assert found() is not None
        gc.collect()
        assert found() is None
    assert gc.get_freeze_count() == 0
    gc.freeze()
    with only_new_garbage():
        pass
    assert gc.get_freeze_count() > 10_000


def test_peak_memory_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> str:
        raise FileNotFoundError

    block = touched(50 * MEGABYTE)
    monkeypatch.setattr(module.Path, "read_text", absent)
    monkeypatch.setattr(module.Path, "write_text", absent)
    reset_peak_memory()  # not possible, and no error
    peak = peak_memory()
    assert peak is not None
    assert len(block) < peak < 10**12  # bytes, whatever unit the system counts in


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_a_meter_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.now = 5.0
    monkeypatch.setattr(module.time, "perf_counter", clock.perf_counter)
    meter = Meter()
    clock.now = 10.0
    with meter:
        meter.tokens += 60
        clock.now = 12.0
        assert meter.seconds == 2.0  # readable inside
        meter.tokens += 40
        clock.now = 14.0
    clock.now = 99.0  # the clock stopped at the end of the block
    cost = meter.cost()
    assert (cost["seconds"], cost["tokens"], cost["tokens_per_second"]) == (4.0, 100, 25.0)


def test_a_meter_that_goes_on_counts_both_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module.time, "perf_counter", clock.perf_counter)
    with Meter() as first:
        first.tokens += 60
        clock.now = 4.0
        earlier = json.loads(json.dumps(first.so_far()))
    clock.now = 100.0
    meter = Meter()
    meter.go_on(earlier | {"peak_memory_bytes": 10**15})
    with meter:
        meter.tokens += 20
        clock.now = 101.0
    cost = meter.cost()
    assert (cost["seconds"], cost["tokens"], cost["tokens_per_second"]) == (
        5.0,
        80,
        16.0,
    )  # 4 s + 1 s
    assert cost["peak_memory_bytes"] == 10**15  # the higher of the two parts


def test_a_meter_stops_when_the_block_fails() -> None:
    meter = Meter()
    with pytest.raises(RuntimeError), meter:
        raise RuntimeError
    assert meter.seconds == meter.seconds  # a running clock gives two numbers


def test_no_tokens_have_no_rate() -> None:
    with Meter() as meter:
        pass
    cost = meter.cost()
    assert (cost["tokens"], cost["tokens_per_second"]) == (None, None)


def test_the_description_is_json_and_names_the_versions() -> None:
    told = describe()
    assert json.loads(json.dumps(told)) == told
    assert all(told[name] for name in ("cpu", "cores", "python", "torch", "transformers"))
