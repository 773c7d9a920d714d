"""An experiment from top to bottom: draw, keep, train, report. The same command goes on where it was stopped."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from models.loading.dtype import resolved, slowness
from models.loading.revision import pinned
from models.scorers import registry
from pipelines.dataset import owned, records
from pipelines.dataset.storage import Storage
from pipelines.downstream import concepts as world
from pipelines.downstream.concepts import Concept
from pipelines.downstream.config import REAL, DownstreamConfig
from pipelines.downstream.figure import figure
from pipelines.downstream.keep import Keeper
from pipelines.downstream.markdown import markdown
from pipelines.downstream.page import page
from pipelines.downstream.pool import Floats, Pool
from pipelines.downstream.report import FILE, Downstream, Trained, numbers_of, results
from pipelines.downstream.studio import Studio
from pipelines.downstream.trainings import School, labelled
from pipelines.errors import UserError

RECORD = "downstream.json"


def run(config: DownstreamConfig) -> str:
    """Make what is missing, write report.json, report.md, report.html and figure.svg, and return the path of the page.

    Raises:
        UserError: when files of the model, a LoRA or the oracle are missing, or the output folder is of something else.
    """
    config = _known(config)
    output = Storage.open(config.output)
    owned.claim(output, RECORD, config.name, setting="output")
    studio = Studio(config, output)
    concepts = world.concepts(config.real.concepts)
    head, rare = ([one for one in concepts if (one.part == "head") == first] for first in (True, False))
    named = {config.arms[0].name, *(arm for source in config.sources for arm in source.arms)}
    pools = {arm.name: studio.drawn(arm, rare) for arm in config.arms if arm.name in named}
    pools[REAL] = studio.rendered(rare, config.made.drawn_each, "training")
    reference = studio.rendered(rare, config.real.reference_each, "reference")
    known = studio.rendered(head, config.real.reference_each, "reference")
    least_score = float(np.quantile(known.score_CP, config.made.score_quantile))
    trained = _trained(config, School(config, output, concepts), rare, pools, least_score, _spread(known))
    content = Downstream(
        name=config.name,
        model=f"{config.model.path} {config.model.revision}",
        base=config.base,
        settings={
            "sampling": config.sampling.settings(pictures=False),
            **{name: asdict(getattr(config, name)) for name in ("real", "made", "training")},
            "arms": {arm.name: arm.settings() for arm in config.arms},
        },
        concepts={name: len(at) for name, at in numbers_of(concepts).items()},
        least_score=least_score,
        compared=results(trained, concepts, reference, config.base),
    )
    records.write(output, FILE, content)
    output.write_bytes("report.md", markdown(content).encode())
    output.write_bytes("figure.svg", figure(content).encode())
    output.write_bytes("report.html", page(content, trained, rare).encode())
    return output.path("report.html")


def _known(config: DownstreamConfig) -> DownstreamConfig:
    """The config with the revisions of all files, which have to be there."""
    files = {"model.path": Path(config.model.path) / "model_index.json", "oracle": Path(config.oracle)}
    files |= {f"model.loras.{lora.name}": Path(lora.path) for lora in config.model.loras}
    for key, path in files.items():
        if not path.exists():
            raise UserError(f"{key}: {path} does not exist; train it with jobs/train_embedded.py or name another")
    gpus = torch.cuda.is_available()
    model = resolved(pinned(config.model), gpus=gpus)
    if slow := slowness(model, gpus=gpus):
        print(f"warning: {slow}", file=sys.stderr)
    entry = registry.entry_of(config.scorer.kind)
    if not entry.vectors:
        raise UserError(f"scorer.kind = {config.scorer.kind!r}: needs a kind that gives image vectors")
    entry.check(config.scorer)
    return replace(config, model=model, scorer=replace(config.scorer, revision=entry.revision(config.scorer)))


def _spread(pool: Pool) -> Floats:
    """Vectors, each less the mean of its concept: how pictures of one concept differ."""
    vectors_CPD = pool.vectors_CPD - pool.vectors_CPD.mean(1, keepdims=True)
    spread_MD: Floats = vectors_CPD.reshape(-1, vectors_CPD.shape[-1])
    return spread_MD


def _trained(
    config: DownstreamConfig,
    school: School,
    concepts: Sequence[Concept],
    pools: Mapping[str, Pool],
    least_score: float,
    reference_MD: Floats,
) -> list[Trained]:
    """What every source gives on every basis. pools: arm, or `REAL` -> what there is of the concepts."""
    budget = float(pools[config.arms[0].name].passes_P.sum()) * len(concepts)
    seeds, found = config.training.seeds, []
    with tqdm(total=len(config.bases) * len(config.sources) * len(seeds), unit="training", dynamic_ncols=True) as bar:
        for basis, source in product(config.bases, config.sources):
            bar.set_description(f"{source.name}, {basis}")
            pool = kept = made = None
            if source.arms:
                pool = Pool.in_turn([pools[arm] for arm in source.arms], config.made.group_size)
                keeper = Keeper(
                    judge=source.judge,
                    choose=source.choose,
                    least_score=least_score,
                    similarity=config.made.similarity,
                    reference_MD=reference_MD,
                    group=config.made.group_size,
                )
                kept = keeper.keep(pool, basis, config.made.each, budget)
                made = labelled(pool, kept, concepts)
            shares = []
            for seed in seeds:
                shares.append(school.right(made, seed))
                bar.update()
            found.append(Trained(source=source, basis=basis, shares_SC=np.stack(shares), pool=pool, kept=kept))
    return found
