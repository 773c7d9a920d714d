"""An export, top to bottom: finished run -> choice -> lock -> measure rows -> lay out files -> write them -> card.

Rows are read twice, first for their sizes. So the rows of every file are known before it is written: any worker can
write it, and a file that is written again has the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TypeVar

from pipelines.cluster import bars
from pipelines.cluster.session import ordered_map, session, stoppable
from pipelines.config.tables import RayOptions
from pipelines.dataset import owned
from pipelines.dataset import scores as score_files
from pipelines.dataset.content_credentials import Credentials, finishing
from pipelines.dataset.finished import FinishedRun, open_finished
from pipelines.dataset.lock import RunLock
from pipelines.dataset.names import FileEntry
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export import record
from pipelines.export.card import Split, export_card
from pipelines.export.formats import FORMATS
from pipelines.export.formats.base import Written
from pipelines.export.layout import OutputFile, Weighed, lay_out
from pipelines.export.rows import Choice, columns
from pipelines.export.work import Export, Task, weigh, write_file

T = TypeVar("T")
R = TypeVar("R")

_FOLDERS = {"train": "data", "rejected": "rejected"}
_FILES_WORTH_RAY = 16
_CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The settings of an export."""

    format: str
    """A name of `pipelines.export.formats`."""
    arms: tuple[str, ...] = ()
    """Names of the arms; () takes all."""
    rejected: bool = False
    """Whether to export the images that selection dropped too."""
    embeddings: bool = False
    """Whether to export the image vectors of the scorers too."""
    scores: tuple[str, ...] | None = None
    """Names of the scorers whose columns are exported; None takes all existing ones."""
    shard_bytes: int = 500_000_000
    """Largest size of a file in bytes."""
    license: str = "other"
    """As the hub names licences."""
    mark: bool = True
    """Whether every image file says that a model has made it (`pipelines.dataset.ai_mark`)."""
    credentials: Credentials | None = None
    """Who signs every image file (`pipelines.dataset.content_credentials`); None for nobody."""


def export(dataset: Storage, target: Storage, options: ExportOptions, where: RayOptions) -> list[Written]:
    """Write the missing files of an export, and return all files with rows.

    dataset: the output folder of a finished run.
    target: the folder of the export.
    options: the settings.
    where: the table [ray], for exports with many files.

    Raises:
        UserError: when the run is not finished, the target holds anything else, or a setting does not fit the run.
    """
    finishing(mark=options.mark, credentials=options.credentials)  # tried before anything is read
    run = open_finished(dataset)
    splits = ("train", "rejected") if options.rejected else ("train",)
    choice = _choice(run, options)
    wanted = record.identity(
        run,
        choice,
        [_FOLDERS[split] for split in splits],
        format=options.format,
        rejected=options.rejected,
        shard_bytes=options.shard_bytes,
        license=options.license,
        mark=options.mark,
        credentials=options.credentials,
    )
    job = Export(
        dataset=dataset,
        target=target,
        format=options.format,
        choice=choice,
        schema=columns(dataset, choice, run.images("data")[0].path),
        mark=options.mark,
        credentials=options.credentials,
    )
    owned.check(target, record.FILE, setting="--to")
    with ExitStack() as stack:
        stack.enter_context(stoppable())
        lock = stack.enter_context(RunLock(target))
        claimed = record.claim(target, wanted)
        target.sweep("")
        spread = partial(_spread, stack, where)
        if claimed.files is None:
            claimed = _lay_out(run, job, claimed, splits, options.shard_bytes, spread)
        tasks = _tasks(job, claimed)
        written = _existing(target, tasks)
        to_do = [task for of in tasks.values() for task in of if task.path not in written]
        images = sum(file.rows for of in (claimed.files or {}).values() for file in of)
        done = images - sum(task.file.rows for task in to_do)
        with bars.bar(images, done, "write", " images") as bar:
            for rows in spread(len(to_do))(partial(write_file, job), to_do):
                bar.update(rows)
                lock.check()
        return _finish(run, job, claimed, tasks)


