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
# Also not read: BOT_LICENSE_KEY (live trading asks for a permit, not for a licence), BOT_ENV_PATH (`run.secrets_file`),
# BOT_LOCK_KILL_EXISTING (`python -m executor.main --config FILE --takeover`), BOT_LOCK_KILL_ALL (nothing is killed by name).
# This file follows from the roster: `tandem config example > .env.example` writes it.
"""


def example() -> str:
    """The whole file."""
    return _HEAD + "".join(_venue(spec) for spec in VENUES)


def _venue(spec: VenueSpec) -> str:
    told = [
        f"{spec.title}: {spec.credentials_advice}",
        *(f"Not read: {names}: {where}." for names, where in spec.unread),
    ]
    lines = [_comment(text) for text in told]
    for credential in spec.credentials:
        notes = [
            *(["optional"] if credential.optional else []),
            *([f"also accepted: {', '.join(credential.aliases)}"] if credential.aliases else []),
            *([f"refused: {', '.join(credential.retired)}"] if credential.retired else []),
        ]
        lines += [_comment("; ".join(notes))] if notes else []
        lines.append(f"{credential.name}=")
    return "\n" + "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False, break_long_words=False
    )
