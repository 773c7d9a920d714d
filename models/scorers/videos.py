"""The scores of videos, from those of some of their frames.

The consistency over time is the mean cosine of the image vectors of frames that follow each other, as Gen-1 measures it
(Esser et al., arXiv 2302.03011, section 4). VBench's subject and background consistency (Huang et al., arXiv
2311.17982) are the same with the cosine to the first frame averaged in.

Tensor names: B videos of a group, F frames of each, N = B x F frames, D values of an image vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from models.scorers.base import Floats, GroupScores, OverFrames


def of_videos(scores: GroupScores, frames: int, over: OverFrames) -> GroupScores:
    """The scores of a group of videos: those of its frames taken together, with the mean of their image vectors as a
    vector of unit length.

    scores: of all frames, those of a video one after the other.
    frames: of each video, 1 or more; 1 changes nothing.
    over: how the values of a video's frames become one.
    """
    if frames == 1:
        return scores

    def together(values_N: Floats) -> Floats:
        values_BF = values_N.reshape(-1, frames)
        values_B: Floats = values_BF.mean(axis=1) if over == "mean" else values_BF.max(axis=1)
        return values_B.astype(np.float32)

    features_BD = None
    if scores.features_BD is not None:
        mean_BD = _of_frames(scores.features_BD, frames).mean(axis=1)
        features_BD = (mean_BD / np.linalg.norm(mean_BD, axis=1, keepdims=True)).astype(np.float32)
    return replace(
        scores,
        score_B=together(scores.score_B),
        margin_B=None if scores.margin_B is None else together(scores.margin_B),
        features_BD=features_BD,
        columns={name: together(values_N) for name, values_N in scores.columns.items()},
        answers=None if scores.answers is None else _answers(scores.answers, frames, over),
    )


def _answers(of_frames: Sequence[Mapping[str, float]], frames: int, over: OverFrames) -> list[dict[str, float]]:
    """Of each video; all frames are asked the same, as their group has one prompt."""
    one_number: Callable[[Sequence[float]], float] = fmean if over == "mean" else max
    of_videos = (of_frames[at : at + frames] for at in range(0, len(of_frames), frames))
    return [{question: one_number([said[question] for said in video]) for question in video[0]} for video in of_videos]


def consistency(features_ND: Floats, frames: int) -> Floats | None:
    """The consistency over time of each video, float32 [B]; None of single frames.

    features_ND: float32 [N, D], image vectors of unit length of all frames, those of a video one after the other.
    frames: of each video.
    """
    if frames == 1:
        return None
    features_BFD = _of_frames(features_ND, frames)
    cosines_B: Floats = (features_BFD[:, 1:] * features_BFD[:, :-1]).sum(axis=-1).mean(axis=1)
    return cosines_B.astype(np.float32)


def _of_frames(features_ND: Floats, frames: int) -> Floats:
    return features_ND.reshape(-1, frames, features_ND.shape[-1])
