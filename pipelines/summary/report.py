"""Makes report.json, the comparison of the arms of a run, from its audit.

Scores and diversity are over all scored images, kept and dropped: selection keeps the best of a group, so means over
kept images alone would say more about the selection than about the arm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from operator import add

from models.statistics import Mean
from pipelines.dataset.progress_json import Timings
from pipelines.dataset.report_json import ArmResult, Counts, Interval, Measures, RarityResult, Report, TimeSpent
from pipelines.summary.audit import Audit
from pipelines.summary.tally import Cell, arms_of, over_rarities, rarity_rank

_DIGITS = 6
MOST_MOVED = 1.0
"""Mean displacement above which a report warns: the text is moved by more than its own length, so that what the prompt
says no longer decides what is drawn."""
_NOTES = {
    "interval": "mean +- half_width is the 95 % interval, with the group as the sampling unit",
    "images": "scores and diversity are over all scored images, kept and dropped",
    "group_vendi": "Vendi score of a group's image embeddings, from 1 to the group size",
    "pair_vendi": "mean Vendi score over pairs of a group, from 1 to 2, comparable between group sizes",
    "cut": "share of groups with a text longer than is read; the column of the field's name says by how many tokens",
    "displacement": "length of an intervention's change of the text as a share of the text's, mean over its edits",
}


def report(
    audit: Audit, fingerprint: str, timings: Timings | None, reads_apart: Collection[tuple[str, str]] = ()
) -> Report:
    """The content of report.json.

    audit: of the whole run.
    fingerprint: of the run.
    timings: of progress.json, None where it has none.
    reads_apart: arms and names of interventions that leave the text that goes on as it was: no warning says that
        they move it too far.
    """
    arms, totals = arms_of(audit.cells), audit.totals
    further = list(dict.fromkeys(column for cell in audit.cells.values() for column in cell.further))
    keys = sorted(audit.cells, key=lambda key: (arms.index(key[0]), rarity_rank(key[1])))
    by_arm = tuple(ArmResult(arm=arm, **vars(_measures(over_rarities(audit.cells, arm), further))) for arm in arms)
    return Report(
        fingerprint=fingerprint,
        complete=audit.complete,
        counts=Counts(
            prompts=totals.prompts_planned,
            prompts_failed=totals.prompts_failed,
            groups=totals.groups_planned,
            groups_done=totals.groups_done,
            groups_failed=totals.groups_failed,
            images=totals.images_kept + totals.images_rejected,
            images_kept=totals.images_kept,
            images_rejected=totals.images_rejected,
        ),
        by_arm=by_arm,
        by_arm_and_rarity=tuple(
            RarityResult(arm=arm, rarity=rarity, **vars(_measures(audit.cells[arm, rarity], further)))
            for arm, rarity in keys
        ),
        notes=_NOTES,
        warnings=(*_warnings(by_arm, reads_apart), *_warning_of_cuts(_shares(list(audit.cells.values())))),
        timings=None if timings is None else _time_spent(timings),
    )


def _measures(cell: Cell, further: Sequence[str]) -> Measures:
    return Measures(
        groups=cell.groups_planned,
        groups_failed=cell.groups_failed,
        images=cell.images,
        kept=cell.kept,
        duplicates=cell.duplicates,
        drop_reasons=dict(sorted(cell.drop_reasons.items())),
        clip_score=_interval(cell.clip_score),
        clip_margin=_interval(cell.clip_margin),
        group_vendi=_interval(cell.group_vendi),
        pair_vendi=_interval(cell.pair_vendi),
        displacement={name: _interval(mean) for name, mean in cell.displacement.items() if mean.values} or None,
        cut=_shares([cell]) or None,
        further={column: _interval(cell.further.get(column, Mean())) for column in further} or None,
    )


def _shares(cells: Sequence[Cell]) -> dict[str, float]:
    """`Measures.cut` of some cells together."""
    names = dict.fromkeys(name for cell in cells for name in cell.cut)
    means = {name: reduce(add, (cell.cut.get(name, Mean()) for cell in cells)).mean for name in names}
    return {name: round(mean, _DIGITS) for name, mean in means.items() if mean is not None}


def _warning_of_cuts(shares: Mapping[str, float]) -> Iterator[str]:
    if cut := [f"{name} {share:.1%}" for name, share in shares.items() if share]:
        yield (
            f"some texts are longer than is read of them, in this share of the groups: {', '.join(cut)}; these columns "
            "of the rows say by how many tokens"
        )


def _warnings(by_arm: Sequence[ArmResult], reads_apart: Collection[tuple[str, str]]) -> Iterator[str]:
    for arm in by_arm:
        for name, moved in (arm.displacement or {}).items():
            if moved.mean == 0:
                yield f"arm {arm.arm!r}: {name} moved no text: it has no effect; see [{name}] and the size of groups"
            elif moved.mean is not None and moved.mean > MOST_MOVED and (arm.arm, name) not in reads_apart:
                yield (
                    f"arm {arm.arm!r}: {name} moves the text by {moved.mean:.2f} of its length on average, more than "
                    f"{MOST_MOVED:g}: little of what the prompts say is left; weaken [{name}]"
                )


def _interval(value: Mean) -> Interval:
    return Interval(mean=_rounded(value.mean), half_width=_rounded(value.half_width), groups=value.groups)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _time_spent(timings: Timings) -> TimeSpent:
    """The timings with the overall rate, and for each part of a stage its share of the workers' time."""
    wall = timings.wall_seconds
    available = {stage: wall * count for stage, count in timings.workers.items()}
    shares = {
        part: round(seconds / available[part.partition(".")[0]], 4)
        for part, seconds in timings.busy_seconds.items()
        if available.get(part.partition(".")[0])
    }
    rate = round(timings.images / wall, 4) if wall > 0 else None
    return TimeSpent(**vars(timings), images_per_second=rate, busy_share=shares)
