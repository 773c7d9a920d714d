"""Scores of images by yes/no questions, whoever answers them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.scorers.base import Floats, GroupScores, ImageGroup, Kept
from models.scorers.questions import about, parts_of
from models.scorers.vqa import Asked

Pixels = NDArray[np.uint8]


class Answers(Protocol):
    """A vision-language model."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def ask(self, asked: Sequence[tuple[Pixels, str]]) -> Sequence[float]:
        """Probabilities of "yes", in order: p(yes) / (p(yes) + p(no)).

        asked: pictures, uint8 [H, W, 3], each with a question.
        """
        ...


class YesNo:
    """A `Scorer` that asks about the whole prompt, its parts, and the counterfactual.

    model: who answers.
    options: what is asked.
    revision: of the model's weights, as far as it is known.
    """

    dim = None

    def __init__(self, model: Answers, options: Asked, revision: str) -> None:
        self._model, self._options = model, options
        # What answers depend on, beside picture and question: one that has no probabilities says 0 or 1.
        self._how = {
            "model": model.name,
            "revision": revision,
            "answers": "probabilities" if options.logprobs else "words",
        }
        self._kept: Kept | None = None
        self.name = model.name

    def keep_in(self, kept: Kept) -> None:
        """As of `Asks`."""
        self._kept = kept

    def score(self, groups: Sequence[ImageGroup]) -> list[GroupScores]:
        """The scores of whole groups, in order: all questions are asked at a time."""
        pictures = [(image_HWC, self._questions(group)) for group in groups for image_HWC in group.pixels_BHWC]
        keys = [{**self._how, "image": _hash(image_HWC)} for image_HWC, _ in pictures]
        known = [self._kept.find(key) if self._kept is not None else {} for key in keys]
        missing = [(at, text) for at, (_, texts) in enumerate(pictures) for text in texts if text not in known[at]]
        found = self._model.ask([(pictures[at][0], text) for at, text in missing])
        for (at, text), answer in zip(missing, found, strict=True):
            known[at][text] = answer
        if self._kept is not None:
            for at in sorted({at for at, _ in missing}):
                self._kept.keep(keys[at], known[at])
        answers = iter({text: own[text] for text in texts} for own, (_, texts) in zip(known, pictures, strict=True))
        return [self._scores(group, [next(answers) for _ in group.pixels_BHWC]) for group in groups]

    def _questions(self, group: ImageGroup) -> list[str]:
        """About the whole first; the one about the counterfactual, where there is one, comes last."""
        parts = parts_of(group.prompt) if self._options.parts else []
        other = [group.counterfactual] if group.counterfactual is not None else []
        return [*dict.fromkeys(about(text, self._options.question) for text in (group.prompt, *parts, *other))]

    def _scores(self, group: ImageGroup, answers: Sequence[Mapping[str, float]]) -> GroupScores:
        def of(text: str) -> Floats:
            return np.array([own[about(text, self._options.question)] for own in answers], np.float32)

        parts = parts_of(group.prompt) if self._options.parts else []
        all_NB = np.stack([of(text) for text in dict.fromkeys((group.prompt, *parts))])
        scores = GroupScores(score_B=all_NB[0], columns={"mean": all_NB.mean(0), "min": all_NB.min(0)}, answers=answers)
        if group.counterfactual is None:
            return scores
        return replace(scores, margin_B=all_NB[0] - of(group.counterfactual))


def _hash(image_HWC: Pixels) -> str:
    shape = "x".join(map(str, image_HWC.shape))
    return hashlib.sha256(shape.encode() + np.ascontiguousarray(image_HWC).tobytes()).hexdigest()
