"""The model card beside the shipped weights: how they were made, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from models.embedded import SAMPLING, TURBO_SAMPLING
from models.embedded.training import mmdit, oracle, trajectories, turbo, vae
from models.embedded.training.recipe import LONG_TAILED
from models.embedded.world import COLOUR_PROBABILITY_BY_RANK, TEXTURE_PROBABILITY_BY_RANK
from models.statistics import Estimate

_CARD = Path(__file__).with_suffix(".md")


def write_card(weights: Path, measures: Mapping[str, Estimate]) -> None:
    """Write `README.md` into the folder of the weights."""

    def listed(shares: tuple[float, ...]) -> str:
        return ", ".join(f"{value:.2%}" for value in shares)

    text = _CARD.read_text(encoding="utf-8").format(
        layers=mmdit.LAYERS,
        width=mmdit.WIDTH,
        size=SAMPLING.width,
        steps=SAMPLING.steps,
        guidance=SAMPLING.guidance_scale,
        length=SAMPLING.max_sequence_length,
        colours=listed(COLOUR_PROBABILITY_BY_RANK),
        textures=listed(TEXTURE_PROBABILITY_BY_RANK),
        pictures=LONG_TAILED["count"],
        vae_steps=vae.LOOP.steps,
        batch=mmdit.BATCH,
        clean_steps=mmdit.CLEAN.loop.steps,
        noisy_steps=mmdit.NOISY.loop.steps,
        noise=mmdit.NOISY.captions.noise,
        oracle_steps=oracle.LOOP.steps,
        turbo_steps=TURBO_SAMPLING.steps,
        sigmas=list(TURBO_SAMPLING.sigmas),
        rank=turbo.RANK,
        follow_steps=turbo.FOLLOW.steps,
        substeps=trajectories.SUBSTEPS,
        trajectories=turbo.TRAJECTORIES * trajectories.SHARD,
        match_steps=turbo.MATCH.steps,
        turn=turbo.CRITIC_STEPS + 1,
        measures="\n".join(f"| {name} | {estimate} |" for name, estimate in measures.items()),
    )
    (weights / "README.md").write_text(text, encoding="utf-8")
