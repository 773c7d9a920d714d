"""What one group of pictures at one setting gave: a file of its own in the output folder, so that the same command goes
on where it was stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.diversity import average_pair_vendi
from models.hooks.likeness import AFTER, BEFORE, SQUARE
from models.hooks.record import Floats
from models.interventions.registry import entry_of
from models.spec import PLACES, Group
from pipelines.config.run import RunConfig
from pipelines.dataset import records
from pipelines.dataset.storage import Storage
from pipelines.stages.judge import Judged

FOLDER = "groups"
_ADVICE = "Remove the file: the same command makes the group again."


@dataclass(frozen=True, kw_only=True)
class AtBlock:
    """What an intervention did at one block, on average over the edits of a group's texts there."""

    block: int
    """Number of the block."""
    square: float
    """|c|^2, with c the vector of all tokens of a sample that the model reads."""
    displacement: float
    """|x' - x| / |x| over the tokens that the edits moved; 0 where they moved none."""
    before: float
    """Mean cosine between the vectors of the group, before the edit."""
    after: float
    """And after it."""


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """One group of pictures."""

    prompt: str
    """What was drawn."""
    blew_up: bool
    """Whether there are no pictures: values that are not finite, or a single colour."""
    scores: tuple[float, ...] = ()
    """Cosine of each image to the prompt."""
    margins: tuple[float, ...] = ()
    """And less that to the counterfactual; () without one."""
    pair_vendi: float = 0.0
    """Mean Vendi score over the pairs of the group's images, from 1 to 2."""
    seconds: float
    """Time of its drawing."""
    edits: dict[str, tuple[AtBlock, ...]]
    """Intervention -> the blocks in which it edited the text."""

    @property
    def match(self) -> tuple[float, ...]:
        """How well each image shows what the prompt says, as the job ranks images: the margin where there is one, else
        the score."""
        return self.margins or self.scores


def made_of(config: RunConfig, group: Group, counterfactual: str | None) -> str:
    """A name for a group: a hash of everything that its result depends on.

    config: the run, with the revisions of its models.
    group: the group.
    counterfactual: of its prompt.
    """
    parts = {
        "model": {key: value for key, value in asdict(config.model).items() if key not in PLACES},
        "scoring": asdict(config.scoring),
        "group": [group.prompt, counterfactual, group.seeds, group.sampling.settings(pictures=False)],
        "interventions": {entry_of(one).name: asdict(one) for one in group.interventions},
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def find(output: Storage, name: str) -> GroupResult | None:
    """The result of a group; None where it is not made yet.

    output: the folder of the calibration.
    name: as `made_of` gives it.

    Raises:
        UserError: when the file is damaged.
    """
    try:
        return records.read(output, f"{FOLDER}/{name}.json", GroupResult, _ADVICE)
    except FileNotFoundError:
        return None


def write(output: Storage, name: str, result: GroupResult) -> None:
    """Write the result of a group, which marks it as made."""
    records.write(output, f"{FOLDER}/{name}.json", result)


def result_of(prompt: str, judged: Judged, edits: Mapping[str, Floats], seconds: float) -> GroupResult:
    """The result of a group with pictures.

    prompt: what was drawn.
    judged: its scores.
    edits: as of `models.drawn.Drawn`, with the numbers of `models.hooks.likeness`.
    seconds: time of its drawing.
    """
    scores = judged.scores
    assert scores.features_BD is not None  # the config checks it
    return GroupResult(
        prompt=prompt,
        blew_up=False,
        scores=tuple(scores.score_B.tolist()),
        margins=() if scores.margin_B is None else tuple(scores.margin_B.tolist()),
        pair_vendi=average_pair_vendi(scores.features_BD),
        seconds=seconds,
        edits={name: tuple(_at_blocks(numbers)) for name, numbers in edits.items()},
    )


def _at_blocks(numbers: Floats) -> list[AtBlock]:
    """numbers: float64 [blocks, steps, branches, B, 5]."""
    found = []
    for block, of_block in enumerate(numbers.reshape(len(numbers), -1, numbers.shape[-1])):
        edits: Any = of_block[of_block[:, SQUARE] > 0] if numbers.shape[-1] > SQUARE else of_block[:0]
        if not len(edits):
            continue
        moved = edits[edits[:, 0] > 0]
        found.append(
            AtBlock(
                block=block,
                square=float(edits[:, SQUARE].mean()),
                displacement=float(np.sqrt(moved[:, 0] / moved[:, 1]).mean()) if len(moved) else 0.0,
                before=float(edits[:, BEFORE].mean()),
                after=float(edits[:, AFTER].mean()),
            )
        )
    return found
