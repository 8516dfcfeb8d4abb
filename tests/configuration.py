"""The shipped configuration as one text, for tests that change it and write it elsewhere.

Beside a file written elsewhere there are no venue files, so the tables of the venues asked for stand in the text itself,
and no other venue takes part.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config"
THREE = ("hyperliquid", "aster", "lighter")


def whole_text(environment: str = "sandbox", venues: tuple[str, ...] = THREE) -> str:
    """`config/<environment>.toml` with `[venues.X]` before `[risk]` and `[sandbox.venues.X]` at its end."""
    head, risk, tail = (CONFIG / f"{environment}.toml").read_text().partition("[risk]\n")
    assert risk
    tables = "".join(_tables(venue, environment, f"venues.{venue}") for venue in venues)
    servers = "".join(_tables(venue, "server", f"sandbox.venues.{venue}") for venue in venues)
    return head + tables + risk + tail.rstrip("\n") + ("\n\n" + servers if "\n[sandbox]\n" in tail else "\n")


def sandbox_port(venue: str) -> int:
    """Where the shipped sandbox serves `venue`."""
    port: int = tomllib.loads(venue_file(venue).read_text())["server"]["port"]
    return port


def venue_file(venue: str) -> Path:
    return CONFIG / "venues" / f"{venue}.toml"


def _tables(venue: str, name: str, prefix: str) -> str:
    """The table `name` of a venue's file and those below it, under another name."""
    text = venue_file(venue).read_text()
    found = re.findall(rf"(?ms)^\[{name}((?:\.[^\]]+)?)\]\n(.*?)(?=^\[|\Z)", text)
    assert found, f"config/venues/{venue}.toml has no [{name}]"
    return "".join(f"[{prefix}{below}]\n{body.rstrip()}\n\n" for below, body in found)
