"""The meaning of the columns of `data/` and `rejected/`, which the dataset card prints."""

from __future__ import annotations

MEANING = b"meaning"
"""Key of a field's metadata that holds the meaning of a column that not every run has."""

COLUMN_MEANING: dict[str, str] = {
    "image": "the picture: encoded bytes, and a file name; a video is a lossless animated WebP, or an MP4",
    "image_id": "hash of the pixels before they became a file; equal ids are equal pictures",
    "index_in_group": "number of the image in its group, from 0",
    "group_size": "images in the group",
    "seed": "seed of the image's own starting noise",
    "group_id": "hash of everything the group is made from",
    "prompt_id": "the prompt's id, from the prompt file or a hash of its text and its row's settings",
    "prompt": "the text that was drawn",
    "prompt_changes": (
        "what was done to the prompt file's text: `composed` (Unicode NFC), `invisible` (characters that show nothing "
        "were taken out), `spaces` (runs of white space became one space); null for nothing"
    ),
    "concept": "the concept the prompt is about, as the prompt file names it",
    "rarity": "how common the concept is, as the prompt file names it",
    "counterfactual": "the prompt with its rare attribute replaced by the common one",
    "arm": "which of the run's settings made the image; arms share prompts and seeds",
    "group_seeds": "seeds of the whole group, in order: repulsion couples its images",
    "steps": "denoising steps",
    "sigmas": "noise levels at which the steps were made, before the sampler's shift; null for the sampler's own",
    "guidance_scale": "classifier-free guidance scale",
    "width": "width in pixels",
    "height": "height in pixels",
    "negative_prompt": "what the guidance moves away from; empty for none",
    "max_sequence_length": "most tokens of the prompt that are read (of its T5 part, where the model has one)",
    "frames": "frames of the video; 1 for a picture",
    "loras": "the LoRAs that acted, each with its scale; empty for none",
    "displacement": (
        "how far each intervention moved the text: the length of its change as a share of the text's, over the tokens "
        "that it moves, on average over blocks, steps and branches; 0 where it moved nothing, null where it is off or "
        "edits no text"
    ),
    "tokens_cut": (
        "for each text encoder of the model, how many of the prompt's last tokens it was not given; null where the "
        "model has no such encoder"
    ),
    "negative_tokens_cut": "the same of the negative prompt; null where the model did not read it",
    "model": "folder or hub id of the model",
    "model_revision": "revision of the model",
    "family": "architecture of the model",
    "dtype": "number format the model ran in",
    "model_options": "how the model was loaded: parts, sampler and weights, VAE in slices or tiles, compiled blocks",
    "scheduler": "sampler class",
    "fingerprint": "hash of the run's settings",
    "clip_model": "the model that scored the image",
    "clip_score": "cosine between image and prompt",
    "clip_margin": "cosine to the prompt less cosine to the counterfactual; null without one",
    "clip_margin_missing": "why there is no margin although there is a counterfactual; null otherwise",
    "clip_tokens_cut": (
        "how many of the last tokens of prompt and counterfactual the scorer did not read; null where it reads no text"
    ),
    "rank_in_group": "1 is the group's best",
    "group_vendi": "diversity of the group: Vendi score of its embeddings, from 1 to the group size",
    "group_pair_similarity": "mean cosine over pairs of the group's images; null for a group of one",
    "nearest_similarity": "highest cosine to another image of the group; null for a group of one",
    "duplicate_of": (
        "image_id of the earlier image that this one repeats: of its group or, in a run with quotas, of its concept"
    ),
    "embedding": "the scorer's image vector, of unit length",
    "keep": "true in `data/`, false in `rejected/`",
    "drop_reason": (
        "why the image was dropped, in a run with quotas also `repeat` or `over quota`; null where it was kept"
    ),
}
"""Column -> meaning. Columns of interventions are not here: `Intervention.meaning` has theirs."""
