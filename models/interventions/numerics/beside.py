"""Small work on a GPU beside large work: a decomposition fills few multiprocessors, the model all others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

STREAMS = 4
"""Of each GPU: with a decomposition of a few milliseconds in each of 40 or 60 blocks, one stream alone would take
longer than the step of a single image."""


class Beside:
    """A call that a GPU makes beside what follows on the current stream. On a CPU it is made at once.

    call: gives a tensor, and reads no other tensor that may go away before `found` is called.
    argument: for the call.
    """

    def __init__(self, call: Callable[[Any], Any], argument: Any) -> None:
        self._done: torch.cuda.Event | None = None
        if not isinstance(argument, Tensor) or not argument.is_cuda:
            self._found = call(argument)
            return
        stream = next(_streams(argument.get_device()))
        stream.wait_stream(torch.cuda.current_stream(argument.device))
        argument.record_stream(stream)  # its memory is not given away while the call reads it
        with torch.cuda.stream(stream):
            self._found = call(argument)
            self._done = stream.record_event()

    def found(self) -> Any:
        """The call's result, for use on the current stream, which waits for it; the host does not."""
        if self._done is not None:
            current = torch.cuda.current_stream(self._found.device)
            current.wait_event(self._done)
            self._found.record_stream(current)
        return self._found


@cache
def _streams(device: int) -> cycle[torch.cuda.Stream]:
    """In turn. They go first, or their few programs would wait for gaps in those of the model."""
    streams = (torch.cuda.Stream(device, priority=-1) for _ in range(STREAMS))  # type: ignore[no-untyped-call]
    return cycle([*streams])
