"""One family of errors for people: `place: fault. remedy.` The command line prints them without a traceback."""

from __future__ import annotations


class CopgkitError(Exception):
    """Something the user can mend. The message names the place, the fault and the remedy."""


class RecipeError(CopgkitError):
    """The recipe cannot be read, or asks for something that does not exist."""


class PluginError(CopgkitError):
    """A plugin is missing, broken, in conflict with another, or breaks its contract."""


class DataError(CopgkitError):
    """A data file is missing, or one of its rows is not what was promised."""


class RewardError(CopgkitError):
    """A reward source raised, or returned something that is not one finite score per completion."""


class ModelError(CopgkitError):
    """A model or tokenizer cannot be loaded, or does not fit its use."""


class TrainingError(CopgkitError):
    """Training cannot go on: the loss is not finite, or the data has no signal."""
