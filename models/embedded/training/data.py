"""Rendered training sets on disk: pictures and their attribute labels, made once and memory-mapped afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models.embedded.attributes import NAMES, Labels, labels_of
from models.embedded.render import IMAGE_SIZE, render
from models.embedded.world import sample_scene

_CHUNK = 1000


@dataclass(frozen=True, kw_only=True)
class RenderedSet:
    """images: uint8 [n, 64, 64, 3]; labels: int8 [n, 10] (see `models.embedded.attributes`)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int8]


def rendered_set(directory: Path, name: str, *, count: int, seed: int, balanced: bool) -> RenderedSet:
    """Open the set `name` under `directory`, rendering it first where it is not there yet.

    Picture i depends only on (seed, i). A set is renamed into place when whole, so a stopped run leaves no half set.
    """
    final = directory / f"{name}-{count}-{seed}"
    if not final.exists():
        part = directory / f"{final.name}.part"
        part.mkdir(parents=True, exist_ok=True)
        shape = (count, IMAGE_SIZE, IMAGE_SIZE, 3)
        images = np.lib.format.open_memmap(part / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
        labels = np.empty((count, len(NAMES)), dtype=np.int8)
        at = 0
        for chunk_images, chunk_labels in _render_chunks(count, seed, balanced, name):
            images[at : at + len(chunk_images)] = chunk_images
            labels[at : at + len(chunk_images)] = chunk_labels
            at += len(chunk_images)
        images.flush()
        np.save(part / "labels.npy", labels)
        part.rename(final)
    return RenderedSet(
        images=np.load(final / "images.npy", mmap_mode="r"),
        labels=np.load(final / "labels.npy"),
    )


def _render_chunks(
    count: int, seed: int, balanced: bool, name: str
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int8]]]:
    starts = range(0, count, _CHUNK)
    work = partial(_render_chunk, count=count, seed=seed, balanced=balanced)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from tqdm(pool.map(work, starts), total=len(starts), desc=f"render {name}", unit="k", dynamic_ncols=True)


def _render_chunk(start: int, *, count: int, seed: int, balanced: bool) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    images: list[NDArray[np.uint8]] = []
    labels: list[Labels] = []
    for index in range(start, min(start + _CHUNK, count)):
        rng = np.random.default_rng([seed, index])
        scene = sample_scene(rng, balanced=balanced)
        images.append(render(scene, rng))
        labels.append(labels_of(scene))
    return np.stack(images), np.stack(labels)
