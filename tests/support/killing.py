"""Ends processes at bad moments."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable


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
