"""Image-text scores with open_clip: the embedded scorer and real models through the same calls.

Tensor names: n images or texts, B images of a group, H x W pixels, C = 3 colours, D values of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from models.errors import ModelError
from models.scorers.base import GroupScores, ImageGroup


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
        feature_of = dict(zip(texts, self.embed_texts(texts), strict=True))
        ends = np.cumsum([len(group.pixels_BHWC) for group in groups])
        scores = []
        for group, features_BD in zip(groups, np.split(features_ND, ends[:-1]), strict=True):
            score_B = features_BD @ feature_of[group.prompt]
            other = group.counterfactual
            margin_B = None if other is None else score_B - features_BD @ feature_of[other]
            scores.append(GroupScores(score_B=score_B, margin_B=margin_B, features_BD=features_BD))
        return scores

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

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Text vectors of unit length, float32 [n, dim].

        texts: n texts.
        """
        tokens = self._tokenize(list(texts)).to(self._device)
        vectors: NDArray[np.float32] = self._net.encode_text(tokens, normalize=True).float().cpu().numpy()
        return vectors
