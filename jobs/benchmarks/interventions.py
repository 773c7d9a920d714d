"""The cost of TORA and contextual repulsion over base, compared with the algorithms as their papers give them.

    python jobs/bench.py interventions --threads 1
    python jobs/bench.py interventions --device cuda --group-sizes 4

On a CPU: the embedded model end to end (random weights of the same shape where the trained ones are missing), then one
block each of SD3.5-Large and FLUX.1-dev. On a GPU: all blocks and steps of SD3.5-Large. Settings are the defaults, with
the paper's M = 100 ascent steps in the first 4 of 28 denoising steps; TORA acts at every block and step.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import diffusers
import torch
from torch import Tensor

from jobs.benchmarks import shapes
from jobs.benchmarks.gpu import sd35_large_run
from jobs.benchmarks.timing import compare, show
from models.denoising import Tokens
from models.embedded import SAMPLING, WEIGHTS
from models.embedded.training.untrained import save_untrained
from models.generator import Generator
from models.interventions.repulsion import groups
from models.interventions.repulsion.ascent import entropy_ascent
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.repulsion.push import displacement, repel
from models.interventions.repulsion.reference import repel_by_autograd
from models.interventions.tora import alignment, reference
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.selection import TokenSelection
from models.interventions.tora.transform import semantic_direction, space_and_align
from models.spec import Group, ModelSpec

REPULSION = RepulsionConfig(inner_steps=100, steps=(0.0, 4 / 28))
TORA = ToraConfig()
PROMPT = "a striped purple star left of a green heart on snow"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the embedded model")
    parser.add_argument("--group-sizes", type=int, nargs="+", default=[4, 16], metavar="B")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument(
        "--image-tokens", type=int, default=1024, help="of the single blocks; 1024 are 512 x 512 pixels"
    )
    parser.add_argument("--skip-naive", action="store_true", help="leave the papers' own forms out")
    parser.add_argument("--only", choices=("embedded", "blocks"), help="one part of the CPU benchmark")


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, diffusers {diffusers.__version__}, {_machine(options)}")
    if options.device == "cuda":
        for size in options.group_sizes:
            sd35_large_run(size, options.repeats, TORA, REPULSION)
        return 0
    if options.only != "blocks":
        _embedded(options)
    if options.only != "embedded":
        with torch.inference_mode():
            for build in (shapes.sd35_large, shapes.flux1):
                _block(build(options.image_tokens, torch.bfloat16), options)
    return 0


def _machine(options: argparse.Namespace) -> str:
    if options.device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()} with {options.threads} threads"


def _embedded(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trained = (WEIGHTS / "pipeline" / "model_index.json").exists()
        path = str(WEIGHTS / "pipeline") if trained else save_untrained(Path(folder))
        generator = Generator(ModelSpec(path=path, dtype=options.dtype, device="cpu"))
    weights = "trained" if trained else "random"
    for size in options.group_sizes:
        print(
            f"\nembedded model ({weights} weights, {options.dtype}) end to end, {SAMPLING.steps} steps, group of {size}"
        )

        def arm(tora: bool, repulsion: bool, size: int = size) -> None:
            group = Group(
                prompt=PROMPT,
                seeds=tuple(range(size)),
                sampling=SAMPLING,
                interventions=(*([TORA] if tora else []), *([REPULSION] if repulsion else [])),
            )
            generator.generate([group])

        variants: dict[str, Callable[[], object]] = {
            "base": partial(arm, False, False),
            "repulsion": partial(arm, False, True),
            "TORA": partial(arm, True, False),
            "both": partial(arm, True, True),
        }
        if not options.skip_naive:
            variants |= {
                "repulsion, autograd loop": _with_papers_forms(partial(arm, False, True)),
                "TORA, full SVD per sample": _with_papers_forms(partial(arm, True, False)),
            }
        show(compare(variants, repeats=options.repeats, device="cpu", label=f"embedded, B = {size}"), "base")
        with torch.inference_mode():
            _parts(size, width=192, text_tokens=16, prompt_tokens=12, branches=2)


def _with_papers_forms(call: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        with papers_forms():
            call()

    return run


@contextmanager
def papers_forms() -> Iterator[None]:
    """Run the body with both methods as the papers give them."""
    with (
        mock.patch.object(groups, "repel", lambda sets, config, _total: repel_by_autograd(sets, config)),
        mock.patch.object(alignment, "space_and_align", _align_by_svd),
    ):
        yield


def _align_by_svd(
    tokens: Tensor, direction: Tensor, selection: TokenSelection, config: ToraConfig, keep: object = None
) -> Tensor:
    valid = selection.scatter_BNM.amax(-1) > 0
    return reference.align_by_svd(tokens.float(), direction, valid, config).to(tokens.dtype)


def _selection(samples: int, text_tokens: int, prompt_tokens: int) -> TokenSelection:
    """The first tokens of the text, in all samples."""
    valid = (torch.arange(text_tokens) < prompt_tokens).expand(samples, -1)
    return TokenSelection.of(Tokens.of(valid, torch.ones_like(valid)), TORA)


def _parts(size: int, *, width: int, text_tokens: int, prompt_tokens: int, branches: int) -> None:
    """Time the parts of one call, and print them."""
    text = torch.randn(branches, 1, text_tokens, width) + 0.3 * torch.randn(branches, size, text_tokens, width)
    flat = text.flatten(2)
    mean = flat.mean(1, keepdim=True)
    rows = torch.cat([flat - mean, mean], dim=1)
    products, whole = (rows @ rows.mT).double(), (flat @ flat.mT).double()
    step = 0.01 * whole.diagonal(dim1=1, dim2=2).mean(-1)
    tokens = text[-1]
    selection = _selection(size, text_tokens, prompt_tokens)
    direction = torch.randn(size, width)
    rows = selection.gather_BMN @ tokens
    token_products = (rows @ rows.mT).double()
    parts: dict[str, Callable[[], object]] = {
        "repulsion, one block": lambda: repel(text, REPULSION),
        "  of it the B x B algebra": lambda: displacement(products, 1.0, 0.0, 100, 0.3, False),
        "  of it the 100 steps": lambda: entropy_ascent(whole, step, 100, False),
        "one by one": lambda: entropy_ascent(whole, step, 100, True),
        "TORA, one block": lambda: (
            semantic_direction(tokens, 0.5 * tokens, selection, TORA),
            space_and_align(tokens, direction, selection, TORA),
        ),
        "  of it the eigenvalues": lambda: torch.linalg.eigh(token_products),
    }
    many = {name: partial(_repeat, call) for name, call in parts.items()}
    table = compare(many, repeats=9, device="cpu", label="parts")
    print("  where it goes: " + ", ".join(f"{n.strip()} {1e3 * t.seconds / _CALLS:.2f} ms" for n, t in table.items()))


_CALLS = 5


def _repeat(call: Callable[[], object]) -> None:
    for _ in range(_CALLS):
        call()


def _block(shape: shapes.BlockShape, options: argparse.Namespace) -> None:
    """Time one block on the rows of a group of 4, and print a table. Repulsion acts in tau of the steps of a run."""
    samples = 4
    text = torch.randn(shape.rows, shape.text_tokens, shape.width)
    text = (text + torch.randn(1, shape.text_tokens, shape.width)).to(torch.bfloat16)
    sets = text.reshape(-1, samples, shape.text_tokens, shape.width)
    cond, uncond = text[-samples:], text[:samples]
    selection = _selection(samples, shape.text_tokens, shape.prompt_tokens)
    fixed = torch.randn(samples, shape.width)

    def tora(align: Callable[..., object]) -> None:
        direction = semantic_direction(cond, uncond, selection, TORA) if shape.both_branches else fixed
        align(cond, direction, selection, TORA)

    parts: dict[str, Callable[[], object]] = {
        "the block": lambda: shape.call(text),
        "TORA": lambda: tora(space_and_align),
        "repulsion": lambda: repel(sets, REPULSION),
    }
    if not options.skip_naive:
        naive = RepulsionConfig(inner_steps=2)  # of 100, scaled below
        parts |= {
            "TORA, full SVD per sample": lambda: tora(_align_by_svd),
            "repulsion, autograd loop": lambda: repel_by_autograd(sets.float(), naive),
        }
    table = compare(parts, repeats=options.repeats, device="cpu", label=shape.name)
    block = table["the block"].seconds
    print(
        f"\none block of {shape.name} (real dimensions, random weights, bfloat16), group of 4, {options.image_tokens} "
        f"image tokens, {shape.text_tokens} text tokens of which the prompt has {shape.prompt_tokens}: {block:.3g} s"
    )
    print(f"  {'':34s}{'ms a block':>12s}{'over the run':>14s}")
    for name, timing in table.items():
        if name == "the block":
            continue
        seconds = timing.seconds * (50 if name == "repulsion, autograd loop" else 1)
        share = shape.tau / shape.steps if name.startswith("repulsion") else 1.0
        print(f"  {name:34s}{1e3 * seconds:12.2f}{100 * share * seconds / block:+12.2f} %", flush=True)
