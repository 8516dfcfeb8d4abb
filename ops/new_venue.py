"""`make venue NAME=x`: the skeleton of a venue in every place that it needs, and in no line that others share.

Each skeleton refuses with core.errors.NotBuilt, naming its file; `tests/conformance` names what is not built until each is
real. The configuration leaves the venue disabled, so everything else runs on meanwhile. Nothing that exists is touched,
except `.env.example`, which follows from the roster.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

from core.errors import EXIT_CONFIG, EXIT_OK, ConfigError

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[a-z][a-z0-9]{1,20}")
FIRST_PORT = 18101
UNBUILT = "not built yet"
"""Stands in every skeleton, and in nothing that is real."""

SPEC = '''\
"""@TITLE@'s catalogue -> Instrument rows (docs/venues/@NAME@.md 2), and its row in the roster."""

from __future__ import annotations

from core.errors import NotBuilt
from core.types import Instrument, Venue
from core.venue_spec import ETHEREUM_ADDRESS, Credential, Proof, VenueKind, VenueSpec

VENUE = Venue("@NAME@")

# Until the page is read: the strictest proof of a quote, and fees at which nothing pays.
SPEC = VenueSpec(
    name=VENUE,
    title="@TITLE@",
    kind=VenueKind.PERP,
    quote_ccy="USDC",
    proof=Proof.OWN_FRAME,
    taker_fee=0.01,
    maker_fee=0.01,
    order_ttl_ms=60_000,
    credentials=(
        Credential("@UPPER@_PRIVATE_KEY"),
        Credential("@UPPER@_USER_ADDRESS", secret=False, form=ETHEREUM_ADDRESS),
    ),
    credentials_advice="@UNBUILT@.",
)


def instruments(catalogue: bytes | str) -> list[Instrument]:
    """One row per canonical symbol, delisted ones flagged. Raises Malformed when nothing is usable."""
    raise NotBuilt("core/specs/@NAME@.py: the catalogue's parser is @UNBUILT@; see core/specs/lighter.py")
'''

DECODER = '''\
"""@TITLE@'s frames as events in canonical units (docs/venues/@NAME@.md 4 to 6). Contract: feeds/venues/base.py."""

from __future__ import annotations

from core.errors import NotBuilt


class Decoder:
    """See feeds.venues.base.FeedDecoder."""

    def __init__(self) -> None:
        raise NotBuilt("feeds/venues/@NAME@.py: Decoder is @UNBUILT@; write what feeds/venues/base.py asks of it")
'''

SIGNER = '''\
"""@TITLE@'s signatures (docs/venues/@NAME@.md 7), byte-equal to the official SDK's and to the vectors."""

from __future__ import annotations

from core.errors import NotBuilt


class Signer:
    """Pure: no socket, no clock."""

    def __init__(self, private_key: str) -> None:
        raise NotBuilt("executor/signing/@NAME@.py: Signer is @UNBUILT@; primitives stand beside it")
'''

GATEWAY = '''\
"""@TITLE@'s order entry, reads and private stream (docs/venues/@NAME@.md 7 to 10). Contract: executor/venues/base.py."""

from __future__ import annotations

from core.errors import NotBuilt
from executor.venues.base import Equipment


class Gateway:
    """See executor.venues.base.OrderGateway; executor.venues._gateway.VenueGateway holds what all gateways share."""

    def __init__(self, equipment: Equipment) -> None:
        raise NotBuilt("executor/venues/@NAME@.py: Gateway is @UNBUILT@; write what base.py asks of it")
'''

SANDBOX = '''\
"""The simulated @TITLE@, written from docs/venues/@NAME@.md alone. Contract: ops/sandbox/venues/base.py."""

from __future__ import annotations

import random
from collections.abc import Mapping

from core.errors import NotBuilt
from ops.sandbox.terms import Terms
from ops.sandbox.venues.base import Host, Identity

_ADVICE = "ops/sandbox/venues/@NAME@.py: SandboxVenue is @UNBUILT@; write what base.py asks of it"


class SandboxVenue:
    """See ops.sandbox.venues.base.SandboxVenue."""

    def __init__(self, host: Host) -> None:
        raise NotBuilt(_ADVICE)

    @staticmethod
    def new_credentials(rng: random.Random) -> dict[str, str]:
        raise NotBuilt(_ADVICE)

    @staticmethod
    def identity(values: Mapping[str, str]) -> Identity:
        raise NotBuilt(_ADVICE)

    @staticmethod
    def terms(symbols: tuple[str, ...]) -> Terms:
        raise NotBuilt(_ADVICE)
