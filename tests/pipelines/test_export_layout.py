"""Which rows lie in which file of an export."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.export.layout import Weighed, lay_out


@given(st.lists(st.lists(st.integers(1, 50), max_size=8), max_size=6), st.integers(1, 120))
def test_files_hold_every_row_once_in_order_and_are_full(sizes: list[list[int]], room: int) -> None:
    shards = [
        Weighed(
            file=f"data/{number}",
            places=np.arange(0, 2 * len(of), 2),
            sizes=np.array(of, np.int64),
            splits=np.zeros(len(of), np.int8),
            endings=frozenset(),
        )
        for number, of in enumerate(sizes)
    ]
    files = lay_out(shards, room, ["train"])["train"]
    found = [
        (piece.file, place)
        for file in files
        for piece in file.pieces
        for place in range(piece.first, piece.end)
        if place % 2 == 0
    ]
    assert found == [(f"data/{number}", 2 * at) for number, of in enumerate(sizes) for at in range(len(of))]
    assert all(file.bytes <= room or file.rows == 1 for file in files)
    flat = iter([size for of in sizes for size in of])
    filled = [[next(flat) for _ in range(file.rows)] for file in files]
    assert [sum(of) for of in filled] == [file.bytes for file in files]
    assert all(sum(of) + after[0] > room for of, after in pairwise(filled))
