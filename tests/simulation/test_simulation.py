"""A fixed set of schedules holds; the same seed is the same trace, byte for byte; and the world under it all behaves."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.clock import NS_PER_S
from core.types import Side, Venue
from executor.records import EpochStarted
from executor.segments import encode
from tests.simulation.__main__ import main
from tests.simulation.checks import met_lots
from tests.simulation.disk import Disk, SimThreads
from tests.simulation.faults import Fault, Faults
from tests.simulation.market import Market
from tests.simulation.schedule import Result, run
from tests.simulation.semantics import ALL, WALLET, WINDOWED
from tests.simulation.venue import VenueModel
from tests.simulation.world import Broken, Crash, SimLoop, World

CHUNKS = 6
SCHEDULES = 25  # in each chunk
ROOT = Path(__file__).resolve().parents[2]
TRACED = (3, 4, 8, 13)


def told(result: Result) -> str:
    return f"{result.broken}\nreplay it with: make simulate SEED={result.seed}\n" + "\n".join(result.trace[-40:])


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_fixed_set_of_schedules_holds(chunk: int) -> None:
    first = 1 + chunk * SCHEDULES
    for seed in range(first, first + SCHEDULES):
        result = run(seed)
        assert not result.broken, told(result)
        assert result.events > 0


def test_the_same_seed_is_the_same_trace_byte_for_byte() -> None:
    """Here, and in other processes, whatever their hashes are seeded with."""
    here = [hashlib.sha256("\n".join(run(seed, keep_trace=True).trace).encode()).hexdigest() for seed in TRACED]
    assert len(set(here)) == len(TRACED)
    code = (
        "import hashlib, sys\n"
        "from tests.simulation.schedule import run\n"
        "for seed in map(int, sys.argv[1:]):\n"
        "    trace = run(seed, keep_trace=True).trace\n"
        "    print(hashlib.sha256('\\n'.join(trace).encode()).hexdigest())\n"
    )
    for hash_seed in ("1", "2"):
        said = subprocess.run(
            [sys.executable, "-c", code, *map(str, TRACED)],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert said.stdout.split() == here


def test_one_seed_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "1"]) == 0
    said = capsys.readouterr().out
    assert "start     executor 1" in said
    assert "seed 1: nothing broken" in said


def test_many_are_told_in_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--schedules", "3", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "unhedged by the truth, s" in said
    assert "3 schedules in" in said


def test_a_failure_tells_the_command_that_replays_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Result(seed=77, broken="a leg is naked", trace=["line"])
    monkeypatch.setattr("tests.simulation.__main__.run", lambda seed: broken)
    assert main(["--schedules", "2", "--workers", "1", "--stop-at-first"]) == 1
    assert "make simulate SEED=77" in capsys.readouterr().out


# ---- the world ----------------------------------------------------------------------------------------------------------


def test_the_loop_never_waits_and_events_come_in_their_order() -> None:
    world = World(1)
    loop, seen = SimLoop(world), []

    async def work() -> None:
        world.after(2.0, seen.append, "event at 2")
        world.after(2.0, seen.append, "the next at 2")
        await asyncio.sleep(1.0)
        seen.append(f"awake at {world.now_s}")
        await asyncio.sleep(3600.0)
        seen.append(f"awake at {world.now_s}")

    loop.run(work())
    loop.bury()
    assert seen == ["awake at 1.0", "event at 2", "the next at 2", "awake at 3601.0"]


def test_a_crash_ends_everything_at_once_and_nothing_runs_on() -> None:
    world = World(1)
    loop, seen = SimLoop(world), []

    async def other() -> None:
        await asyncio.sleep(2.0)
        seen.append("ran on")

    async def work() -> None:
        asyncio.get_running_loop().create_task(other())
        world.after(1.0, _crash)
        await asyncio.sleep(10.0)

    with pytest.raises(Crash):
        loop.run(work())
    loop.bury()
    world.run_for(20.0)
    assert seen == []


def test_a_stopped_process_sees_the_world_move_on_without_it() -> None:
    world = World(1)
    loop, seen = SimLoop(world), []
    world.after(1.0, lambda: setattr(world, "hung_until_ns", world.now_ns + 5 * NS_PER_S))
    world.after(2.0, seen.append, "the world")

    async def work() -> None:
        await asyncio.sleep(1.5)
        seen.append(f"the process at {world.now_s}")

    loop.run(work())
    loop.bury()
    assert seen == ["the world", "the process at 6.0"]


def test_waiting_for_ever_is_told() -> None:
    loop = SimLoop(World(1))
    with pytest.raises(Broken, match="nothing is left to happen"):
        loop.run(_forever())
    loop.bury()


def _crash() -> None:
    raise Crash


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


# ---- the disk -----------------------------------------------------------------------------------------------------------


def record(sequence: int) -> bytes:
    return encode(EpochStarted(wire_ns=sequence, epoch=sequence, config_fingerprint="x"), sequence)


def test_a_power_loss_takes_what_was_not_synced_and_tears_the_record_at_the_cut(tmp_path: Path) -> None:
    disk, path = Disk(World(1)), tmp_path / "segment"
    fd = disk.open(path, os.O_RDWR | os.O_CREAT)
    first, second = record(1), record(2)
    disk.pwrite(fd, first, 0)
    disk.fdatasync(fd)
    disk.pwrite(fd, second, len(first))
    assert disk.lose_power(torn_bytes=5) == 1
    disk.kill()
    assert path.read_bytes() == first + second[:5] + bytes(len(second) - 5)


def test_a_killed_process_loses_nothing_and_can_do_nothing_more(tmp_path: Path) -> None:
    disk, path = Disk(World(1)), tmp_path / "segment"
    fd = disk.open(path, os.O_RDWR | os.O_CREAT)
    disk.pwrite(fd, record(1), 0)
    disk.kill()
    assert path.read_bytes() == record(1)
    with pytest.raises(Crash):
        disk.pwrite(fd, record(2), 100)


def test_a_full_disk_reserves_nothing_and_a_failing_one_says_so(tmp_path: Path) -> None:
    world = World(1)
    disk = Disk(world)
    fd = disk.open(tmp_path / "segment", os.O_RDWR | os.O_CREAT)
    world.disk_is_full = True
    with pytest.raises(OSError, match="No space"):
        disk.posix_fallocate(fd, 0, 100)
    disk.write_error = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        disk.pwrite(fd, record(1), 0)
    assert disk.pwrite(fd, record(1), 0) == len(record(1))
    disk.kill()


def test_the_sync_thread_runs_one_turn_when_the_world_lets_it() -> None:
    world, turns = World(1), []
    disk = Disk(world)
    threads = SimThreads(disk)
    stop = threads.Event()

    def loop(period_s: float) -> None:
        while not stop.wait(period_s):
            turns.append(world.now_s)

    threads.Thread(target=loop, args=(0.01,)).start()
    assert turns == []
    world.run_for(1.0)
    assert turns == [0.01]


# ---- the venues ---------------------------------------------------------------------------------------------------------


def test_faults_strike_at_their_rate_and_not_in_calm() -> None:
    world = World(1)
    faults, venue = Faults(world, 1), Venue("windowed")
    faults.set_rate(venue, Fault.ANSWER_LOST, 0.5)
    struck = sum(faults.strikes(venue, Fault.ANSWER_LOST) for _ in range(1000))
    assert 400 < struck < 600
    assert faults.occurred[Fault.ANSWER_LOST] == struck
    faults.begin(venue, Fault.DARK, 2.0)
    assert faults.lasts(venue, Fault.DARK)
    faults.calm = True
    assert not faults.lasts(venue, Fault.DARK)
    assert not any(faults.strikes(venue, Fault.ANSWER_LOST) for _ in range(100))


def test_a_venue_tells_whose_lots_a_trade_moved() -> None:
    world = World(1)
    market = Market(world, 1)
    venue = VenueModel(world, WINDOWED, market, Faults(world, 1))
    venue.own_lots["SOL"] = 10
    venue.foreign_trade("SOL", Side.SELL, 4)  # somebody reduced what is ours
    assert (venue.own_lots["SOL"], venue.excess_lots["SOL"]) == (6, 0)
    venue.foreign_trade("SOL", Side.SELL, 10)  # and turned it round: the rest is his
    assert (venue.own_lots["SOL"], venue.excess_lots["SOL"]) == (0, -4)
    assert venue.held("SOL") == -4


def test_lots_of_ours_against_a_strangers_may_be_settled_with_them() -> None:
    """A stranger's fill and ours, told in the other order: either way of looking at it is right, and none invents lots."""
    world = World(1)
    market = Market(world, 1)
    venue = VenueModel(world, WINDOWED, market, Faults(world, 1))
    for own, excess, met in ((257, -100, 157), (100, -100, 0), (100, -257, 0), (100, 50, 100), (-7, 0, -7)):
        venue.own_lots["SOL"], venue.excess_lots["SOL"] = own, excess
        assert met_lots(venue, "SOL") == met
    wallet = VenueModel(world, WALLET, market, Faults(world, 1))
    wallet.own_lots["SOL"], wallet.excess_lots["SOL"] = -5, 50  # sold from the owner's coins
    assert met_lots(wallet, "SOL") == -5


def test_a_wallet_counts_only_what_is_ours() -> None:
    world = World(1)
    venue = VenueModel(world, WALLET, Market(world, 1), Faults(world, 1))
    venue.excess_lots["SOL"] = 50
    assert venue.held("SOL") == 50
    assert venue.counted("SOL") == 0


def test_every_kind_of_venue_and_every_fault_has_a_name() -> None:
    assert len({semantics.name for semantics in ALL}) == len(ALL) == 7
    assert len({fault.value for fault in Fault}) == len(Fault)
