"""A small job on tiny models, to run in this process or as a command."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.synth import main

Synth = Callable[..., int]

PROMPT_LINES = [
    {"prompt": "a red square", "rarity": "common"},
    {"prompt": "a star <b>", "rarity": "rare", "counterfactual": "a sun"},
    {"prompt": "x" * 40, "rarity": "rare"},  # longer than the tiny text encoder reads
    {"prompt": ""},
    {"prompt": "a dot"},
]


def write_job(folder: Path, pipeline: str, clip: str, lines: Sequence[Any] = PROMPT_LINES) -> Synth:
    """Write a config and prompts into `folder`; the result runs the job in this process, its output in `folder/out`."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    toml = folder / "run.toml"
    toml.write_text(f"""
        run = {{output = "{folder}/out", name = "Toy", seed = 1}}
        prompts = {{path = "{prompts}"}}
        model = {{path = "{pipeline}", dtype = "float32"}}
        scoring = {{model = "{clip}"}}
        sampling = {{steps = 2, guidance_scale = 4.0, width = 16, height = 16, max_sequence_length = 16}}
        group = {{size = 3, groups_per_batch = 2}}
        repulsion = {{inner_steps = 2}}
        output = {{groups_per_shard = 2}}
        arms = [{{name = "stock"}}, {{name = "both", tora = true, repulsion = true}}]
    """)

    def run(*overrides: str, flags: Sequence[str] = ()) -> int:
        settings = [word for override in overrides for word in ("--set", override)]
        return main(["--config", str(toml), *settings, *flags])

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything that must be the same in equal runs: all but the report (its timings) and what shows them."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet")) if path.is_file()
    }
