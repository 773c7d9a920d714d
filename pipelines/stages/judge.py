"""Pictures of groups in, scores out: the part that the score stage and the endpoint share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.diversity import Diversity, diversity_of
from models.errors import ModelError
from models.scorers import registry
from models.scorers.base import Asks, Floats, GroupScores, ImageGroup, Kept, ScorerSpec
from models.scorers.videos import consistency, of_videos


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """The scores of one group by one scorer."""

    model: str
    """Name and revision of the scorer."""
    scores: GroupScores
    """Its scores."""
    diversity: Diversity | None
    """Diversity of the group; None without image vectors."""
    consistency_B: Floats | None = None
    """float32 [B], consistency over time; None without image vectors of several frames."""

    @property
    def ranked_by_B(self) -> Floats:
        """The values that rank the images, float32 [B]: the margins where there are some, else the scores."""
        return self.scores.score_B if self.scores.margin_B is None else self.scores.margin_B

    def columns(self) -> dict[str, list[Any]]:
        """The columns of the scores and the diversity: name -> a value per image."""
        count, diversity = len(self.scores.score_B), self.diversity
        margin_B, nearest_B = self.scores.margin_B, diversity.nearest_B if diversity else None
        nothing = [None] * count
        return {
            "clip_model": [self.model] * count,
            "clip_score": self.scores.score_B.tolist(),
            "clip_margin": nothing if margin_B is None else margin_B.tolist(),
            "clip_margin_missing": [self.scores.no_margin] * count,
            "clip_tokens_cut": [self.scores.tokens_cut] * count,
            "group_vendi": [diversity.vendi if diversity else None] * count,
            "group_pair_similarity": [diversity.pair_similarity if diversity else None] * count,
            "nearest_similarity": nothing if nearest_B is None else nearest_B.tolist(),
            "temporal_consistency": nothing if self.consistency_B is None else self.consistency_B.tolist(),
            **{name: values_B.tolist() for name, values_B in self.scores.columns.items()},
            "answers": [_said(answers) for answers in self.scores.answers or nothing],
        }


def _said(answers: Mapping[str, float] | None) -> list[dict[str, Any]] | None:
    return None if answers is None else [{"question": question, "yes": yes} for question, yes in answers.items()]


class Judge:
    """A scorer, loaded once, with checks of its results.

    spec: which scorer.
    device: "cpu", "cuda", or "auto" for CUDA where there is one.
    table: its table in the config, for messages.
    kept: answers that were given before, for scorers that ask for some.

    Raises:
        ModelError: when the scorer cannot be loaded.
    """

    def __init__(self, spec: ScorerSpec, device: str, table: str = "scoring", kept: Kept | None = None) -> None:
        try:
            self._scorer = registry.open_scorer(spec, device)
        except ModelError as error:
            raise ModelError(f"{table}.{error}") from error
        if kept is not None and isinstance(self._scorer, Asks):
            self._scorer.keep_in(kept)
        self._columns = registry.columns_of(spec)
        self._kind, self._over_frames = spec.kind, registry.entry_of(spec.kind).over_frames
        self.model = self._scorer.name + (f"@{spec.revision}" if spec.revision else "")
        self.dim = self._scorer.dim

    def __call__(self, groups: Sequence[ImageGroup]) -> list[Judged]:
        """The scores of whole groups, in order.

        Raises:
            ModelError: when the scorer returns anything but what its entry declares.
        """
        scores_of_groups = self._scorer.score(groups)
        return [self._judged(group, scores) for group, scores in zip(groups, scores_of_groups, strict=True)]

    def vectors(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Floats]:
        """Image vectors of single pictures, float32 [D] each, where the scorer gives some.

        pictures: uint8 [H, W, 3] each.
        """
        alone = [ImageGroup(pixels_BHWC=picture[None], prompt="", counterfactual=None) for picture in pictures]
        features = [scores.features_BD for scores in self._scorer.score(alone)]
        return [features_1D[0] for features_1D in features if features_1D is not None]

    def _judged(self, group: ImageGroup, scores: GroupScores) -> Judged:
        self._check(len(group.pixels_BHWC), scores)
        over_time = None if scores.features_BD is None else consistency(scores.features_BD, group.frames)
        scores = of_videos(scores, group.frames, self._over_frames)
        features_BD = scores.features_BD
        never = group.counterfactual is not None and scores.margin_B is None and scores.no_margin is None
        return Judged(
            model=self.model,
            scores=replace(
                scores,
                no_margin=f"scorers of the kind {self._kind!r} give none" if never else scores.no_margin,
                columns={name: scores.columns[name] for name in self._columns},
            ),
            diversity=None if features_BD is None else diversity_of(features_BD),
            consistency_B=over_time,
        )

    def _check(self, count: int, scores: GroupScores) -> None:
        """Raise ModelError for wrong shapes and columns: a registered scorer may have mistakes."""
        features_BD = scores.features_BD
        returned: Mapping[str, Any] = {"score_B": scores.score_B, "margin_B": scores.margin_B, **scores.columns}
        shapes = {name: np.shape(values) for name, values in returned.items() if values is not None}
        wrong = [f"{name} has the shape {shape}, not ({count},)" for name, shape in shapes.items() if shape != (count,)]
        if scores.columns.keys() != self._columns.keys():
            wrong.append(f"its columns are {sorted(scores.columns)}, declared are {sorted(self._columns)}")
        expected = None if self.dim is None else (count, self.dim)
        if scores.answers is not None and len(scores.answers) != count:
            wrong.append(f"it has answers for {len(scores.answers)} images, not for {count}")
        if (None if features_BD is None else features_BD.shape) != expected:
            wrong.append(f"features_BD does not have the shape {expected}")
        if wrong:
            raise ModelError(f"scorer {self._kind!r}: {'; '.join(wrong)}")
