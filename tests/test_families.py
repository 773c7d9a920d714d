"""What must hold of every family, on toy pipelines of the real classes that are loaded from disk."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.hooks import FirstBlockCacheConfig, HookRegistry, apply_first_block_cache
from diffusers.hooks._helpers import TransformerBlockRegistry
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models.errors import ModelError, PromptError
from models.families import FAMILIES, family_of
from models.families.base import BlockList, Family
from models.generator import Generator
from models.interventions.hooks import HOOK
from models.interventions.prompt_direction import PromptDirection
from models.spec import Group, ModelSpec, RepulsionConfig, Sampling, ToraConfig
from tests.toys import pipelines as toys

TORA = ToraConfig(sigma=4.0)
REPULSION = RepulsionConfig(strength=10.0, inner_steps=5, steps=(0.0, 0.5))
BOTH: dict[str, Any] = {"tora": TORA, "repulsion": REPULSION}
SEEDS = (11, 12, 13)
TOLERANCE = 1e-4
"""Of float32 transformer outputs, relative to their largest: other batch shapes sum in another order, and blocks and
steps amplify it."""


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A loaded toy pipeline and what it is run with."""

    family: Family
    generator: Generator
    sampling: Sampling
    image: bytes | None

    @property
    def pipe(self) -> Any:
        return self.generator._pipe

    def group(self, prompt: str = "a red star", seeds: tuple[int, ...] = SEEDS, **changes: Any) -> Group:
        return Group(prompt=prompt, seeds=seeds, **{"sampling": self.sampling, "image": self.image, **changes})

    def blocks(self) -> list[tuple[BlockList, nn.Module]]:
        return [(facts, b) for facts in self.family.block_lists for b in getattr(self.pipe.transformer, facts.name)]

    def outputs(self, *groups: Group) -> Tensor:
        """What the transformer predicts for the last step, [rows, ...]: every image's own rows lie apart."""
        calls: list[Tensor] = []
        record = self.pipe.transformer.register_forward_hook(lambda _m, _a, out: calls.append(out[0]))
        try:
            self.generator.generate(groups)
        finally:
            record.remove()
        return calls[-1].float()

    def images(self, *groups: Group) -> list[Tensor]:
        """The positive branch of `outputs`, one [B, ...] per group of equal size."""
        rows = sum(len(group.seeds) for group in groups)
        return list(self.outputs(*groups)[-rows:].chunk(len(groups)))


def picture(*, dark: bool = False) -> bytes:
    pixels = np.indices((24, 32)).sum(0)[..., None] * np.array([1, 2, 1] if dark else [4, 3, 2])
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session", params=[family.name for family in FAMILIES])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = toys.save(request.param, tmp_path_factory.mktemp(request.param))
    generator = Generator(ModelSpec(path=folder, dtype="float32"))
    family = generator._family
    _spare(family, generator._pipe)
    side = max(16, family.size_multiple(generator._pipe))
    return Toy(
        family=family,
        generator=generator,
        sampling=Sampling(
            steps=2,
            guidance_scale=3.0,
            width=side,
            height=side,
            max_sequence_length=64,
            frames=1 + family.frame_step,
        ),
        image=picture() if family.edits else None,
    )


