"""Interleaved timing: every repeat runs all variants, so that a slow moment of the machine affects all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The timing of a variant."""

    seconds: float
    """Median of the repeats."""
    ratio: float
    """Median over the repeats of its time divided by the first variant's in the same repeat."""
    low: float
    """Lower quartile of that ratio."""
    high: float
    """Upper quartile of that ratio."""


def compare(
    variants: Mapping[str, Callable[[], object]], *, repeats: int, device: str, label: str
) -> dict[str, Timing]:
    """The timings of variants: CPU time on a CPU, which other programs affect less; on a GPU the wall time.

    variants: name -> call; the others are compared with the first.
    repeats: runs of each.
    device: "cpu" or a GPU.
    label: for the progress bar.
    """
    for call in variants.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in tqdm(range(repeats), desc=label, leave=False, dynamic_ncols=True):
        for name, call in variants.items():
            seconds[name].append(_seconds(call, device))
    base = np.array(next(iter(seconds.values())))
    table = {}
    for name, values in seconds.items():
        low, middle, high = np.quantile(np.array(values) / base, (0.25, 0.5, 0.75))
        table[name] = Timing(seconds=float(np.median(values)), ratio=float(middle), low=float(low), high=float(high))
    return table


def _seconds(call: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def show(table: Mapping[str, Timing], base: str) -> None:
    """Print the timings of `compare`.

    table: name -> timing.
    base: name of the first variant.
    """
    print(f"  {'':34s}{'seconds':>10s}{f'over {base}':>14s}   quartiles of the repeats")
    for name, timing in table.items():
        over = f"{100 * (timing.ratio - 1):+.1f} %"
        spread = f"{100 * (timing.low - 1):+.1f} .. {100 * (timing.high - 1):+.1f} %"
        print(f"  {name:34s}{timing.seconds:10.4g}{over:>14s}   {spread}", flush=True)
