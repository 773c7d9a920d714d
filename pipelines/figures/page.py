"""figures.html: one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.dataset.images import encode
from pipelines.figures.config import Figures
from pipelines.figures.lines import Line
from pipelines.figures.maps import Maps
from pipelines.figures.sweep import AtSigma
from pipelines.pages.curve import curve
from pipelines.pages.fill import Templates, inline_png, report_page

_TEMPLATES = Templates(__file__)
_MAP_PIXELS = 64
"""Least height of a map."""
_SHOWN_PIXELS = 192
"""Most height of a picture on the page; files in images/ are as large as they were drawn."""


def page(title: str, figures: Figures, lines: Sequence[Line], swept: Sequence[AtSigma], maps: Sequence[Maps]) -> str:
    """The text of the page.

    title: of the run.
    figures: the settings.
    lines, swept, maps: what was made.
    """
    rights = [(at.sigma, asdict(at.right)) for at in swept if at.right is not None]
    body = _TEMPLATES.fill(
        "figures.html",
        prompt=escape(figures.prompts[0]),
        words=escape(figures.words),
        lines="".join(_line(one, figures) for one in lines),
        curve=f'<div class="curves">{curve("right over sigma, %", rights, None)}</div>' if len(rights) > 1 else "",
        sweep="".join(_of_prompt(number, prompt, swept) for number, prompt in enumerate(figures.prompts)),
        most=f"{100 * most(maps):.1f}",
        maps="".join(_maps(one, maps) for one in maps),
    )
    return report_page(f"Figures of {title}", body)


def sheet(pictures: NDArray[np.uint8]) -> bytes:
    """Pictures beside each other, as a PNG.

    pictures: uint8 [B, H, W, 3].
    """
    return encode(np.concatenate(list(pictures), axis=1), "png")


def _small(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures at most as large as the page shows them."""
    height, width = pictures.shape[1:3]
    if height <= _SHOWN_PIXELS:
        return pictures
    size = (max(1, round(width * _SHOWN_PIXELS / height)), _SHOWN_PIXELS)
    return np.stack([np.asarray(Image.fromarray(picture).resize(size)) for picture in pictures])


def shades(maps: NDArray[np.float64], highest: float) -> NDArray[np.uint8]:
    """Maps as pictures, from black for 0 to white for the highest, uint8 [B, H, W, 3].

    maps: float [B, rows, columns].
    highest: of all that are compared, above 0.
    """
    grey = np.rint(255 * np.clip(maps / highest, 0, 1)).astype(np.uint8)
    factor = -(-_MAP_PIXELS // grey.shape[1])
    large = grey.repeat(factor, axis=1).repeat(factor, axis=2)
    return np.repeat(large[..., None], 3, axis=-1)


def most(maps: Sequence[Maps]) -> float:
    """The highest share on any of the maps."""
    return max(float(one.maps.max()) for one in maps)


def _line(line: Line, figures: Figures) -> str:
    steps = curve(
        "difference to the next picture, by share of the way",
        [(share, _exact(step)) for share, step in zip(figures.shares, line.steps, strict=False)],
        None,
    )
    shares = ", ".join(f"{share:g}" for share in figures.shares)
    return (
        f"<h3>In {escape(line.space)}</h3><p class='lead'>{escape(line.meaning)} Evenness {line.evenness:.2f}.</p>"
        f'<div class="wide"><figure><figcaption>at {shares}</figcaption>'
        f"{_image(line.pictures, f'the line in {line.space}, at {shares}')}</figure></div>"
        f'<div class="curves">{steps}</div>'
    )


def _of_prompt(number: int, prompt: str, swept: Sequence[AtSigma]) -> str:
    rows = ""
    for at in swept:
        picture = _image(at.pictures[number], f"{prompt}, sigma {at.sigma:g}")
        rows += f"<tr><th>sigma {at.sigma:g}</th><td>{picture}</td></tr>"
    return f"<figure><figcaption>{escape(prompt)}</figcaption><table>{rows}</table></figure>"


def _maps(one: Maps, all_maps: Sequence[Maps]) -> str:
    shaded = shades(one.maps, most(all_maps))
    return (
        f"<figure><figcaption>{escape(one.name)}: {100 * float(one.maps.mean()):.2f} % of the attention on average"
        f"</figcaption><table><tr><td>{_image(one.pictures, f'pictures, {one.name}')}</td></tr>"
        f"<tr><td>{_image(shaded, f'maps of attention, {one.name}')}</td></tr></table></figure>"
    )


def _image(pictures: NDArray[np.uint8], alternative: str) -> str:
    return f'<img alt="{escape(alternative)}" src="{inline_png(sheet(_small(pictures)))}">'


def _exact(value: float) -> dict[str, float]:
    return {"mean": value, "low": value, "high": value}
