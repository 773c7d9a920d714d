"""Which settings a model is run with where nobody says: hub ids, copies, fine-tunes, files beside a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from models import checkpoints
from models.checkpoints import CHECKPOINTS, Shape, repulsion_strength, size_of
from models.embedded import SAMPLING, WEIGHTS
from models.errors import ModelError
from models.interventions.registry import find
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.repulsion.push import repel
from models.interventions.tora.config import ToraConfig
from models.recommended import recommended, shape_of
from models.spec import Sampling, span

LARGE, TURBO = "stabilityai/stable-diffusion-3.5-large", "stabilityai/stable-diffusion-3.5-large-turbo"


def folder_of(folder: Path, shape: Shape) -> str:
    """A pipeline folder with the configs of a shape and no weights."""
    heads = shape.width // 64
    transformer = {"num_layers": shape.layers, "num_attention_heads": heads, "attention_head_dim": 64}
    transformer |= {"num_single_layers": shape.single_layers, "guidance_embeds": shape.guidance_embeds}
    (folder / "transformer").mkdir(parents=True)
    (folder / "transformer" / "config.json").write_text(json.dumps(transformer))
    index = {"_class_name": shape.pipeline, "is_distilled": shape.distilled}
    (folder / "model_index.json").write_text(json.dumps(index))
    return str(folder)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_checkpoint_has_settings_that_are_settings(name: str) -> None:
    found = recommended(name)
    assert found.source == name
    assert not found.warning
    sampling = Sampling(**found.sampling)
    for kind, settings in found.interventions.items():
        entry = find(kind)
        assert entry is not None
        entry.config(**settings)
    repulsion = RepulsionConfig(**found.interventions["repulsion"])
    blocks = CHECKPOINTS[name].shape.blocks
    assert repulsion.strength * (blocks - 1) == pytest.approx(0.5, rel=0.01)
    assert (repulsion.branch, repulsion.blocks) == ("both", (0.0, 1.0))
    first = len(span(repulsion.steps, sampling.steps))
    assert 1 <= first <= max(1, 0.26 * sampling.steps)


def test_the_papers_numbers() -> None:
    """arXiv 2603.28762, section 5: tau is 4 of 28 (SD3.5-Large), 1 of 4 (Turbo), 1 of 20 (FLUX-dev); M 100, FLUX 50."""

    def tau(name: str) -> tuple[int, int, int]:
        found = recommended(name)
        repulsion, steps = RepulsionConfig(**found.interventions["repulsion"]), int(found.sampling["steps"])
        return len(span(repulsion.steps, steps)), steps, repulsion.inner_steps

    assert tau(LARGE) == (4, 28, 100)
    assert tau(TURBO) == (1, 4, 100)
    assert tau("black-forest-labs/FLUX.1-dev") == (1, 28, 50)
    assert (ToraConfig().site, ToraConfig().sigma) == ("block", 1.3)  # arXiv 2510.03886


@pytest.mark.parametrize("samples", [4, 8, 16])
@pytest.mark.parametrize("blocks", [8, 24, 38, 57])
@pytest.mark.parametrize("shared", [0.99, 0.999, 0.9999])
def test_a_group_keeps_most_of_what_it_shares(samples: int, blocks: int, shared: float) -> None:
    """The mean cosine after all blocks of a step, with fewer inner steps, which make no difference here."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(1, 1, 40, 128, generator=generator)
    own = torch.randn(1, samples, 40, 128, generator=generator)
    tokens = common + (1 / shared - 1) ** 0.5 * own
    config = RepulsionConfig(strength=repulsion_strength(blocks), inner_steps=10)
    before = cosine(tokens)
    for _ in range(blocks - 1):
        tokens = repel(tokens, config)
    print(f"{samples} samples, {blocks} blocks: {before:.4f} -> {cosine(tokens):.4f}")
    assert 0.9 < cosine(tokens) < before


def cosine(tokens_GBND: torch.Tensor) -> float:
    """Mean over pairs of a group."""
    unit = torch.nn.functional.normalize(tokens_GBND.flatten(2), dim=-1)
    count = unit.shape[1]
    return float(((unit @ unit.mT).sum() - count) / (count * (count - 1)))


