"""Settings of an evaluation: prompts, sampling, and the arms that are compared on the same prompts and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from models.errors import require
from models.interventions.registry import entry_of
from models.recommended import UNKNOWN, Recommended
from models.spec import InterventionConfig, ModelSpec, Sampling
from pipelines.config import toml
from pipelines.config.arm_sampling import check_sampling
from pipelines.config.arms import ArmLora, loras_of, said
from pipelines.config.borrowed import borrowed
from pipelines.config.drawing import Drawing
from pipelines.config.recommended import build_experiment

Half = Literal["all", "choose", "report"]
"""Which concepts take part: see `Prompts.half`."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """How many prompts of each kind there are, chosen at even distances, and how many pictures of each."""

    per_set: int = 24
    """Most prompts of each rarity, of single things and of relations each; 0 takes all."""
    companions: int = 1
    """Relation prompts of each pair of attribute and shape, each beside another second thing."""
    open: int = 26
    """Most prompts that leave most attributes open, for diversity; 0 takes all."""
    group_size: int = 4
    """Pictures per prompt, made together; 2 or more."""
    wide_group: int = 0
    """Pictures of each open prompt in a further, larger group, as large groups show how much variety there is; 0 makes
    none."""
    groups_per_batch: int = 4
    """Groups of `group_size` that are denoised together; of larger ones as many as have no more pictures."""
    seeds: tuple[int, ...] = (0,)
    """Everything is made once for each: in every arm noise depends on it, the prompt and the picture's number."""
    half: Half = "all"
    """Which concepts: settings that are chosen on one half are reported on the other. A concept, such as "pink heart",
    is in the same half with all its prompts."""
    chosen_on: str = ""
    """Of the half that reports: what the arms' settings were chosen on, in words for the report."""

    def __post_init__(self) -> None:
        leasts = {"per_set": 0, "companions": 1, "open": 0, "group_size": 2, "wide_group": 0, "groups_per_batch": 1}
        for name, least in leasts.items():
            require(getattr(self, name) >= least, name, getattr(self, name), f"needs {least} or more")
        distinct = len({*self.seeds}) == len(self.seeds) > 0
        require(distinct, "seeds", self.seeds, "needs one or more, each once")
        reports, told = self.half == "report", bool(self.chosen_on.strip())
        needed = 'half = "report" needs words on what the settings were chosen on'
        rule = needed if reports else f"half = {self.half!r} says nothing of it; leave it out"
        require(reports == told, "chosen_on", self.chosen_on, rule)


