"""An export, top to bottom: finished run -> choice -> lock -> measure rows -> lay out files -> write them -> card.

Rows are read twice, first for their sizes. So the rows of every file are known before it is written: any worker can
write it, and a file that is written again has the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import PurePosixPath
from typing import TypeVar

from pipelines.cluster import bars
from pipelines.cluster.session import ordered_map, session, stoppable
from pipelines.config.tables import RayOptions
from pipelines.dataset import certificate, owned
from pipelines.dataset.content_credentials import finishing
from pipelines.dataset.finished import FinishedRun, open_finished
from pipelines.dataset.lock import RunLock
from pipelines.dataset.names import IMAGE_FOLDERS, FileEntry, file_entry
from pipelines.dataset.schema import of_videos
from pipelines.dataset.storage import Storage
from pipelines.dataset.uris import check_readable
from pipelines.errors import UserError
from pipelines.export import finished, labels, manifest, record
from pipelines.export.card import Section, export_card
from pipelines.export.choice import choose
from pipelines.export.formats import FORMATS
from pipelines.export.formats.base import Written
from pipelines.export.layout import OutputFile, Weighed, lay_out
from pipelines.export.options import ExportOptions
from pipelines.export.parts import KEPT, TRAIN, Part
from pipelines.export.reference import digest
from pipelines.export.rows import columns
from pipelines.export.work import Export, Task, files_of, make_file, weigh
from pipelines.summary.sections import GIVEN_UP_SHOWN

T = TypeVar("T")
R = TypeVar("R")

_FILES_WORTH_RAY = 16


def export(dataset: Storage, target: Storage, options: ExportOptions, where: RayOptions) -> list[Written]:
    """Write the missing files of an export, and return all files with rows.

    dataset: the output folder of a finished run.
    target: the folder of the export.
    options: the settings.
    where: the table [ray], for exports with many files.

    Raises:
        UserError: when the run is not finished, the target holds anything else, or a setting does not fit the run.
    """
    if not 0 < options.repeats <= 1:
        raise UserError(f"--drop-repeats {options.repeats}: needs a cosine above 0, and at most 1")
    finishing(mark=options.mark, credentials=options.credentials)  # tried before anything is read
    run = open_finished(dataset)
    folders = IMAGE_FOLDERS if options.rejected else (KEPT,)
    choice = choose(run, options, folders)
    wanted = record.identity(
        run,
        choice,
        folders,
        format=options.format,
        rejected=options.rejected,
        shard_bytes=options.shard_bytes,
        license=options.license,
        splits=options.splits,
        labels=options.labels,
        mark=options.mark,
        accept=options.accept,
        repeats=options.repeats,
        match_covariance=digest(options.match_covariance) if options.match_covariance else "",
        match_count=options.match_count,
        credentials=options.credentials,
    )
    job = Export(
        dataset=dataset,
        target=target,
        format=options.format,
        choice=choice,
        splits=options.splits,
        schema=columns(dataset, choice, [entry.path for folder in folders for entry in run.images(folder)]),
        mark=options.mark,
        credentials=options.credentials,
    )
    if of_videos(job.schema) and not FORMATS[options.format].videos:
        others = ", ".join(name for name, kind in FORMATS.items() if kind.videos)
        raise UserError(f"--format {options.format} is one of pictures, and {dataset.uri} has videos; choose {others}")
    if FORMATS[options.format].labelled:
        labels.check(job.schema, options.labels)
    check_readable(target.uri, "--to")
    owned.check(target, record.FILE, setting="--to")
    with ExitStack() as stack:
        stack.enter_context(stoppable())
        lock = stack.enter_context(RunLock(target))
        claimed = record.claim(target, wanted)
        target.sweep("")
        spread = partial(_spread, stack, where)
        if claimed.files is None:
            claimed = _lay_out(run, job, claimed, folders, options.shard_bytes, spread)
        tasks = _tasks(job, claimed)
        made = _make(job, tasks, lock, spread)
        return _finish(run, job, claimed, tasks, made)


def _make(
    job: Export,
    tasks: Mapping[Part, Sequence[Task]],
    lock: RunLock,
    spread: Callable[[int], Callable[..., Iterable[tuple[FileEntry, ...]]]],
) -> dict[str, tuple[FileEntry, ...]]:
    """Write the files that are not there; path of every file of images -> its entry, and those of the files beside."""
    kept = finished.keep_intact(job.target)
    made: dict[str, tuple[FileEntry, ...]] = {}
    for task in (task for of in tasks.values() for task in of):
        job.target.sweep(str(PurePosixPath(task.path).parent).removeprefix("."))
        if task.path in kept and {*(paths := files_of(job, task.path))} <= {*kept}:
            made[task.path] = tuple(kept[path] for path in paths)
    to_do = [task for of in tasks.values() for task in of if task.path not in made]
    images = sum(task.file.rows for of in tasks.values() for task in of)
    with bars.bar(images, images - sum(task.file.rows for task in to_do), "write", " images") as bar:
        for task, entries in zip(to_do, spread(len(to_do))(partial(make_file, job), to_do), strict=True):
            made[task.path] = entries
            bar.update(task.file.rows)
            lock.check()
    return made


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
    folders: Sequence[str],
    shard_bytes: int,
    spread: Callable[[int], Callable[..., Iterable[Weighed]]],
) -> record.ExportRecord:
    room = FORMATS[job.format].room(shard_bytes)
    if room < 1:
        raise UserError(f"--shard-bytes {shard_bytes} leaves no room for images: use at least 20480")
    sources = {folder: run.images(folder) for folder in folders}
    endings: set[str] = set()
    files: dict[str, list[OutputFile]] = {}
    with bars.bar(sum(map(len, sources.values())), 0, "weigh", " shards") as bar:

        def weighed(entries: Sequence[FileEntry]) -> Iterator[Weighed]:
            for shard in spread(len(entries))(partial(weigh, job), entries):
                endings.update(shard.endings)
                bar.update(1)
                yield shard

        for folder, entries in sources.items():
            for split, of_split in lay_out(weighed(entries), room, job.splits.names).items():
                if of_split:
                    files[Part(folder=folder, split=split).name] = of_split
    for split in job.splits.names:
        if split not in files:
            raise UserError(_empty(run, job, split))
    return record.laid_out(job.target, claimed, files, sorted(endings))


def _empty(run: FinishedRun, job: Export, split: str) -> str:
    chosen = f"{run.dataset.path(KEPT)} holds no image of the arms {', '.join(job.choice.arms)}"
    if not job.splits.shares:
        return chosen
    of_split = "train, which is what the splits leave" if split == TRAIN else f"{split}={job.splits.shares[split]:g}"
    return f"{chosen} for --split {of_split}: with so few values of {job.splits.by}, choose other shares or --split-by"


def _tasks(job: Export, claimed: record.ExportRecord) -> Mapping[Part, Sequence[Task]]:
    parts = [Part(folder=folder, split=split) for folder in IMAGE_FOLDERS for split in job.splits.names]
    laid_out = claimed.files or {}
    return {
        part: [
            Task(path=FORMATS[job.format].path(part, number, len(files)), part=part, file=file)
            for number, file in enumerate(files)
        ]
        for part in parts
        if (files := laid_out.get(part.name, ()))
    }


def _finish(
    run: FinishedRun,
    job: Export,
    claimed: record.ExportRecord,
    tasks: Mapping[Part, Sequence[Task]],
    made: Mapping[str, tuple[FileEntry, ...]],
) -> list[Written]:
    """Write the indexes, the card, and the manifest last."""
    kind = FORMATS[job.format]
    written = {
        part: [_written(task, [entry.bytes for entry in made[task.path]]) for task in of] for part, of in tasks.items()
    }
    index = kind.index(job.target, written, job.schema, claimed.identity.labels)
    sections = [
        Section(
            part=part,
            files=kind.pattern(part),
            rows=sum(file.rows for file in files),
            row_bytes=sum(task.file.bytes for task in tasks[part]),
            file_bytes=sum(file.whole_bytes for file in files),
        )
        for part, files in written.items()
    ]
    text = export_card(
        run=run.run,
        report=run.report,
        arms=job.choice.arms,
        sections=sections,
        schema=job.schema,
        features=kind.features(job.schema, claimed.endings),
        license_name=claimed.identity.license,
        mark=job.mark,
        signed=job.credentials is not None,
        load=kind.load(len(written[Part(folder=KEPT, split=TRAIN)]), job.schema),
        given_up=certificate.given_up(run.dataset, GIVEN_UP_SHOWN),
    )
    job.target.write_bytes(finished.CARD, text.encode())
    if run.report.quotas:
        job.target.write_bytes(certificate.FILE, run.dataset.read_bytes(certificate.FILE))
        index = (*index, certificate.FILE)
    others = [file_entry(job.target, path) for path in (record.FILE, finished.CARD, *index)]
    manifest.write(job.target, [*chain.from_iterable(made.values()), *others])
    return [file for files in written.values() for file in files]


def _written(task: Task, sizes: Sequence[int]) -> Written:
    """sizes: of the file, and of those beside it."""
    return Written(path=task.path, rows=task.file.rows, bytes=sizes[0], beside=tuple(sizes[1:]))
