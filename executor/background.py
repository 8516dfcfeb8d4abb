"""Background tasks that cannot die unseen: what escapes one goes to the loop's exception handler, which ends the process.

A task whose error nobody awaits is otherwise reported when it is garbage-collected, if ever; meanwhile its connection is
no longer kept and its stream no longer watched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class Background:
    """The tasks of one owner. `close` cancels and awaits them; they may be spawned again afterwards."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            task.get_loop().call_exception_handler(
                {"message": "a background task failed", "exception": error, "task": task}
            )