def _choice(run: FinishedRun, options: ExportOptions) -> Choice:
    arms = tuple(arm.arm for arm in run.report.by_arm)
    if unknown := sorted(set(options.arms) - set(arms)):
        raise UserError(f"--arm {unknown[0]!r}: the run in {run.dataset.uri} has the arms {', '.join(map(repr, arms))}")
    scores = score_files.available(run) if options.scores is None else options.scores
    wanted = tuple(arm for arm in arms if arm in options.arms) if options.arms else arms
    return Choice(arms=wanted, embeddings=options.embeddings, scores=tuple(scores))


def _spread(stack: ExitStack, where: RayOptions, items: int) -> Callable[[Callable[[T], R], Iterable[T]], Iterable[R]]:
    """A `map` that keeps the order: over Ray for many items, else in this process."""
    if items < _FILES_WORTH_RAY:
        return map
    stack.enter_context(session(where))
    return ordered_map


def _lay_out(
    run: FinishedRun,
    job: Export,
    claimed: record.ExportRecord,
    splits: Sequence[str],
    shard_bytes: int,
    spread: Callable[[int], Callable[..., Iterable[Weighed]]],
) -> record.ExportRecord:
    room = FORMATS[job.format].room(shard_bytes)
    if room < 1:
        raise UserError(f"--shard-bytes {shard_bytes} leaves no room for images: use at least 20480")
    sources = {split: run.images(_FOLDERS[split]) for split in splits}
    endings: set[str] = set()
    files: dict[str, list[OutputFile]] = {}
    with bars.bar(sum(map(len, sources.values())), 0, "weigh", " shards") as bar:

        def weighed(entries: Sequence[FileEntry]) -> Iterator[Weighed]:
            for shard in spread(len(entries))(partial(weigh, job), entries):
                endings.update(shard.endings)
                bar.update(1)
                yield shard

        for split, entries in sources.items():
            if of_split := list(lay_out(weighed(entries), room)):
                files[split] = of_split
    if "train" not in files:
        raise UserError(f"{run.dataset.path('data')} holds no image of the arms {', '.join(job.choice.arms)}")
    return record.laid_out(job.target, claimed, files, sorted(endings))


def _tasks(job: Export, claimed: record.ExportRecord) -> Mapping[str, Sequence[Task]]:
    return {
        split: [
            Task(path=FORMATS[job.format].path(split, number, len(files)), file=file)
            for number, file in enumerate(files)
        ]
        for split, files in (claimed.files or {}).items()
    }


def _existing(target: Storage, tasks: Mapping[str, Sequence[Task]]) -> dict[str, int]:
    """Path -> size in bytes of the output files that exist."""
    folders = {str(PurePosixPath(task.path).parent) for of in tasks.values() for task in of}
    found: dict[str, int] = {}
    for folder in folders:
        target.sweep("" if folder == "." else folder)
        prefix = "" if folder == "." else f"{folder}/"
        found |= {f"{prefix}{name}": size for name, size in target.sizes(prefix.rstrip("/")).items()}
    return found


def _finish(
    run: FinishedRun, job: Export, claimed: record.ExportRecord, tasks: Mapping[str, Sequence[Task]]
) -> list[Written]:
    """Write the indexes, and the card last."""
    kind, sizes = FORMATS[job.format], _existing(job.target, tasks)
    written = {
        split: [Written(path=task.path, rows=task.file.rows, bytes=sizes[task.path]) for task in of]
        for split, of in tasks.items()
    }
    for split, files in written.items():
        for path, content in kind.index(split, files).items():
            job.target.write_bytes(path, content)
    splits = [
        Split(
            name=split,
            files=kind.pattern(split),
            rows=sum(file.rows for file in files),
            row_bytes=sum(task.file.bytes for task in tasks[split]),
            file_bytes=sum(file.bytes for file in files),
        )
        for split, files in written.items()
    ]
    text = export_card(
        run=run.run,
        report=run.report,
        arms=job.choice.arms,
        splits=splits,
        schema=job.schema,
        features=kind.features(job.schema, claimed.endings),
        license_name=claimed.identity.license,
        mark=job.mark,
        signed=job.credentials is not None,
        load=kind.load(len(written["train"])),
    )
    job.target.write_bytes(_CARD, text.encode())
    return [file for files in written.values() for file in files]
