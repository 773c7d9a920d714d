"""Rare concepts of a corpus: what captions say of objects is counted, and what is rare for one becomes a prompt."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import mine
from models.embedded import world
from models.embedded.captions import CaptionStyle, caption, named_attributes
from models.embedded.promptset import single_prompts
from models.embedded.world import Kind, Scene, Thing
from pipelines.mining import choose
from pipelines.mining.choose import Choice
from pipelines.mining.counts import Counts
from pipelines.mining.grammar import Grammar
from pipelines.mining.lexicon import read
from pipelines.mining.pair import Pair
from pipelines.mining.spacy_parser import SpacyParser
from pipelines.prompts.config import Prompts
from pipelines.prompts.reading import read as read_prompts
from pipelines.prompts.rows import PromptRow
from tests.support.docs import GUIDES, run_blocks

GRAMMAR = Grammar(read())
KINDS: tuple[Kind, ...] = ("colour", "texture")


def pairs(text: str) -> list[str]:
    return [f"{pair.kind}: {pair.attribute} {pair.object}" for pair in GRAMMAR.pairs([text])]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a red fire truck parked on the street", ["colour: red fire truck"]),
        ("A very old, Red truck", ["age: old truck", "colour: red truck"]),
        ("an orange", []),
        ("a red square on a square table", ["colour: red square", "form: square table"]),
        ("a red and silver", []),
        ("a gold ring", ["colour: gold ring"]),
        ("a red and white fence", []),  # it is neither
        ("a big and red barn", ["size: big barn", "colour: red barn"]),
        ("a black dog running; a white cat sits", ["colour: black dog", "colour: white cat"]),
        ("a green building", ["colour: green building"]),
        ("a dog with a red collar", ["colour: red collar"]),
        ("two red dogs", []),  # of many: the noun is not in the singular
        ("a striped red star left of a dotted thing", ["texture: striped star", "colour: red star"]),
        ("a cat and a purple-dotted ball", []),
        ("a red", []),
        ("a red 7 iron", []),
        ("", []),
    ],
)
def test_the_grammar_reads_descriptions_of_single_things(text: str, found: list[str]) -> None:
    assert pairs(text) == found


def captions_by_the_tables(per_shape: int) -> list[str]:
    """Captions in which every pair stands exactly as often as the world's tables say, all else drawn as in training."""
    rng = np.random.default_rng(3)
    style = CaptionStyle(keep_shape=1.0, keep_colour=1.0, keep_texture=1.0)
    things = []
    for number, shape in enumerate(world.SHAPES):
        colours, textures = (
            rng.permutation(np.repeat(words, np.round(table[number] * per_shape).astype(int)))
            for words, table in ((world.COLOURS, world.COLOUR_GIVEN_SHAPE), (world.TEXTURES, world.TEXTURE_GIVEN_SHAPE))
        )
        things += [Thing(shape=shape, colour=str(c), texture=str(t)) for c, t in zip(colours, textures, strict=True)]
    found = []
    while things:
        scene = world.sample_scene(rng)
        count = min(len(scene.things), len(things))
        own = tuple(things.pop() for _ in range(count))
        if count < len(scene.things):
            scene = Scene(arrangement="single", things=own, background="snow", size="small", position="left")
        found.append(caption(Scene(**{**vars(scene), "things": own}), rng, style))
    return found


