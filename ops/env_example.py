"""`.env.example` from the roster: every credential of every venue, with what its venue says of it, and no value."""

from __future__ import annotations

import textwrap

from core.roster import VENUES
from core.venue_spec import VenueSpec

WIDTH = 120
_HEAD = """\
# Secrets of one environment: copy to the path of `run.secrets_file` in its configuration (var/live/secrets.env), then
#   chmod 600 FILE
# Only the executor's keyring reads it; nothing of it may stand in the environment of any process. Needed are those of the
# enabled venues. `make run` writes throw-away keys for the sandbox by itself.
# This file follows from the roster: `tandem config example > .env.example` writes it.
"""


def example() -> str:
    """The whole file."""
    return _HEAD + "".join(_venue(spec) for spec in VENUES)


def _venue(spec: VenueSpec) -> str:
    told = textwrap.fill(
        f"{spec.title}: {spec.credentials_advice}", WIDTH, initial_indent="# ", subsequent_indent="# ",
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip
    lines = [
        f"# optional\n{credential.name}=" if credential.optional else f"{credential.name}="
        for credential in spec.credentials
    ]
    return "\n" + told + "\n" + "\n".join(lines) + "\n"
