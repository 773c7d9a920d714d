"""Training of the embedded model: what the shipped pipeline relies on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPTokenizer

from models.embedded import WEIGHTS
from models.embedded.training.attention import plain_attention
from models.embedded.training.mmdit import TextToLatent
from models.embedded.training.tokenizer import MAX_TOKENS, build_tokenizer


@torch.inference_mode()
def test_one_counted_token_stands_for_any_number_of_empty_t5_tokens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(tmp_path)
    model = TextToLatent(tokenizer, 4, 8).eval()
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.05)
    captions = ["a red circle", "a star on night", "a thing"]
    counts = (0, 5, 40)
    ids = tokenizer(captions, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt").input_ids
    latents_BCHW, sigma_B = torch.randn(3, 4, 8, 8), torch.rand(3)
    with plain_attention(torch.tensor(counts)):
        short = model(latents_BCHW, sigma_B, ids)
    with plain_attention(torch.zeros(3)):
        without = model(latents_BCHW, sigma_B, ids)
    for i, count in enumerate(counts):
        outputs = [e(ids[i : i + 1], output_hidden_states=True) for e in (model.text_encoder, model.text_encoder_2)]
        text = F.pad(torch.cat([output.hidden_states[-2] for output in outputs], dim=-1), (0, 0, 0, count))
        stock = model.transformer(
            hidden_states=latents_BCHW[i : i + 1],
            timestep=sigma_B[i : i + 1] * 1000.0,
            encoder_hidden_states=text,
            pooled_projections=torch.cat([output.text_embeds for output in outputs], dim=-1),
            return_dict=False,
        )[0]
        torch.testing.assert_close(short[i : i + 1], stock, atol=1e-5, rtol=1e-5)
        assert count == 0 or (without[i] - short[i]).abs().max() > 1e-3


def test_plain_attention_leaves_the_library_as_it_was() -> None:
    fused = F.scaled_dot_product_attention
    with pytest.raises(ZeroDivisionError), plain_attention(torch.ones(2)):
        _ = 1 // 0
    assert F.scaled_dot_product_attention is fused


@pytest.mark.parametrize("part", ["tokenizer", "tokenizer_2"])
def test_words_have_the_ids_that_the_shipped_weights_were_trained_with(part: str, tmp_path: Path) -> None:
    shipped = CLIPTokenizer.from_pretrained(WEIGHTS / "pipeline" / part)
    assert shipped.get_vocab() == build_tokenizer(tmp_path).get_vocab()
