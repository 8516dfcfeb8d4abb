"""supervisord's programs for the feeds: one stanza per enabled venue, and the group that supervisord wants listed.

Written beside the logs, from the configuration, whenever a checkout is prepared or started, so that a venue joins by its
own files alone. supervisord.conf includes the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.settings import Environment
from core.types import Venue

GROUP = "feeds"

_HEAD = """\
; Written by `tandem up` and `tandem prepare` from the enabled venues of config/{environment}.toml; edits are lost.

[group:{group}]
programs={programs}
priority=200
"""

_STANZA = """
[program:{program}]
command=%(here)s/../../../.venv/bin/python -m feeds.main --venue {venue} --config %(here)s/../../../config/{environment}.toml
directory=%(here)s/../../..
priority=200
autostart=true
autorestart=unexpected
exitcodes=0,78
startsecs=1
startretries=20
stopsignal=TERM
stopwaitsecs=10
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile=%(here)s/../log/%(program_name)s.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=5
"""


def program_of(venue: Venue) -> str:
    """The feed's name as supervisord knows it within its group."""
    return f"feed-{venue}"


def stanzas(environment: Environment, venues: Sequence[Venue]) -> str:
    """The file's text; without a venue there is no group."""
    if not venues:
        return f"; No venue is enabled in config/{environment.value}.toml.\n"
    programs = ",".join(program_of(venue) for venue in venues)
    head = _HEAD.format(environment=environment.value, group=GROUP, programs=programs)
    return head + "".join(
        _STANZA.format(program=program_of(venue), venue=venue, environment=environment.value) for venue in venues
    )


def path_of(root: Path, environment: Environment) -> Path:
    """Where supervisord.conf looks for them."""
    return root / "var" / environment.value / "supervisor" / "feeds.conf"


def write(root: Path, environment: Environment, venues: Sequence[Venue]) -> bool:
    """Write the file, whole or not at all; whether it has changed. Raises OSError."""
    path, text = path_of(root, environment), stanzas(environment, venues)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return True
