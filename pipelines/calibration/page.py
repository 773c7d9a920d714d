"""calibration.html: one self-contained page with a table of the settings, curves, what happens in the blocks, and
pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from models.statistics import Estimate
from pipelines.calibration.choose import HOW, RULES
from pipelines.calibration.curves import curves
from pipelines.calibration.draw import picture_of
from pipelines.calibration.report import Calibration, SettingResult, StageResult
from pipelines.calibration.results import AtBlock
from pipelines.calibration.stages import shown
from pipelines.dataset.storage import Storage
from pipelines.pages.curve import curve
from pipelines.pages.fill import Templates, inline_png, report_page
from pipelines.pages.scatter import Dot, scatter

_TEMPLATES = Templates(__file__)

_CHOSEN = "chosen"

_HEAD = ("setting", "stage", "match", "less stock", "pair Vendi", "less stock", "clip_score", "clip_margin")
_TAIL = ("cosine after the last edit", "blew up", "s per image")


def page(content: Calibration, output: Storage) -> str:
    """The text of the page.

    content: report.json.
    output: the folder of the calibration, with the pictures.
    """
    acting = list(dict.fromkeys(name for one in reversed(content.settings) for name in one.edits))
    body = _TEMPLATES.fill(
        "calibration.html",
        lead=escape(_lead(content)),
        rule=escape(_rule(content)),
        stages=_stages(content),
        head="".join(f"<th>{escape(name)}</th>" for name in (*_HEAD, *(f"{name} moved" for name in acting), *_TAIL)),
        rows="".join(_row(one, acting, _marks(content, number)) for number, one in enumerate(content.settings)),
        front=_front(content),
        curves=curves(content.settings),
        blocks="".join(_blocks(one) for one in content.settings),
        pictures="".join(_pictures(content, number, output) for number in range(len(content.prompts))),
    )
    return report_page(f"Calibration of {content.model}", body)


def _lead(content: Calibration) -> str:
    return (
        f"{len(content.settings)} settings on the same {len(content.prompts)} prompts and seeds, "
        f"{content.group_size} pictures of each; scored by {content.scorer}. Match is the cosine of a picture to its "
        "prompt, less that to the counterfactual where there is one; pair Vendi is how different the pictures of a "
        "group are, from 1 to 2. Brackets are 95 % intervals from resampling prompts; differences to the stock model "
        "are bold where theirs leaves 0."
    )


def _rule(content: Calibration) -> str:
    return (
        " ".join(f"{RULES[prefer]}." for prefer in dict.fromkeys(one.prefer for one in content.stages))
        + f" There {HOW}"
    )


def _stages(content: Calibration) -> str:
    """What each stage tried and chose, in its order."""
    return "".join(
        f"<li>{escape(_tried(one.tried))}: {escape(one.reason)}. <b>{escape(_choice(content, one))}</b></li>"
        for one in content.stages
    )


def _tried(tried: Mapping[str, Mapping[str, Sequence[Any]]]) -> str:
    """What a stage tried, such as "tora.blocks 0-1, 0.5-1"."""
    return "; ".join(
        " and ".join(f"{name}.{key} {', '.join(map(shown, values))}" for key, values in own.items()) or name
        for name, own in tried.items()
    )


def _choice(content: Calibration, one: StageResult) -> str:
    return "Nothing is chosen." if one.chosen is None else f"Chosen is {content.settings[one.chosen].name}."


def _marks(content: Calibration, number: int) -> list[str]:
    """What the table says of a setting."""
    if number == content.chosen:
        marks = [_CHOSEN]
    else:
        marks = [f"goes on from stage {of}" for of, one in enumerate(content.stages, 1) if one.chosen == number]
    return [*marks, *(["Pareto front"] if content.settings[number].on_the_front else [])]


def _row(one: SettingResult, acting: Sequence[str], marks: Sequence[str]) -> str:
    cells = [
        str(one.stage),
        _interval(one.match, 4),
        _interval(one.match_difference, 4, "+"),
        _interval(one.pair_vendi, 3),
        _interval(one.pair_vendi_difference, 3, "+"),
        _interval(one.score, 4),
        _interval(one.margin, 4),
        *(_mean(one.edits.get(name, ()), lambda at: at.displacement) for name in acting),
        f"{one.edits['repulsion'][-1].after:.4f}" if one.edits.get("repulsion") else "",
        f"{one.blew_up:.0%}" if one.blew_up else "",
        f"{one.seconds_per_image:.2f}",
    ]
    name = f"<b>{escape(one.name)}</b>" if _CHOSEN in marks else escape(one.name)
    row = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr><th>{name}<small>{', '.join(marks)}</small></th>{row}</tr>"


def _interval(value: Estimate | None, digits: int, sign: str = "") -> str:
    if value is None:
        return ""
    low, mean, high = (f"{number:{sign}.{digits}f}" for number in (value.low, value.mean, value.high))
    leaves_0 = bool(sign) and (value.low > 0 or value.high < 0)
    return f"{f'<b>{mean}</b>' if leaves_0 else mean} <span>[{low}, {high}]</span>"


def _mean(blocks: Sequence[AtBlock], of: Callable[[AtBlock], float]) -> str:
    moved = [of(at) for at in blocks]
    return f"{sum(moved) / len(moved):.4f}" if any(moved) else ""


def _front(content: Calibration) -> str:
    dots = [
        Dot(
            name=one.name,
            x=one.match.mean,
            y=one.pair_vendi.mean,
            on_the_front=one.on_the_front,
            chosen=number == content.chosen,
        )
        for number, one in enumerate(content.settings)
        if one.match and one.pair_vendi
    ]
    return scatter(dots, across="match", up="pair Vendi") if dots else ""


def _blocks(one: SettingResult) -> str:
    """What a setting does in the blocks, folded away."""
    figures: list[str] = []
    for name, blocks in one.edits.items():
        measures: list[tuple[str, Callable[[AtBlock], float]]] = [
            ("cosine before", lambda at: at.before),
            ("cosine after", lambda at: at.after),
            ("displacement", lambda at: at.displacement),
            ("mean |c|\N{SUPERSCRIPT TWO}", lambda at: at.square),
        ]
        figures += [
            curve(f"{name}: {heading}, by block", [(at.block, _exact(of(at))) for at in blocks], None)
            for heading, of in measures
            if len(blocks) > 1
        ]
    if one.eta and len(one.eta) > 1:
        figures.append(curve("eta, by block", [(block, _exact(eta)) for block, eta in one.eta.items()], None))
    if not figures:
        return ""
    return f'<details><summary>{escape(one.name)}</summary><div class="curves">{"".join(figures)}</div></details>'


def _exact(value: float) -> dict[str, Any]:
    return {"mean": value, "low": value, "high": value}


def _pictures(content: Calibration, number: int, output: Storage) -> str:
    """The pictures of a prompt, a row for each setting."""
    rows = "".join(
        f'<tr><th>{escape(one.name)}</th><td><img alt="" src="{inline_png(output.read_bytes(file))}"></td></tr>'
        for one in content.settings
        if output.exists(file := picture_of(one.groups[number]))
    )
    return f"<figure><figcaption>{escape(content.prompts[number])}</figcaption><table>{rows}</table></figure>"
