"""Pipelines of diffusers that people try and that are not run, each with the reason, in one sentence.

Joint (MM-DiT) blocks update the text together with the image, which is what the interventions act on.
"""

from __future__ import annotations

from collections.abc import Mapping

_CROSS = "its transformer reads the text through cross-attention and never updates it: there are no joint blocks"
_UNET = "it is a U-Net, which reads the text through cross-attention and never updates it: there are no joint blocks"
_KEYS = "its blocks make keys and values of the text and never update it: there are no joint blocks"
_RAGGED = (
    "it is a single stream in which every sample's text has a length of its own, so that the text of a batch does not "
    "lie in one place"
)
_PUT_IN_ANEW = "its transformer puts {} in anew before every block, so that what an intervention changes there is lost"
_UNWRITTEN = 'it has joint blocks, but nobody has written down its facts ("Add a family" in models/README.md)'
_OTHER_INPUT = (
    "it is of a family that runs here, but what it is given besides text (a control picture, a first frame ...) is not "
    "known"
)

REASONS: Mapping[str, str] = {
    **dict.fromkeys(
        [
            "Allegro", "AnyFlow", "ChronoEdit", "Cosmos2", "CosmosTextToWorld", "CosmosVideoToWorld", "Helios",
            "HunyuanDiT", "Kandinsky5", "Kandinsky6", "LTX", "Latte", "LucyEdit", "LuminaPipeline", "PixArt", "Sana",
            "SkyReelsV2", "Wan",
        ],
        _CROSS,
    ),
    **dict.fromkeys(
        [
            "AnimateDiff", "DreamLite", "IF", "Kandinsky", "Kolors", "LatentConsistencyModel", "StableCascade",
            "StableDiffusion", "Wuerstchen",
        ],
        _UNET,
    ),
    **dict.fromkeys(["NucleusMoEImage", "PRX"], _KEYS),
    **dict.fromkeys(["BriaFibo2", "Ideogram4", "Lumina2", "OmniGen", "ZImage"], _RAGGED),
    "ErnieImage": "it is a single stream with the image before the text, and the sequence before the batch",
    "QwenImage21": "it is a single stream in which text and image take turns, and text is computed in one step only",
    "BriaFibo": _PUT_IN_ANEW.format("half of every text token"),
    "HiDreamImage": _PUT_IN_ANEW.format("part of the text"),
    **dict.fromkeys(
        [
            "CogView3Plus", "ConsisID", "EasyAnimate", "GlmImage", "HunyuanImageRefiner", "HunyuanSkyreels",
            "HunyuanVideoFramepack", "JoyImageEdit", "LongCatImageEdit", "MotifVideo",
        ],
        _UNWRITTEN,
    ),
    **dict.fromkeys(
        [
            "Chroma", "CogVideoX", "CogView4", "Flux", "HunyuanVideo", "QwenImage", "StableDiffusion3",
        ],
        _OTHER_INPUT,
    ),
}  # fmt: skip
"""Beginning of the names of pipeline classes -> why they are not run. The longest one that fits counts."""


def reason(name: str) -> str:
    """Why a class of pipelines that belongs to no family is not run.

    name: of the class.
    """
    fitting = [beginning for beginning in REASONS if name.startswith(beginning)]
    if not fitting:
        return "the interventions need an MM-DiT whose text stream is known here"
    return REASONS[max(fitting, key=len)]
