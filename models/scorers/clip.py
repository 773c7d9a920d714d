"""Image-text scores with open_clip: the embedded scorer and real models through the same calls.

Tensor names: n (N) images or texts, B images of a group, H x W pixels, C = 3 colours, L tokens, D values of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.errors import ModelError
from models.scorers.base import Floats, GroupScores, ImageGroup
from models.scorers.clip_tokens import tokens_cut

SAME_TOKENS = "the counterfactual has the same tokens as the prompt, as far as they are read"


class ClipScorer:
    """An open_clip model, loaded once; a `Scorer` whose score is the cosine of image and prompt.

    model: a name of open_clip such as "ViT-L-14", or "local-dir:FOLDER" with `open_clip_config.json` and weights.
    pretrained: a tag of open_clip such as "openai", or a file of weights; "" where the model brings its own.
    device: "cpu", "cuda", or "auto" for CUDA where there is one.

    Raises:
        ModelError: when open_clip cannot load such a model or weights.
    """

    def __init__(self, model: str, pretrained: str = "", device: str = "auto") -> None:
        self._device = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            net, _, self._preprocess = open_clip.create_model_and_transforms(
                model, pretrained=pretrained or None, require_pretrained=True
            )
            self._tokenize = open_clip.get_tokenizer(model)
        except Exception as error:  # what a file of weights raises depends on the library that reads it
            name = f"model = {model!r}, pretrained = {pretrained!r}"
            raise ModelError(f"{name} cannot be loaded by open_clip: {error}") from error
        self._net = net.eval().to(self._device)
        self.name = f"{model}/{pretrained}" if pretrained else model
        self.dim = len(self.embed_texts([""])[0])

    def score(self, groups: Sequence[ImageGroup]) -> list[GroupScores]:
        """The scores of whole groups, in order: all images in one pass of the model, all distinct texts in another."""
        features_ND = self.embed_images([image_HWC for group in groups for image_HWC in group.pixels_BHWC])
        texts = [text for group in groups for text in (group.prompt, group.counterfactual) if text is not None]
        texts = list(dict.fromkeys(texts))
        tokens_NL = self._tokenize(texts)
        read = {text: _Read(*of) for text, *of in zip(texts, tokens_NL, self._embed(tokens_NL), strict=True)}
        ends = np.cumsum([len(group.pixels_BHWC) for group in groups])
        return [
            self._scores(group, features_BD, read)
            for group, features_BD in zip(groups, np.split(features_ND, ends[:-1]), strict=True)
        ]

    def _scores(self, group: ImageGroup, features_BD: Floats, read: Mapping[str, _Read]) -> GroupScores:
        texts = {"prompt": group.prompt, "counterfactual": group.counterfactual}
        cut = {name: tokens_cut(self._tokenize, text) for name, text in texts.items() if text is not None}
        prompt = read[group.prompt]
        score_B = features_BD @ prompt.vector_D
        scores = GroupScores(score_B=score_B, features_BD=features_BD, tokens_cut=cut)
        if group.counterfactual is None:
            return scores
        other = read[group.counterfactual]
        if torch.equal(prompt.tokens_L, other.tokens_L):
            return replace(scores, no_margin=SAME_TOKENS)
        return replace(scores, margin_B=score_B - features_BD @ other.vector_D)

    @torch.inference_mode()
    def embed_images(self, images_HWC: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Image vectors of unit length, float32 [n, dim].

        images_HWC: n images, uint8 [H, W, 3] each.
        """
        pixels = torch.stack([self._preprocess(Image.fromarray(image_HWC)) for image_HWC in images_HWC])
        vectors: NDArray[np.float32] = (
            self._net.encode_image(pixels.to(self._device), normalize=True).float().cpu().numpy()
        )
        return vectors

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Text vectors of unit length, float32 [n, dim].

        texts: n texts.
        """
        return self._embed(self._tokenize(list(texts)))

    @torch.inference_mode()
    def _embed(self, tokens_NL: Tensor) -> NDArray[np.float32]:
        tokens_NL = tokens_NL.to(self._device)
        vectors: NDArray[np.float32] = self._net.encode_text(tokens_NL, normalize=True).float().cpu().numpy()
        return vectors


class _Read(NamedTuple):
    """A text, as the model has read it."""

    tokens_L: Tensor
    vector_D: Floats
