"""gallery.html as text: what it shows, that it holds nothing but itself, and that user text stays text."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.dataset import report_json
from pipelines.dataset.report_json import Report
from pipelines.dataset.storage import Storage
from pipelines.flows.finish import finish
from pipelines.gallery.lines import lines_of
from pipelines.gallery.page import gallery
from pipelines.gallery.pick import pick_prompts
from pipelines.pages.axes import nice_ticks
from pipelines.pages.chart import chart
from pipelines.plan.files import planned_shards
from tests.support.toy_run import Toy, write_run

DIFFICULT = (
    "<script>alert(1)</script> a star",
    "</script><img src=x onerror=alert(1)>",
    "<!-- <script> \" quoted ' & &amp; a moon $title ${title}",
    "🦩 a flamingo 👩🏽‍🚀 in space",
    "نجمة حمراء على الرمال",
    "a \u202e reversed ring",
    "a very long prompt, " * 100,
    "line one\nline two\u2028line three",
)


class Page(HTMLParser):
    """Elements as (tag, attributes), the text of each <h2> inside a card, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.prompts: list[str] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self._open = ""
        self._in_card = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        self._in_card |= tag == "article"
        if tag == "h2" and self._in_card:
            self.prompts.append("")
        if tag in self.inline:
            self.inline[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""
        self._in_card &= tag != "article"

    def handle_data(self, data: str) -> None:
        if self._open == "h2" and self._in_card:
            self.prompts[-1] += data
        if self._open in self.inline:
            self.inline[self._open][-1] += data

    def values(self, tag: str, attribute: str) -> list[str]:
        return [value for name, attrs in self.elements if name == tag and (value := attrs.get(attribute)) is not None]


def page_of(output: Storage) -> tuple[str, Page]:
    finish(output)
    text = output.read_bytes("gallery.html").decode()
    return text, Page(text)


def test_user_text_stays_text(tmp_path: Path) -> None:
    toy = Toy(prompts=8, arms=("base", "both"), name="<i>x</i>", text=lambda i, _: DIFFICULT[i])
    text, page = page_of(write_run(tmp_path, toy))
    assert sorted(page.prompts) == sorted(DIFFICULT)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2
    assert tags.count("i") == sum("<i>" in part for part in text.split("</i>"))  # colour dots, none of the title's
    assert "<i>x" not in text
    details = json.loads(page.inline["script"][0])
    assert {group["prompt"] for group in details["groups"]} == set(DIFFICULT)


def test_the_page_holds_nothing_but_itself(tmp_path: Path) -> None:
    _, page = page_of(write_run(tmp_path))
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in ("src", "href"):
                assert value is not None
                assert value.startswith(("data:", "#"))
    (policy,) = [a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind, text in (("style", page.inline["style"][0]), ("script", page.inline["script"][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_every_image_and_every_setting_is_there(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(prompts=4))
    _, page = page_of(output)
    details = json.loads(page.inline["script"][0])
    numbers = [int(value) for value in page.values("button", "data-shot")]
    assert numbers == list(range(64))
    shots = {shot["image_id"]: {**details["groups"][shot["group"]], **shot} for shot in details["shots"]}
    for folder in ("data", "rejected"):
        for row in pq.read_table(tmp_path / folder).to_pylist():
            shot = shots.pop(row["image_id"])
            assert shot["seed"] == str(row["seed"])
            for name in ("prompt", "arm", "tora", "repulsion", "steps", "keep", "drop_reason", "fingerprint"):
                assert shot[name] == row[name]
            assert shot["clip_score"] == pytest.approx(row["clip_score"], abs=1e-5)
    assert not shots


def test_cards_say_in_which_settings_prompts_differ(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(prompts=2))
    assert "guidance_scale" not in page_of(output)[0].split("<script")[0]
    file = tmp_path / "plan" / "plan-000000.parquet"
    plan = pq.read_table(file)
    first = pc.equal(plan["prompt_id"], plan["prompt_id"][0])
    for name, other in (("steps", 3), ("negative_prompt", "<b>blur</b>")):
        values = pc.if_else(first, pa.scalar(other, plan[name].type), plan[name])
        plan = plan.set_column(plan.schema.get_field_index(name), plan.schema.field(name), values)
    pq.write_table(plan, file)
    cards = page_of(output)[0].split("<script")[0].split("<article")[1:]
    said = {tuple(re.findall(r'<span dir="auto">(.*?)</span>', one)) for one in cards}
    steps = {plan["steps"][0].as_py(), plan["steps"][-1].as_py()}
    assert said == {
        ("steps 3", "negative_prompt &lt;b&gt;blur&lt;/b&gt;"),
        (f"steps {max(steps)}", "negative_prompt none"),
    }


def test_an_arm_says_what_it_changes_of_the_sampling_and_cards_do_not(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(prompts=2, arms=("base", "tora")))
    record = json.loads((tmp_path / "run.json").read_bytes())
    record["config"]["arms"] = [{"name": "base"}, {"name": "tora", "tora": True, "sampling": {"steps": 3}}]
    (tmp_path / "run.json").write_text(json.dumps(record))
    file = tmp_path / "plan" / "plan-000000.parquet"
    plan = pq.read_table(file)
    steps = pc.if_else(pc.equal(plan["arm"], pa.scalar("tora")), pa.scalar(3, plan["steps"].type), plan["steps"])
    pq.write_table(plan.set_column(plan.schema.get_field_index("steps"), plan.schema.field("steps"), steps), file)
    text = page_of(output)[0].split("<script")[0]
    assert text.count("with TORA, steps 3") == 1
    assert '<span dir="auto">steps' not in text


def _pictures(page: Page) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))
        for uri in page.values("img", "src")
        if uri.startswith("data:image")
    ]


def test_small_pictures_are_kept_to_the_pixel(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(prompts=1, arms=("base",)))
    _, page = page_of(output)
    rows = [row for folder in ("data", "rejected") for row in pq.read_table(tmp_path / folder).to_pylist()]
    rows.sort(key=lambda row: row["index_in_group"])
    for row, shown in zip(rows, _pictures(page), strict=True):
        original = Image.open(io.BytesIO(row["image"]["bytes"]))
        assert original.convert("RGB").tobytes() == shown.convert("RGB").tobytes()


def test_large_pictures_become_thumbnails(tmp_path: Path) -> None:
    _, page = page_of(write_run(tmp_path, Toy(prompts=1, side=600)))
    pictures = _pictures(page)
    assert {picture.size for picture in pictures} == {(256, 256)}
    assert not any("pixel" in names.split() for names in page.values("button", "class"))


def test_dropped_images_say_why(tmp_path: Path) -> None:
    _, page = page_of(write_run(tmp_path, Toy(prompts=2, arms=("base",))))
    labels = [a["aria-label"] for t, a in page.elements if "dropped" in (a.get("class") or "").split()]
    assert [str(label).split(", ")[-1] for label in labels] == ["dropped: rank", "dropped: duplicate"]


def test_a_failed_group_shows_its_error_as_text(tmp_path: Path) -> None:
    text, _ = page_of(write_run(tmp_path, Toy(prompts=2, fail_every=3)))
    assert "PromptError: &lt;b&gt;too long&lt;/b&gt;" in text


def _report(output: Storage) -> Report:
    finish(output)
    return report_json.read(output, advice="")


def test_a_part_is_called_a_part(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(prompts=12, arms=("base",)))
    report = _report(output)
    whole = gallery(output, "x", report)
    part = gallery(output, "x", report, prompts=5)
    assert len(Page(whole).prompts) == 12
    assert "This page shows" not in whole
    assert len(Page(part).prompts) == 5
    assert "This page shows 5 of 12 prompts" in part


def test_thumbnails_keep_to_their_bytes(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(prompts=12, arms=("base",), side=256))
    report = _report(output)
    small = Page(gallery(output, "x", report, thumbnail_bytes=60_000))
    assert 1 <= len(small.prompts) < 12
    assert sum(len(uri) for uri in small.values("img", "src")) <= 60_000
    assert len(Page(gallery(output, "x", report, thumbnail_bytes=1)).prompts) == 1


def test_a_large_group_shows_its_first_images(tmp_path: Path) -> None:
    text, page = page_of(write_run(tmp_path, Toy(prompts=1, arms=("base",), size=20, groups_per_prompt=3)))
    assert len(page.values("button", "data-shot")) == 16
    assert "The data has 4 more images and 2 more groups." in text


def test_prompts_are_drawn_evenly_and_not_by_place(tmp_path: Path) -> None:
    sizes = (1, 7, 100)
    runs = [write_run(tmp_path / str(n), Toy(prompts=40, arms=("base",), size=1, prompts_per_shard=n)) for n in sizes]
    picks = [pick_prompts(planned_shards(run), 10) for run in runs]
    ids = [[pick.prompt_id for pick in of_run] for of_run in picks]
    assert ids[0] == ids[1] == ids[2]
    assert [pick.rarity for pick in picks[0][:4]] == ["unseen", "rare", "uncommon", "common"]
    assert sorted(ids[0]) != [f"p{i:05d}" for i in range(10)]
    assert len(pick_prompts(planned_shards(runs[0]), 100)) == 40


def test_a_short_rarity_leaves_its_place_to_the_others(tmp_path: Path) -> None:
    run = write_run(tmp_path, Toy(prompts=4, arms=("base",), size=1))
    assert len(pick_prompts(planned_shards(run), 3)) == 3
    assert len(pick_prompts(planned_shards(run), 60)) == 4


@given(st.floats(-100, 100), st.floats(0, 100))
def test_ticks_are_few_round_and_around_the_data(low: float, spread: float) -> None:
    ticks = nice_ticks(low, low + spread)
    assert 2 <= len(ticks) <= 7
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + 1e-6 * step
    assert ticks[-1] >= low + spread - 1e-6 * step


def test_charts_stay_inside_and_leave_out_what_is_not_known(tmp_path: Path) -> None:
    report = _report(write_run(tmp_path, Toy(prompts=24)))
    arms = [arm.arm for arm in report.by_arm]
    drawn = chart("Match", "hint", arms, lines_of(report, lambda measures: measures.clip_score))
    places = [float(x) for x in re.findall(r'x[12]?="([-\d.]+)%"', drawn)]
    assert places
    assert all(0 <= place <= 100 for place in places)
    assert drawn.count("<circle") == 4 * 5
    without = _report(write_run(tmp_path / "b", Toy(prompts=3, counterfactuals=False)))
    assert chart("Margin", "hint", arms, lines_of(without, lambda measures: measures.clip_margin)) == ""
