"""Numbers in an order that looks random and takes no memory."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8
MOST = 1 << 62
"""Numbers that can be permuted."""


class Permutation:
    """A permutation of the numbers below `count`: a Feistel network on the next power of two, walked along until it is
    back among them.

    count: 1 to `MOST`.
    seed: chooses the permutation.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = np.uint64(count)
        bits = max(2, (count - 1).bit_length())
        self._halves = (bits // 2, bits - bits // 2)
        key = hashlib.blake2b(f"{count} {seed}".encode(), digest_size=8 * _ROUNDS).digest()
        self._keys = np.frombuffer(key, "<u8").astype(np.uint64)

    def __call__(self, numbers: NDArray[Any]) -> NDArray[np.uint64]:
        """The numbers at some places, uint64.

        numbers: places, below `count`.
        """
        found = self._encrypted(numbers.astype(np.uint64))
        while len(outside := np.flatnonzero(found >= self._count)):
            found[outside] = self._encrypted(found[outside])
        return found

    def _encrypted(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left_bits, right_bits = self._halves
        left, right = numbers >> np.uint64(right_bits), numbers & _mask(right_bits)
        for key in self._keys:
            left, right = right, left ^ (_mixed(right, key) & _mask(left_bits))
            left_bits, right_bits = right_bits, left_bits
        return (left << np.uint64(right_bits)) | right


def _mask(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _mixed(numbers: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """The finisher of splitmix64."""
    mixed = numbers + key  # wraps around, as all arithmetic here
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
