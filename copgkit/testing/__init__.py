"""Contract tests for plugin authors: what every component must keep, each rule one test with a name that is a sentence.

    from copgkit.testing import RewardSourceContract

    class TestBrevity(RewardSourceContract):
        component = Brevity
        options = {"scale": 2.0}

pytest collects the rules as tests of that class. `check_reward_source(Brevity, {"scale": 2.0})` runs them without
pytest and gives the rules that do not hold; `copgkit plugins check brevity` does so from the command line. pytest is
not imported here. A rule that a component has a good reason to break is overridden in the author's class, where the
reason can be read.
"""

from copgkit.testing.evaluators import EvaluatorContract, check_evaluator
from copgkit.testing.prompt_sources import PromptSourceContract, check_prompt_source
from copgkit.testing.reward_sources import RewardSourceContract, check_reward_source
from copgkit.testing.rules import Broken, Contract, Finding, check, rules_of
from copgkit.testing.samplers import SamplerContract, check_sampler
from copgkit.testing.stand_ins import WordGenerator, some_completions, some_prompts, some_samples

__all__ = [
    "Broken",
    "Contract",
    "EvaluatorContract",
    "Finding",
    "PromptSourceContract",
    "RewardSourceContract",
    "SamplerContract",
    "WordGenerator",
    "check",
    "check_evaluator",
    "check_prompt_source",
    "check_reward_source",
    "check_sampler",
    "rules_of",
    "some_completions",
    "some_prompts",
    "some_samples",
]