def _spare(family: Family, pipe: Any) -> None:
    """Save time: less padding, and a picture of one megapixel that goes through the autoencoder once."""
    if family.name == "hunyuan-image":
        pipe.tokenizer_max_length = 64
    if family.edits:
        encode = pipe._encode_vae_image
        known: dict[bytes, Tensor] = {}

        def encode_once(image: Tensor, generator: Any) -> Tensor:
            key = image.numpy().tobytes()
            if key not in known:
                known[key] = encode(image=image, generator=generator)
            return known[key]

        pipe._encode_vae_image = encode_once


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def stock(toy: Toy) -> NDArray[np.uint8]:
    """The prompt's images from the pipeline itself, which encodes the text and expands it in its own way."""
    pipe, family, sampling = toy.pipe, toy.family, toy.sampling
    many = {"prompt": ["a red star"] * len(SEEDS)}
    arguments = family.arguments(pipe, {}, None, sampling) | many
    accepted = inspect.signature(pipe.__call__).parameters
    if "max_sequence_length" in accepted:
        positions = getattr(pipe.transformer.config, "max_text_seq_length", sampling.max_sequence_length)
        arguments["max_sequence_length"] = positions
    if family.name == "qwen-image":
        arguments["negative_prompt"] = [""] * len(SEEDS)
    if family.name == "chroma":  # its own mask does not mask; see models/families/chroma.py
        embeds, _, mask, negative, _, negative_mask = pipe.encode_prompt(
            **many, max_sequence_length=sampling.max_sequence_length
        )
        arguments |= {"prompt": None, "prompt_embeds": embeds, "prompt_attention_mask": mask.bool()}
        arguments |= {"negative_prompt_embeds": negative, "negative_prompt_attention_mask": negative_mask.bool()}
    if toy.image is not None:
        opened = Image.open(io.BytesIO(toy.image)).convert("RGB")
        shared = family.encode(pipe, "a red star", opened, sampling).shared
        arguments |= {"prompt": "a red star", "num_images_per_prompt": len(SEEDS), **shared}
        arguments |= {"negative_prompt": ""} if family.has_negative(pipe, sampling) else {}
    arguments |= {"generator": [torch.Generator().manual_seed(seed) for seed in SEEDS], "output_type": "np"}
    with torch.inference_mode():
        made = pipe(**arguments)
    pictures: NDArray[np.float32] = made.frames if family.frames_per_second else made.images
    return np.rint(pictures * 255).astype(np.uint8)


def test_without_interventions_it_is_the_stock_pipeline(toy: Toy) -> None:
    made = toy.generator.generate([toy.group()])[0]
    video = (toy.sampling.frames,) if toy.family.frames_per_second else ()
    assert made.shape == (len(SEEDS), *video, toy.sampling.height, toy.sampling.width, 3)
    assert made.std() > 5
    assert np.array_equal(made, stock(toy))


def test_settings_that_do_nothing_change_no_bit(toy: Toy) -> None:
    base = toy.outputs(toy.group())
    nothing: dict[str, Any] = {"tora": ToraConfig(sigma=1.0, angle=0.0), "repulsion": RepulsionConfig(strength=0.0)}
    assert torch.equal(toy.outputs(toy.group(**nothing)), base)
    alone = toy.group(seeds=SEEDS[:1])
    assert torch.equal(toy.outputs(replace(alone, repulsion=REPULSION)), toy.outputs(alone))
    assert torch.equal(toy.outputs(toy.group()), base)


def test_interventions_act_alike_every_time_and_leave_no_trace(toy: Toy) -> None:
    base = toy.outputs(toy.group())
    for name, config in BOTH.items():
        settings = {name: config}
        changed = toy.outputs(toy.group(**settings))
        assert apart(changed, base) > 5 * TOLERANCE
        assert torch.equal(toy.outputs(toy.group(**settings)), changed)
    for module in (toy.pipe.transformer, *(block for _, block in toy.blocks())):
        assert HOOK not in module._diffusers_hook.hooks


def test_a_group_depends_on_itself_alone(toy: Toy) -> None:
    groups = [toy.group(**BOTH), toy.group("a blue ring", (21, 22, 23), **BOTH)]
    together = toy.images(*groups)
    for group, made in zip(groups, together, strict=True):
        assert apart(made, toy.images(group)[0]) < TOLERANCE
    mirrored = toy.images(replace(groups[0], seeds=SEEDS[::-1]))[0]
    assert apart(mirrored.flip(0), together[0]) < TOLERANCE


def test_equal_samples_are_not_pushed(toy: Toy) -> None:
    equal = toy.group(seeds=(7, 7, 7))
    made = toy.outputs(replace(equal, repulsion=REPULSION))
    assert torch.isfinite(made).all()
    assert apart(made, toy.outputs(equal)) < TOLERANCE


