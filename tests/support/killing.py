"""Ends processes at bad moments."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.dataset.storage import Storage


def ended(action: Callable[[], object], seconds: float) -> bool:
    """Run it in a process of its own and kill that after so many seconds; did it get to its end before?"""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status)


def dies_at_write(action: Callable[[], object], number: int) -> bool:
    """Run it in a process of its own that ends, as if it were killed, right before its write of this number to any
    storage; did it get to its end before?"""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            left = iter(range(number))
            for name in ("open_output", "write_bytes", "remove"):
                setattr(Storage, name, _counted(getattr(Storage, name), left))
            action()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, _KILLED)
    return status == 0


_KILLED = 77


def _counted(method: Callable[..., Any], left: Iterator[int]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        if next(left, None) is None:
            os._exit(_KILLED)
        return method(*arguments, **named)

    return counted
