"""Which rows and columns of a run an export has, as its options say."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.config.expressions import Expression, expression
from pipelines.dataset import scores as score_files
from pipelines.dataset.finished import FinishedRun
from pipelines.errors import UserError
from pipelines.export.left_out import NOTHING, both, not_accepted
from pipelines.export.options import ExportOptions
from pipelines.export.parts import KEPT
from pipelines.export.reference import reference_vectors
from pipelines.export.rows import Choice
from pipelines.export.vectors import not_matching, repeated


def choose(run: FinishedRun, options: ExportOptions, folders: Sequence[str]) -> Choice:
    """The rows and columns of an export.

    run: the finished run.
    options: of the export.
    folders: of the run, whose images are exported.

    Raises:
        UserError: when a setting does not fit the run.
    """
    arms = tuple(arm.arm for arm in run.report.by_arm)
    if unknown := sorted(set(options.arms) - set(arms)):
        raise UserError(f"--arm {unknown[0]!r}: the run in {run.dataset.uri} has the arms {', '.join(map(repr, arms))}")
    scores = score_files.available(run) if options.scores is None else options.scores
    wanted = tuple(arm for arm in arms if arm in options.arms) if options.arms else arms
    without = NOTHING
    if options.accept:
        without = not_accepted(run, _condition(options.accept), scores)
    if options.repeats < 1:
        without = both(without, repeated(run, folders, wanted, options.repeats, without))
    if options.match_covariance:
        real_MD = reference_vectors(run, options.match_covariance)
        without = both(without, not_matching(run, (KEPT,), wanted, real_MD, options.match_count, without))
    return Choice(arms=wanted, embeddings=options.embeddings, scores=tuple(scores), without=without)


def _condition(text: str) -> Expression:
    try:
        found = expression(text)
    except ValueError as error:
        raise UserError(f"--accept {text!r}: {error}") from None
    if found.kind != "condition":
        raise UserError(f"--accept {text!r}: needs a comparison")
    return found
