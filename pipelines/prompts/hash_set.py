"""A set of 64-bit numbers in a flat array: an eighth of the memory of Python's own, for millions of prompts."""

from __future__ import annotations

import numpy as np

_FIRST_SLOTS = 1 << 12
_FILLED = 0.6


class HashSet:
    """Open addressing with linear probing over numbers that are hashes already. 0 marks an empty slot."""

    def __init__(self) -> None:
        self._table = memoryview(bytearray(8 * _FIRST_SLOTS)).cast("Q")
        self._mask = _FIRST_SLOTS - 1
        self._room = int(_FIRST_SLOTS * _FILLED)

    def __contains__(self, number: int) -> bool:
        return self._table[self._slot(number or 1)] != 0

    def add(self, number: int) -> None:
        number = number or 1
        slot = self._slot(number)
        if self._table[slot] == 0:
            self._table[slot] = number
            self._room -= 1
            if self._room <= 0:
                self._grow()

    def _slot(self, number: int) -> int:
        """Where the number is, or where it would be put."""
        table, mask = self._table, self._mask
        slot = number & mask
        while (there := table[slot]) != 0 and there != number:
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