def test_rarities_of_the_embedded_world_are_those_of_its_tables(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("\n".join(captions_by_the_tables(2000)))
    words = ["--captions", str(tmp_path / "captions.txt"), "--to", str(tmp_path / "rare.jsonl")]
    every = [word for rarity in choose.RARITIES for word in ("--rarity", rarity)]
    assert mine.main([*words, "--kind", "colour", "--kind", "texture", *every]) == 0
    mined = [json.loads(line) for line in (tmp_path / "rare.jsonl").read_text().splitlines()]
    assert len(mined) == len(world.SHAPES) * (len(world.COLOURS) + len(world.TEXTURES))
    for row in mined:
        assert row["rarity"] == world.attribute_rarity(row["object"], row["kind"], row["attribute"])
        assert row["usual"] == world.most_typical(row["object"], row["kind"])
        share = world.attribute_probability(row["object"], row["kind"], row["attribute"])
        assert row["share"] == pytest.approx(share, abs=1e-3)
        assert row["count"] == round(row["share"] * row["object_count"])
    rare = [row for row in read_prompts(Prompts(path=str(tmp_path / "rare.jsonl"))) if isinstance(row, PromptRow)]
    assert len(rare) == len(mined)
    wanted = {
        (one.prompt, one.concept, one.rarity, one.counterfactual)
        for kind in KINDS
        for rarity in ("common", "uncommon", "rare", "unseen")
        for one in single_prompts(kind, rarity)
    }
    assert {(row.prompt, row.concept, row.rarity, row.counterfactual) for row in rare} == wanted


def test_the_commands_of_the_readme_give_prompts_of_the_embedded_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From captions drawn as in training, so to within chance: what the tables call common is never called rare."""
    guide = GUIDES["pipelines/prompts/README.md"]
    run_blocks(guide, tmp_path)
    monkeypatch.chdir(tmp_path)
    (command,) = [line for line in guide.splitlines() if line.startswith("python jobs/mine.py")]
    assert mine.main(shlex.split(command)[2:]) == 0
    found = [row for row in read_prompts(Prompts(path="out/rare.jsonl")) if isinstance(row, PromptRow)]
    assert len(found) > 40  # of 48 that the tables call rare or unseen
    for row in found:
        assert row.rarity is not None
        named = named_attributes(row.prompt)
        colour, shape = named.get("colour_0"), named["shape_0"]
        kind: Kind = "colour" if colour else "texture"
        word = colour or named["texture_0"]
        assert world.attribute_rarity(shape, kind, word) in ("rare", "unseen", "uncommon")
        assert row.counterfactual is not None
        assert named_attributes(row.counterfactual)[f"{kind}_0"] == world.most_typical(shape, kind)


def test_files_of_a_corpus_are_counted_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus: Any = (["a red frog", None, "a green frog"], ["a green frog"] * 60)
    for number, texts in enumerate(corpus):
        pq.write_table(pa.table({"TEXT": pa.array(texts, pa.string())}), tmp_path / f"{number}.parquet")
    words = [
        "--captions",
        f"{tmp_path}/*.parquet",
        "--to",
        str(tmp_path / "rare.parquet"),
        "--text",
        "{attribute} {object}!",
    ]
    assert mine.main([*words, "--column", "TEXT", "--object-mentions", "60"]) == 0
    assert "62 captions (1 unreadable): 1 rare prompts in" in capsys.readouterr().out
    (row,) = pq.read_table(tmp_path / "rare.parquet").to_pylist()
    assert row == {
        "prompt": "red frog!", "concept": "red frog", "rarity": "rare", "counterfactual": "green frog!",
        "kind": "colour", "attribute": "red", "object": "frog", "usual": "green", "count": 1,
        "object_count": 62, "share": 1 / 62,
    }  # fmt: skip


def test_captions_that_look_the_same_are_counted_together(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text(
        "a red caf\u00e9 table\na red cafe\u0301 table\na red ca\u200bf\u00e9 table\n"
    )
    options = ["--captions", f"{tmp_path}/captions.txt", "--to", f"{tmp_path}/found.jsonl"]
    assert mine.main([*options, "--object-mentions", "1", "--rarity", "common"]) == 0
    (row,) = map(json.loads, (tmp_path / "found.jsonl").read_text().splitlines())
    assert (row["object"], row["count"]) == ("caf\u00e9 table", 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to", "rare.csv"], ["--to rare.csv: needs a file that ends with one of .parquet, .jsonl"]),
        (["--to", "{}/there.jsonl"], ["there.jsonl: the file is there already"]),
        (["--column", "text"], ["no column 'text'", "['caption']. Set --column to one of them."]),
        (["--column", "-"], ["--column = '-' is out of range"]),
        (["--encoding", "x"], ["--encoding = 'x' is out of range"]),
        (["--captions", "{}/there.foo"], ["there.foo: cannot tell the format from the ending; set --format to one of"]),
        (["--kind", "color"], ["--kind 'color': the lexicon has colour, texture"]),
        (["--parser", "nltk"], ["--parser 'nltk': needs 'grammar', or 'spacy:NAME'"]),
        (["--rare-below", "2"], ["--rare-below = 2.0 is out of range"]),
        (
            ["--text", "a {adjective}"],
            ["--text = 'a {adjective}' is out of range: knows {attribute} and {object} only"],
        ),
        (["--captions", "{}/gone*.csv"], ["--captions: no file matches"]),
        (["--lexicon", "{}/lexicon.toml"], ["attributes.b = 'red' is out of range: it is of the kind a already"]),
        ([], ["of 1 captions no pair is among rare, unseen", "lower --object-mentions"]),
    ],
)
def test_what_does_not_fit_is_named(
    options: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "captions.csv").write_text("caption\na red frog\n")
    (tmp_path / "there.jsonl").write_text("")
    (tmp_path / "there.foo").write_text("")
    (tmp_path / "lexicon.toml").write_text('determiners = ["a"]\nattributes = {a = ["red"], b = ["red"]}\n')
    given = ["--captions", f"{tmp_path}/captions.csv", "--to", f"{tmp_path}/rare.jsonl"]
    assert mine.main([*given, *(option.format(tmp_path) if "{}" in option else option for option in options)]) == 2
    said = capsys.readouterr().err
    for word in words:
        assert word in said
    assert not (tmp_path / "rare.jsonl").exists()


def test_counting_forgets_the_objects_that_are_mentioned_least() -> None:
    counts = Counts(most=100)
    for number in range(1000):
        counts.add(
            [Pair("colour", "frog", "red"), Pair("colour", "frog", "green"), Pair("colour", f"o{number}", "red")]
        )
    found = {object: dict(of) for _, object, of in counts.of_objects()}
    assert found["frog"] == {"red": 1000, "green": 1000}
    assert len(found) <= 101
    assert 0 < counts.missed < 100


def test_pairs_with_few_mentions_may_be_left_out() -> None:
    counts = Counts()
    counts.add(
        [Pair("colour", "frog", "green")] * 197 + [Pair("colour", "frog", word) for word in ("red", "blue", "blue")]
    )
    counts.add([Pair("colour", "cat", "pink")] * 100)
    for fewest, found in ((1, {"pink", "red", "blue"}), (2, {"pink", "blue"})):
        rows = choose.rows(counts, Choice(pair_mentions=fewest))
        assert {row["attribute"] for row in rows if row["object"] == "frog"} == found


def test_a_parser_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    (tmp_path / "captions.csv").write_text("caption\na red frog\n")
    given = ["--captions", f"{tmp_path}/captions.csv", "--to", f"{tmp_path}/rare.jsonl", "--parser", "spacy:x"]
    assert mine.main(given) == 2
    assert "--parser spacy:x: pip install spacy" in capsys.readouterr().err


def test_spacy_s_dependencies_become_pairs() -> None:
    """A parsed document as a pipeline of spaCy gives it: of "two zany red fire trucks"."""
    tokens = pytest.importorskip("spacy.tokens", reason="pip install spacy")
    vocab: Any = pytest.importorskip("spacy.vocab").Vocab()
    parsed = tokens.Doc(
        vocab,
        words=["two", "zany", "red", "fire", "trucks"],
        pos=["NUM", "ADJ", "ADJ", "NOUN", "NOUN"],
        lemmas=["two", "zany", "red", "fire", "truck"],
        heads=[4, 4, 4, 4, 4],
        deps=["nummod", "amod", "amod", "compound", "ROOT"],
    )

    class Pipeline:
        def pipe(self, captions: list[str]) -> list[Any]:
            return [parsed]

    found = [*SpacyParser(Pipeline(), read()).pairs(["two zany red fire trucks"])]
    assert found == [Pair("other", "fire truck", "zany"), Pair("colour", "fire truck", "red")]
