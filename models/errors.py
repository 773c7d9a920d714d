"""Errors that name what is wrong with a model or a prompt, for the stages and jobs to show."""


class ModelError(ValueError):
    """The model cannot be loaded or cannot be used with these settings."""


class PromptError(ValueError):
    """One prompt cannot be encoded; other prompts are not affected."""


class ImageError(ValueError):
    """The model produced something that is not a picture (NaN or infinite values)."""
