"""A set of 64-bit numbers in a flat array, with an eighth of the memory of Python's `set`, for millions of prompts."""

from __future__ import annotations

import numpy as np

_FIRST_SLOTS = 1 << 12
_FILLED = 0.6


class HashSet:
    """A set of numbers that are hashes: open addressing with linear probing. 0 marks an empty slot."""

    def __init__(self) -> None:
        self._table = memoryview(bytearray(8 * _FIRST_SLOTS)).cast("Q")
        self._mask = _FIRST_SLOTS - 1
        self._room = int(_FIRST_SLOTS * _FILLED)

    def __contains__(self, number: int) -> bool:
        return self._table[self._slot(number or 1)] != 0

    def add(self, number: int) -> None:
        """Add a number from 0 to 2**64 - 1."""
        number = number or 1
        slot = self._slot(number)
        if self._table[slot] == 0:
            self._table[slot] = number
            self._room -= 1
            if self._room <= 0:
                self._grow()

    def _slot(self, number: int) -> int:
        """The slot of a number, or the empty slot for it."""
        table, mask = self._table, self._mask
        slot = number & mask
        while (present := table[slot]) != 0 and present != number:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        numbers = np.frombuffer(self._table, np.uint64)
        numbers = numbers[numbers != 0]
        slots = 2 * (self._mask + 1)
        self._table, self._mask = memoryview(bytearray(8 * slots)).cast("Q"), slots - 1
        self._room = int(slots * _FILLED) - len(numbers)
        for number in numbers:
            number = int(number)
            self._table[self._slot(number)] = number
