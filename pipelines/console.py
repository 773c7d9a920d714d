"""A job on the terminal: what experiments are asked, a table of results, or one message about the error."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from models.errors import ModelError
from pipelines.cluster import trouble
from pipelines.dataset.manifest_json import what_is_missing
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.dataset.report_json import ArmResult, TimeSpent
    from pipelines.flows.calibrate import Calibrated
    from pipelines.flows.calibrate_judge import Judged
    from pipelines.flows.finish import Summary
    from pipelines.flows.quality import Quality

_USER_ERROR, _INTERRUPTED, _TERMINATED = 2, 130, 143
_COLOUR = re.compile(r"\x1b\[\d+m")
_CAUSE = re.compile(
    r"^\s*(?:pipelines\.errors\.UserError|models\.errors\.(?:Model|Service)Error): (.*?)(?:\n\s*\n|\Z)", re.S | re.M
)


def guarded(job: Callable[[], int]) -> int:
    """Run a job and return its exit status; errors that a user can correct, also those of workers, become a message."""
    from pipelines.cluster.session import Stopped

    try:
        return job()
    except KeyboardInterrupt:
        return _say("Stopped. The same command goes on from the finished shards.", _INTERRUPTED)
    except Stopped:
        return _say("Stopped. The same command goes on from the finished shards.", _TERMINATED)
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        return _say(f"error: {message}", _USER_ERROR)


class _Experiment(Protocol):
    """What the settings of all experiments have."""

    def warnings(self) -> Iterator[str]: ...


E = TypeVar("E", bound=_Experiment)


def experiment(
    arguments: list[str] | None,
    doc: str | None,
    helps: Mapping[str, str],
    *,
    load: Callable[[Path, Sequence[str]], E],
    quick: Callable[[E], E],
    run: Callable[[E], str],
) -> int:
    """Run an experiment as the command line says, and return its exit status.

    arguments: of the command line; None takes those of the process.
    doc: what the help says of the job.
    helps: what it says of the options `config` and `quick`.
    load: reads settings from a TOML file, with other values for some.
    quick: makes them settings of a small experiment.
    run: runs the experiment, and returns the path of its report.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=Path, help=helps["config"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replaces one setting")
    parser.add_argument("--quick", action="store_true", help=helps["quick"])
    options = parser.parse_args(arguments)

    def job() -> int:
        settings = load(options.config, options.set)
        for warning in settings.warnings():
            print(f"warning: {warning}", file=sys.stderr)
        print(f"report: {run(quick(settings) if options.quick else settings)}")
        return 0

    return guarded(job)


def user_message(error: BaseException) -> str | None:
    """The message of a UserError or ModelError, also of one that a worker raised, or of an error of Ray itself; None
    for other errors."""
    if isinstance(error, UserError | ModelError):
        return str(error)
    # Ray passes the causes of a worker's error on as text only, the first cause first.
    found = _CAUSE.search(_COLOUR.sub("", str(error)))
    return found[1].strip() if found else trouble.sentence(error)


def table(summary: Summary) -> str:
    """The table at the end: one line per arm, then failures, timings and the path of the gallery."""
    lines = [f"{'arm':<16}{'images':>8}{'kept':>8}{'clip':>8}{'margin':>8}{'vendi':>8}{'pairs':>8}"]
    for arm in summary.arms:
        values = (arm.clip_score.mean, arm.clip_margin.mean, arm.group_vendi.mean, arm.pair_vendi.mean)
        numbers = "".join(f"{'-' if value is None else f'{value:.3f}':>8}" for value in values)
        lines.append(f"{arm.arm[:15]:<16}{arm.images:>8}{arm.kept:>8}{numbers}")
    lines.append("")
    lines += _moved(summary.arms)
    lines += [f"warning: {warning}" for warning in summary.warnings]
    lines.append(
        f"{summary.images_kept} images kept, {summary.images_rejected} rejected; of {summary.groups_planned} groups "
        f"{summary.groups_failed} failed; {summary.prompts_failed} prompts could not be used"
    )
    if quotas := summary.quotas:
        lines.append(
            f"quotas: {quotas.met} of {quotas.quotas} met, {quotas.accepted} of {quotas.asked} images accepted, out of "
            f"{quotas.made} made"
        )
    if not summary.complete:
        missing = what_is_missing(summary.problems, summary.problem_count)
        lines.append(f"NOT COMPLETE: {missing}. Start the same command again to finish the run.")
    if summary.timings:
        lines.append(_where_time_went(summary.timings))
    lines.append(f"gallery: {summary.gallery}")
    if summary.certificate:
        lines.append(f"certificate: {summary.certificate}")
    return "\n".join(lines)


def _moved(arms: Sequence[ArmResult]) -> list[str]:
    """A line on how far each arm's interventions moved the text; none where none edits text."""
    shares = {
        arm.arm: [f"{name} {moved.mean or 0:.3f}" for name, moved in (arm.displacement or {}).items()] for arm in arms
    }
    told = "; ".join(f"{arm}: {', '.join(of_arm)}" for arm, of_arm in shares.items() if of_arm)
    return [f"text moved, as a share of its length: {told}"] if told else []


def _where_time_went(timings: TimeSpent) -> str:
    sessions = f" in {timings.sessions} sessions" if timings.sessions > 1 else ""
    parts = sorted(timings.busy_share.items(), key=lambda part: -part[1])
    shares = ", ".join(f"{part} {share:.0%}" for part, share in parts if share >= 0.005)
    return (
        f"time: {timings.wall_seconds:.0f} s{sessions}, {timings.images_per_second or 0:.2f} images/s; "
        f"of their workers' time: {shares}"
    )


def calibrated(made: Calibrated) -> str:
    """The end of a calibration: a line per setting, then why each stage chose as it did, and where the choice lies."""
    content = made.content
    width = max(32, *(len(one.name) for one in content.settings)) + 2
    lines = [f"{'setting':<{width}}{'match':>9}{'pairs':>9}"]
    for number, one in enumerate(content.settings):
        numbers = ["-" if value is None else f"{value.mean:.4f}" for value in (one.match, one.pair_vendi)]
        marks = [word for word, on in (("chosen", number == content.chosen), ("front", one.on_the_front)) if on]
        lines.append(f"{one.name:<{width}}{numbers[0]:>9}{numbers[1]:>9}  {', '.join(marks)}".rstrip())
    lines.append("")
    lines += [f"stage {number}: {stage.reason}" for number, stage in enumerate(content.stages, 1)]
    if content.chosen is None:
        lines.append(
            "nothing is chosen: pictures blew up in every setting; try model.dtype = 'float32', or weaker ones"
        )
    else:
        lines.append(f"python jobs/synth.py --config {made.run}    # draws with the chosen settings")
        lines.append(f"{made.beside}: beside {made.owner}, as its name with .toml, every run of it takes them")
    return "\n".join([*lines, f"page: {made.page}"])


def judged(made: Judged) -> str:
    """The end of a calibration of judges: a line per rule, then the settings and the page."""
    lines = [made.content.lead]
    if made.unknown_labels:
        lines.append(f"warning: {made.unknown_labels} labels are of no image of the run")
    lines += ["", f"{'rule':<34}{'separation':>12}{'precision':>11}{'recall':>9}"]
    for number, one in enumerate(made.content.rules):
        found = (one.kept.precision, one.kept.recall) if one.kept else (None, None)
        shares = "".join(f"{'-' if value is None else f'{value.mean:.0%}':>10}" for value in found)
        mark = "  chosen: " if number == made.content.chosen else "  "
        area = "-" if one.separation is None else f"{one.separation.mean:.3f}"
        lines.append(f"{one.rule[:33]:<34}{area:>12}{shares}{mark}{one.verdict}")
    return "\n".join([*lines, "", made.content.toml, "", f"page: {made.page}"])


def quality(found: Quality) -> str:
    """The end of a measurement of a whole dataset: a line per arm."""
    lines = [f"{'arm':<16}{'images':>8}{'repeats':>9}{'precision':>11}{'recall':>8}{'density':>9}{'coverage':>10}"]
    for one in found.arms:
        covers = (
            ""
            if one.covers is None
            else (
                f"{one.covers.precision:>11.3f}{one.covers.recall:>8.3f}{one.covers.density:>9.3f}{one.covers.coverage:>10.3f}"
            )
        )
        lines.append(f"{one.arm[:15] or 'all':<16}{one.images:>8}{one.repeats:>9}{covers}")
    what = f"by {found.features}: repeats from a cosine of {found.similarity:g}"
    if found.reference:
        what += f"; {found.reference_images} pictures of {found.reference}, k = {found.k}"
    return "\n".join([*lines, "", what])


def _say(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