@dataclass(frozen=True, kw_only=True)
class Arm(Drawing):
    """One way to make the pictures of every prompt."""

    question: str = "the methods"
    """Arms with the same question share a table."""
    value: float | None = None
    """Value on the axis of the question's curve; None for an arm that is not a point of it."""
    loras: tuple[ArmLora, ...] | None = None
    """LoRAs that act, as in the arms of a run; None is all of the model's."""
    draw_times: int = 1
    """Pictures that are drawn for each one that is kept; see `pipelines.evaluation.keep`."""

    def settings(self) -> dict[str, Any]:
        """The settings that change pixels, as plain values."""
        loras = {} if self.loras is None else {"loras": said(self.loras)}
        times = {} if self.draw_times == 1 else {"draw_times": self.draw_times}
        return super().settings() | loras | times

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.draw_times >= 1, "draw_times", self.draw_times, "needs 1 or more")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Arms that differ in one setting."""

    question: str
    """As in `Arm`."""
    setting: str
    """A number, such as "tora.sigma", "cads.weight" or "guidance_scale"."""
    values: tuple[float, ...]
    """Values of the setting, one per arm."""
    interventions: tuple[InterventionConfig, ...] = ()
    """As in `Arm`."""

    def arms(self) -> list[Arm]:
        """One arm per value."""
        return [self._arm(value) for value in self.values]

    def _arm(self, value: float) -> Arm:
        name = f"{self.question}: {value:g}"
        base = Arm(name=name, question=self.question, value=value, interventions=self.interventions)
        table, _, key = self.setting.rpartition(".")
        if not table:
            changed: dict[str, Any] = {key: value}
            return replace(base, **changed)
        return replace(base, interventions=tuple(self._changed(config, value) for config in self.interventions))

    def _changed(self, config: InterventionConfig, value: float) -> InterventionConfig:
        table, _, key = self.setting.rpartition(".")
        if entry_of(config).name != table:
            return config
        changed: dict[str, Any] = {key: int(value) if type(getattr(config, key)) is int else value}
        return replace(config, **changed)

    def __post_init__(self) -> None:
        table, _, key = self.setting.rpartition(".")
        owners = {entry_of(config).name: get_type_hints(type(config)) for config in self.interventions}
        kinds = owners.get(table) if table else {"guidance_scale": float}
        if kinds is None or key not in kinds:
            raise ValueError(f"setting = {self.setting!r}: no such setting, or its table [{table}] is missing here")
        if kinds[key] not in (float, int):
            raise ValueError(f"setting = {self.setting!r}: a sweep changes a number, which this setting is not")
        if kinds[key] is int and not all(value.is_integer() for value in self.values):
            raise ValueError(f"values = {self.values!r}: {self.setting!r} is a whole number")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """All settings of an evaluation."""

    output: str
    """Folder of the results: a local path or s3://bucket/folder."""
    name: str = "Raydiance evaluation"
    """Title of the report."""
    model: ModelSpec
    """Which model."""
    oracle: str
    """File with the oracle's weights."""
    scorer: str = ""
    """Folder of an open_clip model, by which arms that draw more pictures than they keep choose; "" where none does."""
    sampling: Sampling
    """Of all arms."""
    prompts: Prompts = field(default_factory=Prompts)
    """Which prompts."""
    arms: tuple[Arm, ...]
    """One or more; the others are compared with the first."""
    sweeps: tuple[Sweep, ...] = ()
    """Further arms."""
    questions: tuple[str, ...] = ()
    """Only the arms of these, and the first one; () is all."""
    recommended: Recommended = field(default=UNKNOWN, compare=False)
    """What sampling and interventions were taken from where the file does not say them."""

    def __post_init__(self) -> None:
        asked = {arm.question for arm in self._every_arm()}
        require({*self.questions} <= asked, "questions", self.questions, f"needs some of {sorted(asked)}")
        names = [arm.name for arm in self._every_arm()]
        if not self.arms or len(set(names)) != len(names):
            raise ValueError(f"arms = {names}: needs one arm or more, each name once")
        for arm in self.all_arms:
            check_sampling(arm.name, arm.own_sampling, self.sampling)
            require(arm.draw_times == 1 or bool(self.scorer), "scorer", self.scorer, f"{arm.name!r} needs one")
            loras_of(arm, self.model)

    @property
    def all_arms(self) -> tuple[Arm, ...]:
        """The named arms, then those of the sweeps, as far as they belong to the questions."""
        first, *others = self._every_arm()
        return (first, *(arm for arm in others if not self.questions or arm.question in self.questions))

    def warnings(self) -> Iterator[str]:
        """What a person should know of settings that are not wrong, a sentence or two each."""
        if self.recommended.warning:
            yield self.recommended.warning
        for arm in self.all_arms:
            acting, sampling = loras_of(arm, self.model), arm.own_sampling.of(self.sampling)
            if found := borrowed(self.model, acting, sampling, arm.interventions, arm.own_sampling.given()):
                yield found.of_arm(arm.name)

    def _every_arm(self) -> list[Arm]:
        return [*self.arms, *(arm for sweep in self.sweeps for arm in sweep.arms())]


def load(path: Path, overrides: Sequence[str] = ()) -> EvaluationConfig:
    """The evaluation in a TOML file.

    The key `like` names another file beside it, to whose tables those of this one are added: single values replace
    its, and arms and sweeps follow its.

    path: of the file.
    overrides: `key.sub=value`, in place of values of the file.

    Raises:
        UserError: when the file cannot be read, or a key or value does not fit.
    """
    lists = {"arms": Arm, "sweeps": Sweep}
    return build_experiment(EvaluationConfig, _with_likeness(path), overrides, lists, file=str(path))


def _with_likeness(path: Path) -> dict[str, Any]:
    table = toml.read(path)
    like = table.pop("like", None)
    if like is None:
        return table
    if not isinstance(like, str):
        raise toml.wrong(str(path), "like", like, "the name of a file beside this one")
    return _merged(toml.read(path.parent / like), table)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = below.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            merged[key] = _merged(under, value)
        elif key in ("arms", "sweeps") and isinstance(value, list) and isinstance(under, list):
            merged[key] = [*under, *value]
        else:
            merged[key] = value
    return merged


def quick(config: EvaluationConfig) -> EvaluationConfig:
    """The same arms on few prompts and the first seed: minutes instead of hours, with wide intervals."""
    few = replace(config.prompts, per_set=2, open=2, seeds=config.prompts.seeds[:1])
    return replace(config, prompts=few, output=f"{config.output}-quick")
