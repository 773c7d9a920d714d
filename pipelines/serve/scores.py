"""The scores of made groups, as the batch job's score stage gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.drawn import Drawn
from models.scorers.base import ImageGroup
from pipelines.config.scorers import Scoring
from pipelines.dataset.videos import for_scorers
from pipelines.serve.jobs import Job, Scores
from pipelines.stages.judge import Judge, Judged


class GroupScorer:
    """A scorer, loaded once.

    scoring: which one.
    device: where it runs.

    Raises:
        ModelError: when it cannot be loaded.
    """

    def __init__(self, scoring: Scoring, device: str) -> None:
        self._judge = Judge(scoring, device)
        self._frames = scoring.frames

    def __call__(self, made: Sequence[tuple[Job, Drawn]]) -> list[Scores | None]:
        """The scores of each group, None for those whose jobs want none.

        made: the groups.
        """
        wanted = [at for at, (job, _) in enumerate(made) if job.scores]
        groups = [self._group(*made[at]) for at in wanted]
        judged = dict(zip(wanted, self._judge(groups) if groups else (), strict=True))
        return [_scores(judged[at]) if at in judged else None for at in range(len(made))]

    def _group(self, job: Job, drawn: Drawn) -> ImageGroup:
        """A group for the scorer: of videos, as many frames as it is set to see."""
        pixels, frames = for_scorers(drawn.pixels, self._frames)
        prompt, counterfactual = job.group.prompt, job.counterfactual
        return ImageGroup(pixels_BHWC=pixels, prompt=prompt, counterfactual=counterfactual, frames=frames)


def _public_name(scorer: str) -> str:
    """The name of a scorer without the folders of the server."""
    kind, _, path = scorer.partition(":")
    return f"{kind}:{Path(path).name}" if kind == "local-dir" else scorer


def _scores(judged: Judged) -> Scores:
    columns = judged.columns()
    return Scores(
        clip_model=_public_name(judged.model),
        clip_score=tuple(columns["clip_score"]),
        clip_margin=_known(columns["clip_margin"]),
        clip_margin_missing=columns["clip_margin_missing"][0],
        clip_tokens_cut=columns["clip_tokens_cut"][0],
        nearest_similarity=_known(columns["nearest_similarity"]),
        temporal_consistency=_known(columns["temporal_consistency"]),
        group_vendi=columns["group_vendi"][0],
        group_pair_similarity=columns["group_pair_similarity"][0],
    )


def _known(values: list[float | None]) -> tuple[float, ...] | None:
    """The values of a column, which is null for all images of a group or for none; None for null."""
    known = tuple(value for value in values if value is not None)
    return known or None
