"""Work in packs, and let a failing item cost itself only."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an item could not be done, and after how many tries."""

    error_type: str
    error: str
    attempts: int


def packs_of_equal(keys: Iterable[Hashable], size: int) -> list[list[int]]:
    """Indices of equal keys in packs of at most `size`, in the order in which the packs begin."""
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
    items: Sequence[T], packs: Iterable[Sequence[int]], run: Callable[[list[T]], Sequence[R]]
) -> Iterator[tuple[int, R | Failure]]:
    """Yield (index, result) for every item, pack after pack.

    When a pack raises, its items get one more try, each alone. An item that was alone and raised ValueError (its input
    is at fault) is not tried again.
    """
    for pack in packs:
        try:
            yield from zip(pack, run([items[index] for index in pack]), strict=True)
        except Exception as error:
            if len(pack) == 1 and isinstance(error, ValueError):
                yield pack[0], _failure(error, attempts=1)
                continue
            for index in pack:
                yield index, _run_alone(items[index], run)


def _run_alone(item: T, run: Callable[[list[T]], Sequence[R]]) -> R | Failure:
    try:
        return run([item])[0]
    except Exception as error:
        return _failure(error, attempts=2)


def _failure(error: Exception, *, attempts: int) -> Failure:
    return Failure(error_type=type(error).__name__, error=str(error) or repr(error), attempts=attempts)
