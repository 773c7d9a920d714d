"""Measure speed and cost on this machine.

python jobs/bench.py interventions                    # both methods against base and against the papers' forms
python jobs/bench.py interventions --device cuda      # SD3.5-Large and FLUX.1-dev whole, 1024 px, bfloat16
python jobs/bench.py refresh                          # what decomposing in fewer steps changes
python jobs/bench.py pipeline                         # the job against a bare loop and against a plain script
python jobs/bench.py scale                            # planning, the driver, and a 1,000-node run on paper
python jobs/bench.py quotas                           # what quotas take with each way to spend the budget
python jobs/bench.py quotas-embedded                  # the same on the embedded model in four steps
python jobs/bench.py barrier                          # what waiting between the rounds of quotas costs
python jobs/bench.py serve                            # the endpoint: one caller, many callers, the bare generator
python jobs/bench.py parallel                         # a group on 1 to 8 GPUs: a cost model, nothing is run
python jobs/bench.py interventions --help
"""

from __future__ import annotations

import argparse
import sys

from jobs.benchmarks import barrier, interventions, parallel, pipeline, quotas, quotas_embedded, refresh, scale, serve
from pipelines import console

BENCHMARKS = {
    "interventions": interventions,
    "refresh": refresh,
    "pipeline": pipeline,
    "scale": scale,
    "quotas": quotas,
    "quotas-embedded": quotas_embedded,
    "barrier": barrier,
    "serve": serve,
    "parallel": parallel,
}
"""Sub-command -> module with `add_arguments` and `run`; the first line of its docstring is its help."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, module in BENCHMARKS.items():
        doc = module.__doc__ or ""
        command = commands.add_parser(
            name, help=doc.splitlines()[0], description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
    options = parser.parse_args(arguments)
    return console.guarded(lambda: BENCHMARKS[options.benchmark].run(options))


if __name__ == "__main__":
    sys.exit(main())
