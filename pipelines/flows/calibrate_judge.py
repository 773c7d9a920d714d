"""Judging the judge, top to bottom: finished run + labels -> rules, measured -> report.json, page, TOML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.errors import require
from pipelines.config.expressions import Expression, expression
from pipelines.dataset import owned, records
from pipelines.dataset.finished import FinishedRun, open_finished
from pipelines.dataset.lock import RunLock
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.judging import labels
from pipelines.judging.labelled import Labelled, labelled
from pipelines.judging.page import page
from pipelines.judging.report import BASE, FILE, JudgesReport, judges_report

PAGE, RECORD = "judges.html", "judges.json"
_LEAST_PROMPTS = 5


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is measured."""

    labels: str = ""
    """CSV file with labels; "" has the oracle of the embedded world look."""
    rules: tuple[str, ...] = ()
    """Expressions; none takes all columns of scores."""
    precision: float = 0.9
    """The share of good images among the accepted ones that thresholds are chosen for, above 0 and at most 1."""

    def __post_init__(self) -> None:
        require(0 < self.precision <= 1, "precision", self.precision, "needs more than 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was found."""

    content: JudgesReport
    """report.json."""
    page: str
    """Path of the page."""
    unknown_labels: int
    """Labels of images that the run does not have."""


def run(dataset: Storage, output: Storage, wanted: Wanted) -> Judged:
    """Measure rules on the labelled images of a finished run.

    dataset: the output folder of the run.
    output: where report.json and the page go.
    wanted: what is measured.

    Raises:
        UserError: when the run is not finished, or labels or rules do not fit.
    """
    finished = open_finished(dataset)
    given = {} if not wanted.labels else labels.from_csv(wanted.labels)
    images = _labelled(finished, given, wanted)
    rules = _rules(images, wanted.rules)
    owned.claim(output, RECORD, str(finished.run.config["run"]["name"]), setting="--output")
    with RunLock(output):
        content = judges_report(
            images,
            rules,
            precision=wanted.precision,
            labels=wanted.labels or "the oracle of the embedded world",
            why={
                name: "their prompts have no counterfactual, or one that reads the same"
                for name in images.columns
                if name.endswith("margin")
            },
        )
        records.write(output, FILE, content)
        output.write_bytes(PAGE, page(content, str(finished.run.config["run"]["name"])).encode())
    return Judged(content=content, page=output.path(PAGE), unknown_labels=len(given.keys() - {*images.image_ids}))


def _labelled(finished: FinishedRun, given: dict[str, bool], wanted: Wanted) -> Labelled:
    if wanted.labels:

        def told(rows: pa.Table) -> list[bool | None]:
            return [given.get(str(one)) for one in rows["image_id"].to_pylist()]

        images = labelled(finished, told, pixels=False)
    else:
        oracle = labels.OracleLabels()

        def seen(rows: pa.Table) -> list[bool | None]:
            return [*oracle.of(rows)]

        images = labelled(finished, seen, pixels=True)
    prompts = len(np.unique(images.prompt_N))
    if images.good_N.all() or not images.good_N.any() or prompts < _LEAST_PROMPTS:
        raise UserError(
            f"{wanted.labels or 'the oracle'}: {int(images.good_N.sum())} of {len(images.good_N)} labelled images are "
            f"good, of {prompts} prompts: a threshold needs good ones and bad ones, of {_LEAST_PROMPTS} prompts or more"
        )
    return images


def _rules(images: Labelled, written: Sequence[str]) -> list[Expression]:
    rules: list[Expression] = []
    for text in dict.fromkeys((BASE, *(written or images.scores))):
        try:
            rule = expression(text)
            images.values(rule)
        except ValueError as error:
            raise UserError(f"--rule: {error}") from None
        rules.append(rule)
    return rules
