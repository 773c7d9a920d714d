"""Serve images: the endpoint, which speaks OpenAI's images API and has a page.

    python jobs/serve.py                                             # the embedded model, on this machine
    python jobs/serve.py config=jobs/configs/demo.toml max_n=4       # the model of a batch job
    python jobs/serve.py model=stabilityai/stable-diffusion-3.5-large gpus_per_replica=1 size=1024x1024
    python jobs/serve.py config=a.toml configs=b.toml,c.toml         # several models
    python jobs/serve.py --host 0.0.0.0 api_keys_file=keys.txt       # on the network, with keys

It starts a Ray of its own on this machine, without a dashboard, or joins one (--address auto). Ctrl-C and SIGTERM end
it when the requests that have begun are answered; new ones get 503 meanwhile. Settings: pipelines/serve/settings.py.
Exit status: 0 ended as told, 2 wrong settings, 130 or 143 ended at once.
"""

from __future__ import annotations

import argparse
import sys

from pipelines import console


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of the endpoint")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; others than loopback need keys")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--address", default="local", help="of a Ray cluster to join; default: a Ray of its own")
    options = parser.parse_args(arguments)
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from pipelines.cluster.session import Stopped
    from pipelines.serve import launch
    from pipelines.serve.arguments import arguments

    args = arguments(options.settings)
    try:
        launch.launch(args, host=options.host, port=options.port, address=options.address)
    except (KeyboardInterrupt, Stopped) as stopped:
        return 143 if isinstance(stopped, Stopped) else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
