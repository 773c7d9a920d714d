"""The figure of an evaluation: who is on the front, who is left out, and that numbers can be read."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from pipelines.evaluation.frontier import figure

_SVG = "{http://www.w3.org/2000/svg}"


def _change(mean: float) -> dict[str, Any]:
    return {"difference": {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}}


def _arm(
    name: str, right: float, distinct: float, passes: float = 4.0, question: str = "the methods"
) -> dict[str, Any]:
    measures = {"right: rare": _change(right), "distinct_right: rare": _change(distinct)}
    return {"arm": name, "question": question, "passes": passes, "measures": measures}


def _drawn(*arms: dict[str, Any]) -> ElementTree.Element:
    result = {"arms": [_arm("base", 0.0, 0.0), *arms], "prompts": {"group_size": 4, "wide_group": 0}}
    return ElementTree.fromstring(figure(result))


def _groups(svg: ElementTree.Element) -> dict[str, str | None]:
    """Name of an arm that is drawn -> its class."""
    groups = svg.findall(f"{_SVG}g")
    return {str(group.findtext(f"{_SVG}title")).partition(":")[0]: group.get("class") for group in groups}


def test_the_front_is_what_no_arm_and_not_the_base_beats() -> None:
    svg = _drawn(
        _arm("right", 0.1, 0.0), _arm("different", 0.0, 0.5), _arm("neither", -0.01, 0.4), _arm("worse", -0.1, -0.1)
    )
    assert _groups(svg) == {"right": "", "different": "", "neither": "beaten", "worse": "beaten"}


def test_an_arm_that_loses_most_is_named_and_not_drawn() -> None:
    svg = _drawn(_arm("good", 0.1, 0.3), _arm("bad", -0.5, -1.0), _arm("dear", 0.1, 0.2, passes=8.0))
    assert set(_groups(svg)) == {"good", "dear"}
    texts = [text.text or "" for text in svg.findall(f"{_SVG}text")]
    assert "2  bad (loses too much to be drawn everywhere)" in texts
    assert "3  dear (8 passes each)" in texts


def test_other_questions_are_not_in_it() -> None:
    svg = _drawn(_arm("good", 0.1, 0.3), _arm("sweep: 1", 0.2, 0.4, question="sweep"))
    assert set(_groups(svg)) == {"good"}
    alone = {"arms": [_arm("base", 0.0, 0.0)], "prompts": {"group_size": 4, "wide_group": 0}}
    assert figure(alone) == ""


def test_numbers_of_near_dots_do_not_cover_each_other() -> None:
    svg = _drawn(*[_arm(f"arm {number}", 0.1 + number / 400, 0.3) for number in range(12)])
    numbers = [group.find(f"{_SVG}text") for group in svg.findall(f"{_SVG}g")]
    places = [(float(str(n.get("x"))), float(str(n.get("y")))) for n in numbers if n is not None]
    assert len(places) == 12
    assert all(abs(a[0] - b[0]) >= 7 or abs(a[1] - b[1]) >= 11 for i, a in enumerate(places) for b in places[:i])


def test_names_are_escaped() -> None:
    assert re.search(r"&lt;b&gt;", ElementTree.tostring(_drawn(_arm("<b>", 0.1, 0.3)), "unicode"))
