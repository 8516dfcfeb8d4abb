"""One request to the sandbox's control endpoint on loopback."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import orjson

from core.errors import BusyError, ConfigError
from ops.context import Context

TIMEOUT_S = 5.0


def call(context: Context, what: str, body: dict[str, Any] | None) -> Any:
    """One request to the control endpoint. Raises ConfigError outside the sandbox, BusyError when it does not answer."""
    sandbox = context.loaded.config.sandbox
    if sandbox is None:
        raise ConfigError(f"{context.loaded.path}: has no [sandbox] table; this command is for the sandbox environment")
    url = f"http://127.0.0.1:{sandbox.control_port}/control/{what}"
    data = None if body is None else orjson.dumps(body)
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return orjson.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        raise ConfigError(f"sandbox refused {what}: {error.read().decode(errors='replace')}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise BusyError(f"{url}: the sandbox does not answer ({error}); is it running? supervisorctl status") from error
