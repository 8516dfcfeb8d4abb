"""A recorded market through sandbox, wire and feeds: the recorded prices arrive, and stay fresh between recorded seconds."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from pathlib import Path

from core.clock import NS_PER_S
from core.recordings import load_manifest, read_rows
from core.types import Quote, QuoteFlag
from tests.feeds.test_feed_process import ROOT, World, until

SYNTHETIC = ROOT / "tests" / "fixtures" / "recordings" / "synthetic-two-venue"


def ask(world: World, body: dict[str, object] | None = None) -> dict[str, object]:
    url = f"http://127.0.0.1:{world.control_port}/control/market"
    with urllib.request.urlopen(url, None if body is None else json.dumps(body).encode(), timeout=10) as answer:
        return json.loads(answer.read())  # type: ignore[no-any-return]


def test_recorded_quotes_arrive_exactly_and_stay_fresh(tmp_path: Path) -> None:
    world = World(tmp_path)
    tracks = load_manifest(SYNTHETIC, SYNTHETIC)
    try:
        world.start_sandbox()
        for track in tracks:
            world.start_feed(track.venue)
        readers = {track.venue: world.reader(track.venue) for track in tracks}
        for venue, reader in readers.items():
            until(lambda reader=reader: world.is_live(reader), f"{venue} is live")  # type: ignore[misc]
        ask(world, {"path": str(SYNTHETIC)})
        time.sleep(1.0)  # the first rows are through
        looks: dict[str, Counter[str]] = {venue: Counter() for venue in readers}
        seen: dict[str, set[tuple[float, float, float, float]]] = {venue: set() for venue in readers}
        for _ in range(80):
            for venue, reader in readers.items():
                quote = world.quote(reader, "BTC")
                good = isinstance(quote, Quote) and quote.is_sound and quote.flags == QuoteFlag.EXECUTABLE
                looks[venue]["fresh" if good else str(quote)] += 1
                if isinstance(quote, Quote):
                    seen[venue].add((quote.bid_px, quote.bid_qty, quote.ask_px, quote.ask_qty))
            time.sleep(0.1)
        for track in tracks:
            fresh = looks[track.venue]["fresh"]
            assert fresh >= 76, f"a silent second is not a stale quote: {looks[track.venue]}"
            rows = list(read_rows(track.path))
            recorded = {(float(r.bid_px), float(r.bid_qty), float(r.ask_px), float(r.ask_qty)) for r in rows[:20]}
            assert seen[track.venue] <= recorded, "nothing but recorded quotes"
            assert len(seen[track.venue]) >= 6
        at_ns = ask(world)["recorded_ns"]
        assert isinstance(at_ns, int)
        played_s = (at_ns - rows[0].time_ns) / NS_PER_S
        assert 7 <= played_s <= 16, "at the recorded pace"
    finally:
        world.close()
