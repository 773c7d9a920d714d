"""The cost of TORA and contextual repulsion over base, measured and on paper.

    python jobs/bench.py interventions                                     # the embedded model, then single blocks
    python jobs/bench.py interventions --only cost --launch 5              # what a GPU should take: a cost model
    python jobs/bench.py interventions --device cuda --models sd3.5-large --repeats 3    # ten minutes, on paper
    python jobs/bench.py interventions --device cuda --models flux.1-dev --group-sizes 1 --prompt-tokens 60

The cases are SD3.5-Large and FLUX.1-dev at 1024 x 1024 pixels, groups of 1, 4 and 8, prompts of 60, 120 and 333 tokens
of their own, and repulsion in a group of 64 too. On a GPU the whole transformer runs them, with random weights, for a
few steps; on a CPU a single block does, after the embedded model end to end. Both print shares of the step, where the
time goes, and what a cost model expects of a GPU. Nothing of this has been measured on a GPU yet.

TORA acts at every block and step with its default settings; repulsion as its paper has it for each model.
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import replace

import diffusers
import torch

from jobs.benchmarks import blocks, cases, cost, embedded, gpu
from pipelines.errors import UserError

_MODELS = {model.name.lower(): model for model in cases.MODELS}
_SPEEDS = {
    "dense": (1e12, "TFLOP/s"),
    "single": (1e12, "TFLOP/s"),
    "double": (1e12, "TFLOP/s"),
    "bandwidth": (1e12, "TB/s"),
    "launch": (1e-6, "microseconds"),
    "round": (1e-6, "microseconds"),
    "alone": (1e9, "GFLOP/s of one multiprocessor, in float64"),
}
"""Assumptions of the cost model that have an option -> its unit, and what the unit is called."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--models", choices=tuple(_MODELS), nargs="+", default=list(_MODELS))
    parser.add_argument("--group-sizes", type=int, nargs="+", default=list(cases.GROUPS), metavar="B")
    parser.add_argument("--prompt-tokens", type=int, nargs="+", default=list(cases.PROMPT_TOKENS), metavar="M")
    parser.add_argument("--large-group", type=int, default=cases.LARGE_GROUP, help="for repulsion alone; 0 for none")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="denoising steps of a run with TORA on a GPU")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the embedded model")
    parser.add_argument("--image-tokens", type=int, default=4096, help="of single blocks; 1024 are 512 x 512 pixels")
    parser.add_argument("--skip-naive", action="store_true", help="leave the papers' own forms out")
    parser.add_argument("--only", choices=("embedded", "blocks", "cost"), help="one part")
    for name, (unit, called) in _SPEEDS.items():
        default = getattr(cost.Gpu(), name) / unit
        parser.add_argument(f"--{name}", type=float, default=default, help=f"of the cost model, in {called}")


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    if options.device == "cuda" and options.only != "cost" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no GPU here; --only cost says what one should take")
    torch.set_num_threads(options.threads)
    models = [_MODELS[name] for name in options.models]
    assumed = cost.Gpu(**{name: getattr(options, name) * unit for name, (unit, _) in _SPEEDS.items()})
    if options.only != "cost":
        print(f"torch {torch.__version__}, diffusers {diffusers.__version__}, {_machine(options)}")
        if options.device == "cuda":
            sizes = (options.group_sizes, options.prompt_tokens, options.large_group)
            for model in models:
                gpu.measure(model, *sizes, steps=options.steps, repeats=options.repeats)
        else:
            _on_cpu(models, options)
    if options.only in (None, "cost"):
        cost.show(models, options.group_sizes, options.prompt_tokens, options.large_group, assumed)
    return 0


def _machine(options: argparse.Namespace) -> str:
    if options.device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()} with {options.threads} threads"


def _on_cpu(models: list[cases.Model], options: argparse.Namespace) -> None:
    naive = not options.skip_naive
    if options.only != "blocks":
        embedded.measure(options.group_sizes, options.dtype, options.repeats, naive)
    if options.only != "embedded":
        for model in models:
            sized = replace(model, image_tokens=options.image_tokens)
            blocks.measure(
                sized, options.group_sizes, options.prompt_tokens, options.large_group, options.repeats, naive
            )
