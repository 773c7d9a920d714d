"""Which settings are a run's identity, and that those of runs that were begun before stay as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.fingerprint import ADDED_LATER, fingerprint, without_later_defaults
from pipelines.config.load import load
from pipelines.dataset import schema
from tests.conftest import Configure


def test_fingerprint_ignores_order_and_spelled_out_defaults(tmp_path: Path, toml: Path) -> None:
    tables = toml.read_text().strip().split("\n[")
    other = tmp_path / "other.toml"
    other.write_text("\n[".join(["", *(t.lstrip("[") for t in reversed(tables))]) + "\n[group]\nsize = 4\n")
    assert fingerprint(load(other)) == fingerprint(load(toml))
    assert re.fullmatch("[0-9a-f]{64}", fingerprint(load(toml)))


FIRST: dict[str, Any] = {
    "tora": {"sigma": 2.0, "site": "attention"},
    "repulsion": {"strength": 3.0, "max_displacement": 1.0, "branch": "cond", "blocks": [0.6667, 1.0]},
}
"""The settings that interventions had in the first releases, where a config did not say them."""


@pytest.mark.parametrize(
    ("version", "before"),
    [
        (2, "cb8964efafd9ebe85a3c2b33d3e2d77aaa79fc707f801e4aecf6e3ceb6b6843b"),
        (3, "43552754453685d3b8940a7dfb9160e1baf551d7cb5d3be31b8dcd27f5a5dd56"),
    ],
)
def test_settings_that_came_later_leave_fingerprints_alone(
    version: int, before: str, toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fingerprint of MINIMAL as it was before there were the settings below, at which it stays: a run goes on, but
    for a new version of the row contract."""
    monkeypatch.setattr(schema, "VERSION", version)
    first = [f"{name}.{key}={value!r}" for name, table in FIRST.items() for key, value in table.items()]
    first.append("model.dtype=bfloat16")
    assert fingerprint(load(toml, first)) == before
    loaded = [
        "model.quantize=[]",
        "model.transformer_file=''",
        "model.loras=[]",
        "model.variant=''",
        "model.drop=[]",
        "model.scheduler=''",
        "model.shift=0",
    ]
    spelled = [
        "scoring.kind=open_clip",
        "scoring.options={}",
        "scorers=[]",
        'selection.rank_by=""',
        "selection.limits=[]",
        "selection.accept=''",
    ]
    spelled += ["tora.encoders=together", "tora.refresh_steps=1", "tora.lag_steps=0", "sampling.sigmas=[]", *loaded]
    spelled += ["repulsion.vary_words=''", "repulsion.keep_words=''"]
    assert fingerprint(load(toml, [*first, *spelled])) == before


def test_a_later_setting_is_left_out_of_arrays_and_of_what_arms_say_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ADDED_LATER, "arms.shade", "none")
    arms = [{"name": "a", "shade": "none"}, {"name": "b", "shade": "dark"}]
    assert without_later_defaults({"arms": arms}) == {"arms": [{"name": "a"}, {"name": "b", "shade": "dark"}]}
    own = [{"name": "a", "tora": {"sigma": 2.0, "encoders": "together"}}, {"name": "b", "tora": {"encoders": "apart"}}]
    bare = [{"name": "a", "tora": {"sigma": 2.0}}, {"name": "b", "tora": {"encoders": "apart"}}]
    assert without_later_defaults({"arms": own}) == {"arms": bare}


def test_a_later_setting_of_an_arms_own_table_is_left_out() -> None:
    own = {"sigma": 1.5, "refresh_steps": 1}
    arms = [{"name": "a", "tora": own}, {"name": "b", "tora": own | {"refresh_steps": 2}}]
    known = [{"name": "a", "tora": {"sigma": 1.5}}, arms[1]]
    assert without_later_defaults({"tora": own, "arms": arms}) == {"tora": {"sigma": 1.5}, "arms": known}


@pytest.mark.parametrize(
    "changes",
    [
        {"run": {"output": "elsewhere", "name": "another"}},
        {"ray": {"generators": 7, "address": "auto"}},
        {"group": {"groups_per_prompt": 2}},
        {"prompts": {"path": "more.txt", "limit": 9}},
        {"model": {"path": "owner/model", "device": "cpu"}},
    ],
)
def test_places_and_workers_are_not_identity(configure: Configure, changes: dict[str, Any]) -> None:
    assert fingerprint(configure(**changes)) == fingerprint(configure())


@pytest.mark.parametrize(
    "changes",
    [
        {"run": {"output": "x", "seed": 1}},
        {"model": {"path": "owner/model", "revision": "v2"}},
        {"model": {"path": "owner/model", "dtype": "float16"}},
        {"model": {"path": "owner/model", "variant": "fp16"}},
        {"model": {"path": "owner/model", "drop": ["text_encoder_3"]}},
        {"model": {"path": "owner/model", "scheduler": "UniPCMultistepScheduler"}},
        {"model": {"path": "owner/model", "shift": 3.0}},
        {"model": {"path": "owner/model", "quantize": [{"part": "transformer", "method": "torchao-int8"}]}},
        {"model": {"path": "owner/model", "transformer_file": "model.gguf"}},
        {"sampling": {"steps": 3}},
        {"sampling": {"steps": 2, "sigmas": [1.0, 0.5]}},
        {"group": {"size": 5}},
        {"group": {"groups_per_batch": 3}},
        {"prompts": {"path": "x", "duplicates": "keep"}},
        {"tora": {"sigma": 1.2}},
        {"tora": {"refresh_steps": 2}},
        {"repulsion": {"strength": 2.0}},
        {"arms": [{"name": "off"}]},
        {"scoring": {"model": "ViT-B-16"}},
        {"scorers": [{"name": "b", "model": "ViT-B-16"}]},
        {"selection": {"keep_per_group": 1}},
        {"output": {"image_format": "webp"}},
        {"output": {"groups_per_shard": 3}},
    ],
)
def test_what_changes_rows_is_identity(configure: Configure, changes: dict[str, Any]) -> None:
    assert fingerprint(configure(**changes)) != fingerprint(configure())


@pytest.mark.parametrize(
    ("version", "before"),
    [
        (2, "de3d21302731ff094f157594a9916967d438f1ffd84ed145215438c7124f65f8"),
        (3, "53f5c001628c2cbf157f250d71871f950cf3b1a5b65854be3a004cbdbd145938"),
    ],
)
def test_fingerprints_of_configs_that_could_be_written_before_stay(
    version: int, before: str, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run of weeks could not go on with a later release of the same row contract."""
    monkeypatch.setattr(schema, "VERSION", version)
    arms = [{"name": "stock"}, {"name": "both", "tora": True, "repulsion": True}]
    settings = configure(
        arms=arms,
        tora=FIRST["tora"] | {"sigma": 1.5},
        repulsion=FIRST["repulsion"],
        group={"size": 3},
        model={"path": "owner/model", "dtype": "bfloat16"},
    )
    assert fingerprint(settings) == before
