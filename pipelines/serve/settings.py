"""What `serve run` and a Serve YAML can set."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models.spec import Parallelism
from pipelines.dataset.content_credentials import ALGORITHMS, Credentials


def _words(value: Any) -> Any:
    """Command lines give one text where YAML gives a list."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Size = Annotated[str, Field(pattern=r"^[1-9]\d{0,3}x[1-9]\d{0,3}$")]


class ServeArgs(BaseModel):
    """Arguments of the app: `serve run pipelines.serve.app:app steps=20 max_n=4`, or `args:` in a Serve YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: str = ""
    """TOML file of a batch job: its model, scorer, sampling and interventions become the endpoint's."""
    configs: Words = ()
    """Further models, which requests name: configs as `config` is, commas between, each with the settings that differ
    for it, "b.toml,c.toml replicas=2 max_n=4" (`pipelines.serve.several`)."""
    model: str = ""
    """Pipeline folder or hub id; "" takes the config's, and without a config the embedded model."""
    revision: str = ""
    """Revision on the hub, for `model`."""
    dtype: Literal["", "auto", "float32", "bfloat16", "float16"] = ""
    """"" takes the config's; else "auto" as in `models.spec.ModelSpec`, and float32 for the embedded model."""
    device: str = "auto"
    name: str = ""
    """The model's name in the API; "" takes the hub id or the folder's name."""
    plugins: Words = ()
    """Python modules that register interventions and scorers, besides the config's `run.plugins`."""
    scoring: str = ""
    """open_clip model, MODEL or MODEL/PRETRAINED or local-dir:FOLDER; "" takes the config's; "off" scores nothing."""

    size: Size | Literal[""] = ""
    steps: int = Field(default=0, ge=0, le=1000)
    guidance_scale: float = Field(default=-1.0, le=100.0, allow_inf_nan=False)
    max_sequence_length: int = Field(default=-1, le=4096)
    """What a request gets that does not say otherwise; "", 0 and below 0 take the config's or the model's."""

    sizes: Annotated[tuple[Size, ...], BeforeValidator(_words)] = ()
    """Sizes that may be asked for besides the default, "512x512,1024x1024" (width x height)."""
    max_n: int = Field(default=10, ge=1, le=256)
    max_steps: int = Field(default=100, ge=1, le=1000)
    max_inner_steps: int = Field(default=1000, ge=1, le=10_000)
    max_seconds: float = Field(default=10.0, gt=0.0, le=120.0)
    """Of a video."""
    max_prompt_characters: int = Field(default=2000, ge=1, le=100_000)
    max_body_kb: int = Field(default=64, ge=1, le=65_536)
    body_timeout_s: float = Field(default=10.0, gt=0.0)
    """A request whose body has not come after so long is refused with 408."""
    max_uploads: int = Field(default=1024, ge=1, le=100_000)
    max_uploads_per_client: int = Field(default=256, ge=1, le=100_000)
    """Requests whose bodies have not come yet, in all and of one address (of a proxy: for all its callers); more are
    refused with 429."""
    max_pictures_mb: int = Field(default=20, ge=1, le=1024)
    pictures_timeout_s: float = Field(default=60.0, gt=0.0)
    max_picture_uploads: int = Field(default=16, ge=1, le=1000)
    max_picture_uploads_per_client: int = Field(default=8, ge=1, le=1000)
    """The same of bodies with pictures in them, which take more memory."""

    replicas: int = Field(default=1, ge=1)
    """Copies of the model; when autoscaling, those that it starts with."""
    min_replicas: int = Field(default=-1, ge=-1)
    """Fewest copies when autoscaling, 0 to give everything back when nobody asks; -1 takes `replicas`."""
    max_replicas: int = Field(default=0, ge=0)
    """Most copies; 0 takes `replicas`, which means no autoscaling."""
    idle_s: float = Field(default=600.0, ge=1.0)
    """Seconds without need after which autoscaling takes a copy away."""
    gpus_per_replica: float = Field(default=0.0, ge=0.0, le=64.0)
    """A share of one GPU, or a whole number of GPUs that work on the same batches."""
    parallelism: Parallelism = "auto"
    """What several GPUs of a copy divide, as in the batch job's `ray.parallelism`."""
    cpus_per_replica: float = Field(default=1.0, ge=0.0, le=1024.0)
    threads_per_replica: int = Field(default=0, ge=0, le=1024)
    """CPU threads of the model's maths; 0 leaves torch's own choice."""

    groups_per_batch: int = Field(default=8, ge=1, le=256)
    """Most groups that are denoised together."""
    megapixels_per_batch: float = Field(default=8.0, gt=0.0)
    """Most millions of pixels that are denoised together, if more than one group: bounds the memory."""
    pack_wait_ms: float = Field(default=10.0, ge=0.0, le=10_000.0)
    """How long a group waits for others to share its batch, when the model is free."""
    max_queue: int = Field(default=32, ge=1, le=100_000)
    """Requests that wait beyond those that the copies hold; more are refused with 429."""
    queue_timeout_s: float = Field(default=60.0, gt=0.0)
    """A request that has not started after so long is refused with 429."""
    timeout_s: float = Field(default=300.0, gt=0.0)
    """A request that is not done after so long is stopped, with 504."""
    job_timeout_s: float = Field(default=3600.0, gt=0.0)
    """An asynchronous job that is not done after so long is stopped."""
    max_jobs: int = Field(default=100, ge=1, le=100_000)
    """Asynchronous jobs that are not over; more are refused with 429."""
    url_minutes: float = Field(default=60.0, gt=0.0)
    url_cache_mb: int = Field(default=256, ge=1)
    """How long, and in how many MB, images whose URL was asked for and the answers of jobs are kept."""
    state_dir: str = ""
    """Folder for both, also s3://, that every node sees: they survive a redeploy there. "" keeps them in memory."""
    public_url: Annotated[str, Field(pattern=r"^(https?://[^\s?#]+)?$")] = ""
    """Where callers find the endpoint, such as "https://images.example.org/api", for the URLs in its answers; "" takes
    the address that each caller has used."""
    mark: bool = True
    """Whether every image file says in its XMP that a model has made it (`pipelines.dataset.ai_mark`)."""
    c2pa_certificate: str = ""
    c2pa_key: str = ""
    c2pa_algorithm: str = ALGORITHMS[0]
    """PEM files on every worker, and the key's algorithm: with them every image file is signed
    (`pipelines.dataset.content_credentials`)."""

    api_keys_file: str = ""
    """File with one key per line, or "name: key" for logs, metrics and limits, besides the keys in the environment
    variable RAYDIANCE_API_KEYS (commas between)."""
    requests_per_minute: int = Field(default=0, ge=0)
    images_per_minute: int = Field(default=0, ge=0)
    """Most that each key may ask for (without keys all callers together); more are refused with 429. 0 is no limit."""
    repeat_minutes: float = Field(default=60.0, gt=0.0)
    repeat_cache_mb: int = Field(default=256, ge=1)
    """How long, and in how much memory, answers are kept for requests that come again with their Idempotency-Key."""
    allow_anonymous: bool = False
    """Answer without keys on addresses other than loopback, for use behind a proxy that checks who calls."""
    cors_origins: Words = ()
    """Web pages of other origins that may call, such as "https://example.org"."""
    traces: str = ""
    """URL of a collector of OpenTelemetry traces (OTLP over HTTP), "http://127.0.0.1:4318/v1/traces"; "" makes none."""
    log_prompts: bool = False
    """Write prompts and error messages into the log."""

    @model_validator(mode="after")
    def _consistent(self) -> ServeArgs:
        if self.fewest_replicas > self.replicas:
            raise ValueError(f"min_replicas = {self.min_replicas} is above replicas = {self.replicas}")
        if 0 < self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas = {self.max_replicas} is below replicas = {self.replicas}")
        if self.gpus_per_replica > 1 and self.gpus_per_replica % 1:
            raise ValueError(f"gpus_per_replica = {self.gpus_per_replica}: above 1 it is a whole number")
        if 0 < self.images_per_minute < self.max_n:
            raise ValueError(f"images_per_minute = {self.images_per_minute} is below max_n = {self.max_n}")
        if self.config and self.model:
            raise ValueError("give config or model, not both: a config names its own model")
        if self.credentials and not self.mark:
            raise ValueError("images that are signed are marked: leave out mark=false, or c2pa_certificate")
        return self

    @property
    def most_replicas(self) -> int:
        return self.max_replicas or self.replicas

    @property
    def credentials(self) -> Credentials | None:
        """Who signs the images; None for nobody."""
        if not self.c2pa_certificate and not self.c2pa_key:
            return None
        return Credentials(certificate=self.c2pa_certificate, key=self.c2pa_key, algorithm=self.c2pa_algorithm)

    @property
    def fewest_replicas(self) -> int:
        return self.replicas if self.min_replicas < 0 else self.min_replicas