def test_a_copy_is_known_by_its_configs(tmp_path: Path) -> None:
    large = checkpoints.LARGE
    for folder, name in (
        ("models--stabilityai--stable-diffusion-3.5-large-turbo/snapshots/0a1b", TURBO),
        ("weights/Stable-Diffusion-3.5-Large", LARGE),
    ):
        found = recommended(folder_of(tmp_path / folder, large))
        assert (found.source, found.warning) == (name, "")
    unnamed = recommended(folder_of(tmp_path / "my-finetune", large))
    assert unnamed.source == LARGE
    assert f"looks like {LARGE}; it could also be {TURBO}" in unnamed.warning
    dev = recommended(folder_of(tmp_path / "portraits", checkpoints.FLUX_DEV))
    assert (dev.source, dev.sampling["guidance_scale"]) == ("black-forest-labs/FLUX.1-dev", 3.5)
    schnell = recommended(folder_of(tmp_path / "fast", checkpoints.FLUX_SCHNELL))
    assert (schnell.source, schnell.sampling["steps"], schnell.warning[:10]) == (
        "black-forest-labs/FLUX.1-schnell",
        4,
        "model.path",
    )
    klein = recommended(folder_of(tmp_path / "klein", checkpoints.KLEIN_BASE_4B))
    assert klein.source == "black-forest-labs/FLUX.2-klein-base-4B"


def test_another_depth_gets_the_papers_form(tmp_path: Path) -> None:
    shape = Shape(pipeline="StableDiffusion3Pipeline", layers=30, width=1920)
    found = recommended(folder_of(tmp_path / "new", shape))
    assert found.interventions == {"repulsion": {"strength": repulsion_strength(30)}}
    assert "is of no published shape: it gets the papers' form" in found.warning


def test_what_nobody_knows_gets_the_papers_form_and_a_warning(tmp_path: Path) -> None:
    for path in ("owner/model", str(tmp_path)):
        found = recommended(path)
        assert not found.sampling
        assert not found.interventions
        assert "is not in models/checkpoints.py: it gets the papers' form" in found.warning
    assert recommended("THUDM/CogView4-6B").source == "zai-org/CogView4-6B"
    assert size_of("black-forest-labs/FLUX.1-dev") is not None
    assert size_of("owner/model") is None


def test_what_was_measured_on_a_model_lies_beside_it(tmp_path: Path) -> None:
    """As with the embedded model."""
    embedded = recommended(str(WEIGHTS / "pipeline"))
    assert Sampling(**embedded.sampling) == SAMPLING
    assert embedded.interventions["tora"] == {"sigma": 2.0, "site": "attention"}
    assert embedded.interventions["repulsion"]["strength"] == 3.0
    assert embedded.source.endswith("pipeline.toml")

    path = folder_of(tmp_path / "mine", checkpoints.LARGE)
    (tmp_path / "mine.toml").write_text("[repulsion]\nstrength = 0.2\n")
    assert recommended(path).interventions == {"repulsion": {"strength": 0.2}}
    (tmp_path / "mine.toml").write_text("sampling = 3")
    with pytest.raises(ModelError, match=r"mine.toml: sampling is no table"):
        recommended(path)
    (tmp_path / "mine" / "model_index.json").write_text("{")
    (tmp_path / "mine.toml").unlink()
    with pytest.raises(ModelError, match=r"model_index.json cannot be read"):
        recommended(path)


def test_a_real_pipeline_has_the_shape_of_its_configs(tiny_pipeline: str) -> None:
    assert shape_of(Path(tiny_pipeline)) == Shape(pipeline="StableDiffusion3Pipeline", layers=2, width=32)


def test_the_table_of_checkpoints_says_what_the_code_does() -> None:
    text = Path("models/CHECKPOINTS.md").read_text()
    assert table() in text, f"write this table:\n{table()}"


def table() -> str:
    """The resolved settings of every checkpoint, as models/CHECKPOINTS.md has them."""
    head = ("checkpoint", "steps", "guidance", "text tokens", "TORA", "repulsion: strength", "M", "steps of the run")
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for name in CHECKPOINTS:
        found = recommended(name)
        sampling, tora = Sampling(**found.sampling), ToraConfig(**found.interventions.get("tora", {}))
        repulsion: Any = RepulsionConfig(**found.interventions["repulsion"])
        cells = (
            f"`{name}`", sampling.steps, f"{sampling.guidance_scale:g}", sampling.max_sequence_length,
            f"{tora.site}, sigma {tora.sigma:g}", f"{repulsion.strength:g}", repulsion.inner_steps,
            f"first {len(span(repulsion.steps, sampling.steps))}",
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    assert not re.search(r"\n\n", "\n".join(lines))
    return "\n".join(lines)