@contextmanager
def texts(toy: Toy, seen: Callable[[int, Tensor, bool], None]) -> Iterator[None]:
    """Show `seen` the tensor that holds the text at every block: (block number, tensor, is it the output?)."""

    def before(index: int, facts: BlockList) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            name = facts.text_argument
            seen(index, kwargs[name] if name in kwargs else args[facts.text_position], False)

        return hook

    def after(index: int, facts: BlockList) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, out: Any) -> None:
            text = out if facts.text_output is None else out[facts.text_output]
            if text is not None:
                seen(index, text, True)

        return hook

    handles = []
    for index, (facts, block) in enumerate(toy.blocks()):
        handles.append(block.register_forward_pre_hook(before(index, facts), with_kwargs=True))
        handles.append(block.register_forward_hook(after(index, facts)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_the_text_is_where_the_table_says(toy: Toy) -> None:
    """The first block's text is the same for every seed; every block takes the text that the one before it gave."""
    encoded = toy.generator._texts.encode("a red star", toy.image, toy.sampling)
    length, rows = len(encoded.valid_N), slice(-len(SEEDS), None)
    taken: dict[int, Tensor] = {}
    given: dict[int, Tensor] = {}

    def note(index: int, tensor: Tensor, output: bool) -> None:
        store = given if output else taken
        if index not in store:
            joined = toy.blocks()[index][0].text_output is None
            assert tensor.shape[1] > length if joined else tensor.shape[1] == length
            store[index] = tensor[rows, :length]

    with texts(toy, note):
        toy.generator.generate([toy.group()])
    assert torch.equal(taken[0], taken[0][:1].expand_as(taken[0]))
    assert apart(given[0], given[0][:1].expand_as(given[0])) > 1e-6
    assert set(taken) == set(range(len(toy.blocks())))
    for index in range(1, len(taken)):
        assert torch.equal(taken[index], given[index - 1])


def test_the_valid_tokens_are_those_that_are_not_padding(toy: Toy) -> None:
    """Against the token ids that the language model gets; the toy tokenizers pad with 0. CLIP is not asked."""
    seen: list[Tensor] = []

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((kwargs["input_ids"] if "input_ids" in kwargs else args[0])[0] != 0)

    parts = toy.pipe.components.items()
    models = [m for name, m in parts if name.startswith("text_encoder") and "CLIP" not in str(type(m))]
    handles = [model.register_forward_pre_hook(note, with_kwargs=True) for model in models]
    opened = None if toy.image is None else Image.open(io.BytesIO(toy.image)).convert("RGB")
    try:
        with torch.inference_mode():
            valid = toy.family.encode(toy.pipe, "a red star", opened, toy.sampling).valid_N
    finally:
        for handle in handles:
            handle.remove()
    expected = seen[-1][-len(valid) :]  # the template's beginning is cut off
    if toy.family.name == "hunyuan-image":  # which puts its second encoder's padding behind
        assert not valid[len(expected) - 34 :].any()
        valid, expected = valid[: len(expected) - 34], expected[34:]
    assert torch.equal(valid[-len(expected) :], expected)


def test_padding_takes_no_part(toy: Toy) -> None:
    """TORA neither reads nor writes padding; tokens that the model does not read do not matter at all."""
    encoded = toy.generator._texts.encode("a red star", toy.image, toy.sampling)
    valid, attended = encoded.valid_N, encoded.attended_N
    assert int(valid.sum()) >= 3
    assert not (valid & ~attended).any()
    outside: list[Tensor] = []
    inside: list[Tensor] = []
    facts, block = toy.blocks()[0]
    inner = block.forward

    def spy(*args: Any, **kwargs: Any) -> Any:
        text = kwargs[facts.text_argument] if facts.text_argument in kwargs else args[facts.text_position]
        inside.append(text[-len(SEEDS) :])
        return inner(*args, **kwargs)

    with texts(toy, lambda index, text, output: None if index or output else outside.append(text[-len(SEEDS) :])):
        toy.generator.generate([toy.group()])
    block.forward = spy
    try:
        toy.generator.generate([toy.group(tora=TORA)])
    finally:
        block.forward = inner
    changed = (inside[0] != outside[0]).any(-1)
    assert torch.equal(changed, valid.expand_as(changed))


def test_text_that_the_model_does_not_read_does_not_matter(toy: Toy) -> None:
    """In a batch with a longer prompt, or at the model's own length, noise in masked tokens changes nothing."""
    groups = [toy.group(**BOTH), toy.group("a blue ring", (21, 22, 23), **BOTH)]
    cache = toy.generator._texts
    encoded = [cache.encode(group.prompt, group.image, group.sampling) for group in groups]
    if not any("mask" in name for name in encoded[0].arguments):
        pytest.skip("the model reads all its text tokens")
    before = toy.images(*groups)
    key = (groups[0].prompt, groups[0].image, groups[0].sampling)
    kept = cache._kept[key]
    padded = {
        name: value if "mask" in name or value.ndim < 3 else _noise_in_masked(kept.arguments, name)
        for name, value in kept.arguments.items()
    }
    cache._kept[key] = replace(kept, arguments=padded)
    try:
        after = toy.images(*groups)
    finally:
        cache._kept[key] = kept
    assert apart(after[0], before[0]) < TOLERANCE
    assert apart(after[1], before[1]) < TOLERANCE


def _noise_in_masked(arguments: dict[str, Tensor], name: str) -> Tensor:
    masks = {
        "prompt_embeds": ("prompt_embeds_mask", "prompt_attention_mask"),
        "prompt_embeds_2": ("prompt_embeds_mask_2",),
    }
    mask = next(arguments[m] for m in masks[name] if m in arguments).bool()
    noise = 30.0 * torch.randn(arguments[name].shape, generator=torch.Generator().manual_seed(5))
    return torch.where(mask[:, :, None], arguments[name], noise)


def test_the_semantic_vector_is_the_difference_at_the_first_block(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    if toy.family.layout == "one_call":
        pytest.skip("both branches are in every call")
    found: list[Tensor] = []
    first_block = PromptDirection.first_block

    def note(self: PromptDirection, text_BND: Tensor) -> None:
        first_block(self, text_BND)
        found.append(self.value)

    monkeypatch.setattr(PromptDirection, "first_block", note)
    toy.generator.generate([toy.group(tora=TORA)])
    monkeypatch.undo()

    means = [_mean_at_first_block(toy, prompt) for prompt in ("a red star", "")]
    assert (found[0] - (means[0] - means[1])).abs().max() < 1e-5 * means[0].abs().max()


def _mean_at_first_block(toy: Toy, prompt: str) -> Tensor:
    valid_N = toy.generator._texts.encode(prompt, toy.image, toy.sampling).valid_N
    taken: list[Tensor] = []
    with texts(toy, lambda index, text, output: None if index or output else taken.append(text)):
        toy.generator.generate([toy.group(prompt)])
    return taken[0][:, valid_N].mean(1)


def test_the_table_agrees_with_diffusers(toy: Toy) -> None:
    family, pipe = toy.family, toy.pipe
    assert type(pipe).__name__ in family.pipelines
    assert type(pipe.transformer).__name__ == family.transformer
    call = inspect.signature(type(pipe).__call__).parameters
    encoded = toy.generator._texts.encode("a red star", toy.image, toy.sampling)
    negative = encoded.arguments if family.has_negative(pipe, toy.sampling) else None
    used = {*family.arguments(pipe, encoded.arguments, negative, toy.sampling), *encoded.shared}
    assert used | {"generator", "output_type", "callback_on_step_end"} <= set(call)
    forward = inspect.signature(type(pipe.transformer).forward).parameters
    assert set(family.text_inputs) <= set(forward)
    assert set(family.text_inputs.values()) <= set(encoded.arguments)
    for facts, block in toy.blocks():
        parameters = [*inspect.signature(type(block).forward).parameters]
        assert parameters.index(facts.text_argument) == facts.text_position + 1  # after self
        if type(block) in TransformerBlockRegistry._registry:
            known = TransformerBlockRegistry.get(type(block))
            assert known.return_encoder_hidden_states_index == facts.text_output


def test_no_joint_block_list_is_forgotten(toy: Toy) -> None:
    lists = {name for name, child in toy.pipe.transformer.named_children() if isinstance(child, nn.ModuleList)}
    assert lists == {facts.name for facts in toy.family.block_lists}


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("toy", names, indirect=True)


@only(*toys.DISTILLED)
def test_distilled_checkpoints_run_on_the_positive_text_alone(toy: Toy) -> None:
    calls: list[int] = []
    count = toy.pipe.transformer.register_forward_hook(lambda _m, _a, out: calls.append(len(out[0])))
    try:
        assert np.array_equal(toy.generator.generate([toy.group()])[0], stock(toy))
    finally:
        count.remove()
    assert calls == [len(SEEDS)] * toy.sampling.steps * 2
    base = toy.outputs(toy.group())
    for name, config in BOTH.items():
        assert apart(toy.outputs(toy.group(**{name: config})), base) > 5 * TOLERANCE


@only("flux2-klein")
def test_compiled_blocks_give_the_same(toy: Toy) -> None:
    group = toy.group(tora=TORA, repulsion=REPULSION)
    plain = toy.outputs(group)
    compiled = [toy.blocks()[0][1], toy.blocks()[-1][1]]
    for block in compiled:
        block.compile(backend="eager")
    try:
        assert apart(toy.outputs(group), plain) < TOLERANCE
    finally:
        for block in compiled:
            block._compiled_call_impl = None
        torch.compiler.reset()


@only("sd3")
def test_chunked_feed_forward_gives_the_same(toy: Toy) -> None:
    group = toy.group(**BOTH)
    plain = toy.outputs(group)
    toy.pipe.transformer.enable_forward_chunking(chunk_size=2, dim=1)
    try:
        assert apart(toy.outputs(group), plain) < TOLERANCE
    finally:
        toy.pipe.transformer.disable_forward_chunking()


@only("cogview4", "hunyuan-image", "flux-kontext")
def test_prompts_that_cannot_share_a_batch_are_made_one_after_the_other(toy: Toy) -> None:
    other: dict[str, Any] = {"image": picture(dark=True)} if toy.family.edits else {}
    groups = [toy.group(**BOTH), toy.group("a sign that says 'a long word'", **BOTH, **other), toy.group("x", **BOTH)]
    steps: list[tuple[int, int]] = []
    made = toy.generator.generate(groups, lambda done, of: steps.append((done, of)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for group, images in zip(groups, made, strict=True):
        assert np.abs(images.astype(int) - toy.generator.generate([group])[0]).max() <= 1


@only("flux", "sd3")
def test_refuses_what_hides_blocks(toy: Toy) -> None:
    transformer = toy.pipe.transformer
    apply_first_block_cache(transformer, FirstBlockCacheConfig(threshold=0.1))
    try:
        with pytest.raises(ModelError, match=r"fbc_.*disable the cache"):
            toy.generator.generate([toy.group(tora=TORA)])
    finally:
        for name in ("fbc_leader_block_hook", "fbc_block_hook"):
            HookRegistry.check_if_exists_or_initialize(transformer).remove_hook(name)
    transformer.compile(backend="eager")
    try:
        with pytest.raises(ModelError, match="compiled as a whole"):
            toy.generator.generate([toy.group(tora=TORA)])
    finally:
        transformer._compiled_call_impl = None


def test_refuses_what_the_family_cannot_do(toy: Toy) -> None:
    def change(**sampling: Any) -> Group:
        return toy.group(sampling=replace(toy.sampling, **sampling))

    with pytest.raises(ModelError, match=r"sampling.width = \d+: .* multiple of"):
        toy.generator.generate([change(width=toy.sampling.width + 1)])
    with pytest.raises(ModelError, match=r"sampling.frames = 3"):
        toy.generator.generate([change(frames=3)])
    with pytest.raises(ModelError, match="negative_prompt = 'blurry' has no effect"):
        toy.generator.generate([change(negative_prompt="blurry", guidance_scale=1.0)])
    with pytest.raises(PromptError, match=r"needs an input image|takes no input image"):
        toy.generator.generate([toy.group(image=None if toy.family.edits else picture())])
    if toy.family.edits:
        with pytest.raises(PromptError, match="cannot be read"):
            toy.generator.generate([toy.group(image=b"no picture")])
    with pytest.raises(PromptError, match="tokens longer"):
        toy.generator.generate([toy.group("star " * 300)])


@pytest.mark.parametrize(
    "name",
    ["ZImagePipeline", "Lumina2Pipeline", "SanaPipeline", "PixArtSigmaPipeline", "WanPipeline", "FluxFillPipeline"],
)
def test_refuses_other_pipelines_by_name(name: str) -> None:
    pipeline = getattr(diffusers, name)
    with pytest.raises(ModelError, match=f"{name} is not supported.*FluxPipeline"):
        family_of(pipeline.__new__(pipeline))