'''

CONFIG = """\
# @TITLE@. A table per environment, and [server]: the venue's own side in the sandbox process.
# An environment file's [venues.@NAME@] overrides these key by key.
# The venue is @UNBUILT@: `enabled = false` goes when its feed, gateway and sandbox stand.

[sandbox]
enabled = false
rest_url = "http://127.0.0.1:@PORT@"
ws_url = "ws://127.0.0.1:@PORT@/ws"
max_notional_usd = 8000.0
leverage = { default = 3 }

[server]
port = @PORT@
order_delay_ms = 100.0
"""

PAGE = """\
# @TITLE@

This page is @UNBUILT@. Facts we rely on, each with its source and how sure it is; sections as in the other pages.

## 1. Hosts and environments
## 2. Symbols, ticks, lots, minimums
## 3. Fees and tiers
## 4. Public REST
## 5. Public stream
## 6. Funding
## 7. Signing and order entry
## 8. Account reads
## 9. Private stream
## 10. Errors: rejected, not sent, rate-limited, unknown
## 11. Budgets and clocks
"""

FIXTURES = """\
Captured payloads and vectors of @TITLE@: which, when, from where. @UNBUILT@.
"""

DIALECT = '''\
"""@TITLE@: what the conformance suite must be told of it (docs/venues/@NAME@.md 7 and 10). Contract: dialect.py."""

from __future__ import annotations

from core.errors import NotBuilt

raise NotBuilt("tests/conformance/@NAME@.py: DIALECT is @UNBUILT@; see tests/conformance/dialect.py and aster.py")
'''

PLACES: dict[str, str] = {
    "core/specs/{}.py": SPEC,
    "feeds/venues/{}.py": DECODER,
    "executor/signing/{}.py": SIGNER,
    "executor/venues/{}.py": GATEWAY,
    "ops/sandbox/venues/{}.py": SANDBOX,
    "config/venues/{}.toml": CONFIG,
    "docs/venues/{}.md": PAGE,
    "tests/fixtures/{}/README.md": FIXTURES,
    "tests/conformance/{}.py": DIALECT,
}
"""Where a venue stands, with `{}` for its name, and what its skeleton is."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make venue NAME=x", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="lower case, letters and digits; becomes the module's name in every room")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    arguments = parser.parse_args(argv)
    try:
        written = scaffold(arguments.root, arguments.name)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG
    sys.stdout.write("".join(f"written: {path}\n" for path in written))
    sys.stdout.write(
        "next: .venv/bin/tandem config example > .env.example\n"
        f"then: .venv/bin/python -m pytest tests/conformance tests/core/test_config.py -k {arguments.name}\n"
        "      names what is not built, until everything is; `make run` goes on without it meanwhile\n"
    )
    return EXIT_OK


def scaffold(root: Path, name: str) -> list[str]:
    """Write every skeleton, or none; their paths within `root`. Raises ConfigError naming what is in the way."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"NAME={name}: a venue's name is 2 to 21 lower-case letters and digits, a letter first")
    texts = {place.format(name): _filled(text, name, _free_port(root)) for place, text in PLACES.items()}
    taken = [path for path in texts if (root / path).exists()]
    if taken:
        raise ConfigError(
            f"NAME={name}: {', '.join(taken)} exists already; choose another name, or remove what is left"
        )
    missing = [path for path in texts if not (root / path).parent.parent.is_dir()]
    if missing:
        raise ConfigError(f"{root}: is no checkout of this project ({missing[0]} has no place there)")
    for path, text in texts.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return list(texts)


def _free_port(root: Path) -> int:
    """The next after those of the other venues' sandboxes."""
    files = (root / "config" / "venues").glob("*.toml")
    taken = [tomllib.loads(file.read_text(encoding="utf-8")).get("server", {}).get("port", 0) for file in files]
    return int(max([FIRST_PORT - 1, *taken])) + 1


def _filled(text: str, name: str, port: int) -> str:
    words = {"NAME": name, "TITLE": name.title(), "UPPER": name.upper(), "PORT": str(port), "UNBUILT": UNBUILT}
    return re.sub(r"@([A-Z]+)@", lambda found: words[found[1]], text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
