"""Make a dataset from prompts.

    python jobs/synth.py --config jobs/configs/demo.toml
    python jobs/synth.py --config jobs/configs/demo.toml --set group.size=8 --set run.output=out/eight
    python jobs/synth.py --config jobs/configs/demo.toml --dry-run
    python jobs/synth.py --config jobs/configs/demo.toml --retry-failed
    ray job submit --working-dir . -- python jobs/synth.py --config jobs/configs/demo.toml

The same command resumes an interrupted run. With more prompts, or with a higher group.groups_per_prompt, it extends the
run by the new groups. Exit status: 0 done, 1 no image could be made or the run is not complete, 2 wrong input or
settings, 130 or 143 stopped (run it again to continue).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pipelines import console
from pipelines.config.load import load
from pipelines.config.run import RunConfig
from pipelines.flows.warnings import of_arms, of_model


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=Path, help="TOML file with the settings of the run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replaces one setting")
    parser.add_argument(
        "--dry-run", action="store_true", help="read and check everything, print the plan, make nothing"
    )
    parser.add_argument("--retry-failed", action="store_true", help="also make the failed groups again, and only those")
    parser.add_argument(
        "--break-lock", action="store_true", help="write to the output even if another job seems to; see run.lock"
    )
    options = parser.parse_args(arguments)
    return console.guarded(lambda: _run(load(options.config, options.set), options))


def _run(settings: RunConfig, options: argparse.Namespace) -> int:
    for warning in (*of_model(settings), *of_arms(settings)):
        print(f"warning: {warning}", file=sys.stderr)
    if options.dry_run:
        from pipelines.flows import dry_run

        print(dry_run.describe(settings))
        return 0
    from pipelines.flows.synth import (
        run,
    )  # imports Ray and torch, which takes seconds: errors in the config show first

    summary = run(settings, retry_failed=options.retry_failed, break_lock=options.break_lock)
    print(console.table(summary))
    if (
        ":/" not in settings.run.output
        and not Path(settings.run.output).is_absolute()
        and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    ):
        print(
            "run.output is relative, so it lies in Ray's copy of the working directory, which Ray removes in the end."
        )
    return 0 if summary.complete and summary.images_kept + summary.images_rejected else 1


if __name__ == "__main__":
    sys.exit(main())
