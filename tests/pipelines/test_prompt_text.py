"""Texts that look the same are one prompt, and their rows say what was changed; what changes a look stays."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.dataset.storage import Storage
from pipelines.plan.write import write_plan
from pipelines.prompts.rows import PromptRow
from pipelines.prompts.text import CHANGES, is_plain, normal
from tests.conftest import Configure
from tests.support.prompt_files import read, shown, written


@pytest.mark.parametrize(
    ("text", "becomes", "changes"),
    [
        ("a cat", "a cat", []),
        ("a\u200bcat", "acat", ["invisible"]),
        ("soft\u00adhyphen", "softhyphen", ["invisible"]),
        ("one\ufeffword \u2060\u200e\u202e", "oneword", ["invisible", "spaces"]),
        ("a\ufe0f \ufe0fcat", "a cat", ["invisible"]),
        ("a\u200dcat", "acat", ["invisible"]),
        ("猫\u200d犬", "猫犬", ["invisible"]),
        ("cafe\u0301", "café", ["composed"]),
        ("cafe\u200b\u0301", "café", ["invisible"]),
        ("  a \t cat\r\n", "a cat", ["spaces"]),
        ("a\u00a0cat,\u2028a\u3000dog", "a cat, a dog", ["spaces"]),
        (" e\u0301\u200b\u200b  x", "é x", ["composed", "invisible", "spaces"]),
    ],
)
def test_what_looks_the_same_becomes_the_same(text: str, becomes: str, changes: list[str]) -> None:
    assert normal(text) == (becomes, tuple(changes))
    assert {*changes} <= {*CHANGES}


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family
        "\u2764\ufe0f\u200d\U0001f525",  # a heart on fire
        "\U0001f642\u200d\u2194\ufe0f",  # a head that is shaken
        "\U0001f469\U0001f3fd\u200d\U0001f680",  # an astronaut, of a tone of skin
        "1\ufe0f\u20e3 #\ufe0f\u20e3",  # keycaps
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
        "\u2764\ufe0e",  # a heart in black and white
        "می\u200cخواهم",  # Persian: I want
        "ه\u200d",  # Arabic: an initial form that stands alone
        "क\u094d\u200dष क\u094d\u200cष",  # Devanagari: half a letter, and a visible virama
        "ශ\u0dca\u200dරී",  # Sinhala
        "葛\U000e0100",  # an ideograph in one of its forms
        "\u1820\u180b",  # Mongolian
        "\u2229\ufe00",  # an intersection with serifs
        "שָׁלוֹם",
    ],
    ids=ascii,
)
def test_what_changes_a_look_stays(text: str) -> None:
    """But for the order of marks and letters that NFC gives."""
    kept = normal(text)
    assert "invisible" not in kept.changes
    assert len(kept.text) == len(text)


ODD = st.sampled_from(
    "\u00ad\u200b\u200c\u200d\ufeff\ufe0f\u180b\u0301\u0651\u20e3\u212a\u2028 \t\u00a0\u0915\u094d\u0645"
)
ODDER = st.sampled_from(
    "\U0001f3f4\U000e0067\U000e007f\U0001f468\U0001f3fd\u2764\u4e00aeé1#\u3164\u1100\u1161\u034f\u202e"
)


@given(st.lists(ODD | ODDER | st.characters(exclude_categories=["Cs"]), max_size=12).map("".join))
@example("\u212a\ufe0f")
@example("a cat")
@example("\u0645\u200c\u200c\u0645")
def test_a_normal_text_is_left_as_it_is(text: str) -> None:
    once = normal(text).text
    assert normal(once) == (once, ())
    assert not is_plain(text) or once == text


def test_rows_say_what_was_changed(tmp_path: Path, configure: Configure) -> None:
    path = written(tmp_path / "p.txt", "a cat\na  dog\u200b\nplain\u200b\n  \u200b\n\na\u00a0cat\n")
    rows = read(path, duplicates="drop")
    assert [row.prompt_changes for row in rows if isinstance(row, PromptRow)] == [
        None,
        ("invisible", "spaces"),
        ("invisible",),
    ]
    assert shown(path)[-2:] == ["4 EmptyPrompt", "6 RepeatedPrompt"]
    output = Storage.open(tmp_path / "out")
    write_plan(configure(prompts={"path": str(path)}, arms=[{"name": "one"}]), output)
    planned = pq.read_table(tmp_path / "out" / "plan")
    assert planned["prompt_changes"].type == pa.list_(pa.string())
    assert planned["prompt_changes"].to_pylist() == [None, ["invisible", "spaces"], ["invisible"]]


def test_labels_and_ids_have_a_normal_form_too(tmp_path: Path) -> None:
    lines = "prompt,concept,counterfactual,prompt_id\na star,rare\u200b star,a  sun,s\u00ad1\n"
    (row,) = read(written(tmp_path / "p.csv", lines))
    assert isinstance(row, PromptRow)
    assert row[:5] == ("s1", "a star", "rare star", None, "a sun")
    assert row.prompt_changes is None
