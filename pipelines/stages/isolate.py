"""Runs items in packs so that a failing item does not affect the others."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from models.errors import ServiceError, device_lost, out_of_memory
from pipelines.dataset.failures import Failure

_EXIT_LOST_DEVICE = 70
"""Exit status."""

T = TypeVar("T")
R = TypeVar("R")


def packs_of_equal(keys: Iterable[Hashable], size: int) -> list[list[int]]:
    """Indices of equal keys in packs, in the order of the packs' first indices.

    keys: of the items.
    size: most items of a pack.
    """
    open_packs: dict[Hashable, list[int]] = {}
    packs: list[list[int]] = []
    for index, key in enumerate(keys):
        pack = open_packs.get(key)
        if pack is None or len(pack) == size:
            pack = open_packs[key] = []
            packs.append(pack)
        pack.append(index)
    return packs


def run_isolated(
    items: Sequence[T],
    packs: Iterable[Sequence[int]],
    run: Callable[[list[T]], Sequence[R]],
    recover: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, R | Failure]]:
    """Yields (index, result) for every item, pack after pack.

    When a pack runs out of memory, its halves are tried, down to single items. When it raises another error, its items
    are tried once more, each alone. An item that was alone and raised ValueError (its input is at fault) is not tried
    again.

    items: all items.
    packs: indices of items that are run together.
    run: gives the results of a pack's items, in order.
    recover: called after running out of memory, when the failed attempt is no longer referenced. It is not called after
        other errors, as a full garbage collection takes long.

    Raises:
        ServiceError: as `run` does: no item is at fault.
    """
    for pack in packs:
        yield from _run(items, pack, run, recover, attempts=1)


def _run(
    items: Sequence[T],
    pack: Sequence[int],
    run: Callable[[list[T]], Sequence[R]],
    recover: Callable[[], None],
    attempts: int,
) -> Iterator[tuple[int, R | Failure]]:
    try:
        yield from zip(pack, run([items[index] for index in pack]), strict=True)
        return
    except ServiceError:
        raise
    except Exception as error:
        failure = Failure(error_type=type(error).__name__, error=str(error) or repr(error), attempts=attempts)
        memory, bad_input = out_of_memory(error), isinstance(error, ValueError)
    if memory:
        recover()
    if len(pack) > 1 and memory:
        middle = (len(pack) + 1) // 2
        parts = [pack[:middle], pack[middle:]]
    elif len(pack) > 1 or (attempts == 1 and not bad_input):
        parts = [[index] for index in pack]
    else:
        yield pack[0], failure
        return
    for part in parts:
        yield from _run(items, part, run, recover, attempts + 1)


@contextmanager
def exit_on_lost_device() -> Iterator[None]:
    """Exit the process when the block loses its GPU: only a new process, which Ray starts, can use it again."""
    try:
        yield
    except Exception as error:
        if device_lost(error):
            os._exit(_EXIT_LOST_DEVICE)
        raise


def free_memory() -> None:
    """Free the memory of a model's failed attempt."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
