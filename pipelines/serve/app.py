"""The endpoint as a Ray Serve app.

    serve run pipelines.serve.app:app                                            the embedded model, on this machine
    serve run pipelines.serve.app:app config=jobs/configs/demo.toml max_n=4      the model of a batch job
    serve run pipelines.serve.app:app model=stabilityai/stable-diffusion-3.5-large gpus_per_replica=1 size=1024x1024
    serve run pipelines.serve.app:app config=a.toml configs=b.toml,c.toml        several models

It listens on 127.0.0.1:8000. A Serve YAML with `import_path: pipelines.serve.app:app` and `args:` does the same, and
sets the address; on other addresses than loopback it asks for API keys.
"""

# No postponed annotations: Serve reads the builder's.

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig
from ray.serve.handle import DeploymentHandle

from pipelines.serve import keys, repeats, traces
from pipelines.serve.answers import ImagesDesk
from pipelines.serve.door import Door
from pipelines.serve.engine import ServeEngine
from pipelines.serve.serve_desk import ServeDesk
from pipelines.serve.settings import ServeArgs
from pipelines.serve.several import Models, models_of, offered

_log = logging.getLogger("ray.serve")
_QUICK_REQUESTS = 1000
"""Requests that the web process has open besides those that wait: probes, metrics and refusals, answered at once."""
_ENDING_SECONDS = 30.0
"""Between the end of a request's time and its last byte."""


class Desk(ImagesDesk):
    """The deployment of the desk, which has the jobs and the images that are returned as URLs.

    args: the settings.
    workers: handles of the deployments of `Worker`, one for each model.
    """

    def __init__(self, args: ServeArgs, *workers: DeploymentHandle[Any]) -> None:
        super().__init__(_models(args, workers))


class Web:
    """The deployment of the web process, which has the counters.

    args: the settings.
    desk: handle of the deployment of `Desk`.
    workers: handles of the deployments of `Worker`, one for each model.

    Raises:
        UserError: when the API keys cannot be read, or are needed and missing.
    """

    def __init__(self, args: ServeArgs, desk: DeploymentHandle[Any], *workers: DeploymentHandle[Any]) -> None:
        from ray.serve.context import _get_global_client

        self._args, self._workers, self._desk = args, workers, desk
        self._door = Door()
        self._keys = keys.read(args.api_keys_file)
        client: Any = _get_global_client()
        keys.require_for(client.http_config.host, self._keys, allow_anonymous=args.allow_anonymous)

    def __serve_build_asgi_app__(self) -> FastAPI:
        from pipelines.serve.web import create_app

        return create_app(_models(self._args, self._workers), ServeDesk(self._desk), self._keys, self._door)

    async def close(self, seconds: float) -> int:
        """As `Door.close`."""
        return await self._door.close(seconds)


def _models(args: ServeArgs, workers: Sequence[DeploymentHandle[Any]]) -> Models:
    return models_of(args, [ServeEngine(one) for one in workers])


def app(args: ServeArgs) -> Application:
    """The Ray Serve application: one web process in front of the models, each with its copies.

    Raises:
        UserError: when a setting does not fit.
    """
    from pipelines.serve.worker import Worker

    traces.check(args.traces)
    models = offered(args)  # which fails here, at start-up, not in a worker
    for warning in dict.fromkeys(warning for model in models for warning in model.serving.warnings):
        _log.warning(warning)
    deployment: Any = serve.deployment  # its overloads do not allow options beside the class
    workers = [
        deployment(
            Worker,
            name=f"Worker{number}" if number > 1 else "Worker",
            ray_actor_options={"num_cpus": model.args.cpus_per_replica, "num_gpus": model.args.gpus_per_replica},
            max_ongoing_requests=_held(model.args),
            max_queued_requests=model.args.max_queue,
            graceful_shutdown_timeout_s=shutdown_s(args),
            **_scale(model.args),
        ).bind(model.args)
        for number, model in enumerate(models, 1)
    ]
    # It is replaced at once, as its jobs go on in the process that follows, where they have a folder.
    desk = deployment(Desk, name="Desk", ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=_QUICK_REQUESTS)
    web = deployment(serve.ingress()(Web), name="Web", **_web_options(args))
    built: Application = web.bind(args, desk.bind(args, *workers), *workers)
    return built


def _held(args: ServeArgs) -> int:
    """Requests that a copy of the model holds: one batch is denoised while the next one waits and is packed."""
    return 2 * args.groups_per_batch


def shutdown_s(args: ServeArgs) -> float:
    """How long a process that is replaced may finish what it has: every request ends before, answered or stopped."""
    longest = max(model.args.timeout_s for model in offered(args))
    return longest + max(args.body_timeout_s, args.pictures_timeout_s) + _ENDING_SECONDS


def _web_options(args: ServeArgs) -> dict[str, Any]:
    """Options of the web process.

    It has room for requests whose bodies come, that wait for a worker or for the answer to an equal one, and that are
    answered at once. All but the last have limits of their own, so that these always have room.
    """
    of_models = sum(one.most_replicas * _held(one) + one.max_queue for one in (model.args for model in offered(args)))
    waiting = args.max_uploads + args.max_picture_uploads + of_models + repeats.MOST_WAITING
    return {
        "ray_actor_options": {"num_cpus": 0.1},
        "max_ongoing_requests": waiting + _QUICK_REQUESTS,
        "max_queued_requests": _QUICK_REQUESTS,
        "backpressure_config": {"status_code": 429, "retry_after_s": 1},
        "graceful_shutdown_timeout_s": shutdown_s(args),
    }


def _scale(args: ServeArgs) -> dict[str, Any]:
    if args.max_replicas == 0 and args.fewest_replicas == args.replicas:
        return {"num_replicas": args.replicas}
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=args.fewest_replicas,
            initial_replicas=args.replicas,
            max_replicas=args.most_replicas,
            target_ongoing_requests=args.groups_per_batch,
            downscale_delay_s=args.idle_s,
        )
    }
