"""README.md of a run: the hub reads its front matter, and its examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pytest
from huggingface_hub import DatasetCard

from pipelines.dataset.columns import COLUMN_MEANING
from pipelines.dataset.schema import scored
from pipelines.dataset.setting_columns import in_every_row
from pipelines.flows.finish import finish
from pipelines.summary.front_matter import size_category
from pipelines.summary.readers import DUCKDB
from pipelines.summary.sections import column_table, introduction
from tests.support.docs import GUIDES, README, run_blocks
from tests.support.toy_run import Toy, write_run


def card_of(folder: Path, toy: Toy | None = None) -> str:
    output = write_run(folder, toy or Toy())
    finish(output)
    return output.read_bytes("README.md").decode()


def front_matter(text: str) -> dict[str, Any]:
    data: Any = DatasetCard(text).data
    return dict(data.to_dict())


def test_every_column_has_a_meaning_and_every_meaning_a_column(tmp_path: Path) -> None:
    columns = scored(1).names
    assert set(COLUMN_MEANING) == {*columns} - {*in_every_row()}
    text = card_of(tmp_path)
    assert all(f"| `{name}` |" in text for name in scored(1).names)


def test_the_guide_to_datasets_has_every_column_and_the_readme_no_other() -> None:
    assert column_table(scored(1)) in GUIDES["pipelines/dataset/README.md"]
    section = README.partition("| column | what it says |\n")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in section.splitlines()[1:]]
    assert {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)} < {*scored(1).names}


def test_front_matter(tmp_path: Path) -> None:
    data = front_matter(card_of(tmp_path))
    assert data["license"] == "other"
    assert data["size_categories"] == ["n<1K"]
    assert data["task_categories"] == ["text-to-image"]
    assert [config["config_name"] for config in data["configs"]] == ["default", "rejected"]


@pytest.mark.parametrize(
    "name", ['a: "b"\n- c', "---\nlicense: mit", "<b>`x`</b> | y", "日本語 🦩", "a\x7f\u2028b\U000e0001"]
)
def test_a_difficult_name_changes_nothing_but_the_name(tmp_path: Path, name: str) -> None:
    text = card_of(tmp_path, Toy(name=name))
    data = front_matter(text)
    assert data["pretty_name"] == name
    assert data["license"] == "other"
    title = next(line for line in text.splitlines() if line.startswith("# "))
    assert re.fullmatch(r"# `[^`|]+`", title)


def test_a_hub_client_loads_the_folder_with_decoded_images(tmp_path: Path) -> None:
    card_of(tmp_path / "run", Toy(prompts=4))
    for config, rows in (("default", 48), ("rejected", 16)):
        loaded: Any = datasets.load_dataset(str(tmp_path / "run"), config, split="train", cache_dir=str(tmp_path / "c"))
        assert loaded.num_rows == rows
        assert loaded[0]["image"].size == (64, 64)
        assert len(loaded[0]["embedding"]) == 16


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that DuckDB would take for a column, and that has a space in its name."""
    folder = tmp_path / "seed=7" / "a run"
    text = card_of(folder, Toy(prompts=4))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    by_datasets, by_duckdb, by_pyarrow, by_torch = run_blocks(text, folder)
    assert by_datasets["rows"][0]["image"].size == (64, 64)
    assert by_pyarrow["table"].num_rows == by_datasets["rows"].num_rows == 48
    assert len(by_duckdb) == 16
    assert sum(row[2] for row in by_duckdb) == 48
    batch = next(iter(by_torch["loader"]))
    assert batch["image"].shape == (32, 3, 64, 64)
    assert int(batch["seed"][1]) == 2**62 + 1


def test_a_folder_that_is_named_like_a_column_hides_no_column(tmp_path: Path) -> None:
    """Where a reader puts the whole path into the query of the card."""
    folder = tmp_path / "seed=7"
    write_run(folder, Toy(prompts=1, arms=("base",), side=16))
    query = DUCKDB.replace("'data/", f"'{folder}/data/").replace("SELECT arm", "SELECT arm, seed")
    assert 7 not in {row[1] for row in duckdb.connect().execute(query).fetchall()}


def test_prompts_without_images_are_not_said_to_have_some(tmp_path: Path) -> None:
    text = card_of(tmp_path, Toy(prompts=3, arms=("base",), side=16, fail_every=3))
    assert "from a run over 3 prompts, made with Raydiance" in text
    assert introduction(6, 3) in text
    assert "images of 3 prompts" not in text


def test_no_rejected_images_no_rejected_config(tmp_path: Path) -> None:
    text = card_of(tmp_path, Toy(size=1))
    assert [config["config_name"] for config in front_matter(text)["configs"]] == ["default"]


@pytest.mark.parametrize(
    ("images", "category"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**8, "100M<n<1B"), (10**9, "n>1B")]
)
def test_size_category(images: int, category: str) -> None:
    assert size_category(images) == category
