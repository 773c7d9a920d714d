"""The papers' figures of a model: draws them, and writes a page, the pictures and the numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from models.generator import Generator
from models.interventions.tora.config import ToraConfig
from models.spec import Group
from models.words import places
from pipelines.config.run import RunConfig
from pipelines.dataset import owned
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.figures.config import Figures
from pipelines.figures.lines import Line, lines
from pipelines.figures.maps import Maps, maps
from pipelines.figures.page import most, page, shades, sheet
from pipelines.figures.sweep import AtSigma, sweep

RECORD = "figures-of.json"


def run(config: RunConfig, figures: Figures, output: Storage) -> str:
    """Make the figures, write `figures.html`, `figures.json` and `images/`, and return the path of the first.

    config: its model, sampling and settings of TORA.
    figures: the settings.
    output: a new folder, or one of earlier figures, whose files are replaced.

    Raises:
        UserError: when the first prompt does not have the words, or the folder holds anything else.
        ModelError: when the model's blocks do not allow lines or maps.
    """
    try:
        places(figures.words, figures.prompts[0])
    except ValueError as error:
        raise UserError(f"--words: {error}") from None
    owned.claim(output, RECORD, config.run.name, setting="--output")
    generator = Generator(config.model)
    tora = config.interventions["tora"]
    assert isinstance(tora, ToraConfig)
    groups = [Group(prompt=prompt, seeds=figures.seeds, sampling=config.sampling) for prompt in figures.prompts]
    # The shortest first: what cannot be done shows at once.
    mapped = maps(generator, groups[0], tora, figures.words)
    lined = lines(generator, groups[0], figures)
    swept = sweep(generator, groups, tora, figures)
    for name, png in _pictures(lined, swept, mapped).items():
        output.write_bytes(f"images/{name}.png", png)
    numbers = _numbers(figures, tora, lined, swept, mapped)
    output.write_bytes("figures.json", (json.dumps(numbers, indent=1) + "\n").encode())
    output.write_bytes("figures.html", page(config.run.name, figures, lined, swept, mapped).encode())
    return output.path("figures.html")


def _pictures(lined: Sequence[Line], swept: Sequence[AtSigma], mapped: Sequence[Maps]) -> dict[str, bytes]:
    context, noise = lined
    return {
        "line-context": sheet(context.pictures),
        "line-noise": sheet(noise.pictures),
        **{
            f"sigma-{at.sigma:g}-prompt-{number}": sheet(pixels)
            for at in swept
            for number, pixels in enumerate(at.pictures)
        },
        **{f"attention-{number}": sheet(shades(one.maps, most(mapped))) for number, one in enumerate(mapped)},
        **{f"attended-{number}": sheet(one.pictures) for number, one in enumerate(mapped)},
    }


def _numbers(
    figures: Figures, tora: ToraConfig, lined: Sequence[Line], swept: Sequence[AtSigma], mapped: Sequence[Maps]
) -> dict[str, Any]:
    return {
        "settings": asdict(figures),
        "tora": asdict(tora),
        "lines": [{"space": one.space, "steps": one.steps, "evenness": one.evenness} for one in lined],
        "sweep": [{"sigma": at.sigma, "right": None if at.right is None else asdict(at.right)} for at in swept],
        "attention": [
            {"name": one.name, "mean": float(one.maps.mean()), "of_each_seed": one.maps.mean((1, 2)).tolist()}
            for one in mapped
        ],
    }
