"""Words are found in texts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs import measure_words
from models.embedded.oracle import Oracle, Reading
from models.words import places


def test_whole_words_are_found_whatever_their_case() -> None:
    assert places("Star", "a star, a starfish, STAR") == [(2, 6), (20, 24)]
    assert places("red star, sea", "a red  star? a red star at sea") == [(15, 23), (27, 30)]
    assert places("红星", "夜里的红星在海上") == [(3, 5)]
    for words in ("fish", "a star sea", " , "):
        with pytest.raises(ValueError, match=r"has no|names no"):
            places(words, "a star, a starfish, a sea")


def test_what_they_do_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    read = Oracle.read

    def noted(self: Oracle, images_NHWC: NDArray[np.uint8]) -> Reading:
        seen.append(images_NHWC.tobytes())
        return read(self, images_NHWC)

    monkeypatch.setattr(Oracle, "read", noted)
    few = [
        "--limit",
        "1",
        "--images",
        "2",
        "--set",
        "sampling.steps=2",
        "--set",
        "sampling.sigmas=[]",
        "--set",
        "repulsion.steps=[0, 1]",
    ]
    assert measure_words.main(few) == 0
    assert len({*seen}) == 4  # no two arms push the same tokens
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows[:1] + rows[2:]} == {6}
    assert len(rows) == 2 + 4
