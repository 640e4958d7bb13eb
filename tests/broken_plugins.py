"""Deliberately broken components: each breaks one rule of its kind's contract, and no other but those that follow.

`BROKEN[contract][rule]` is the class, the rules that must break with this one, and what else its contract is told. The
rules of every component are broken by reward sources.
"""

import math
import time
import uuid
from dataclasses import replace

from pydantic import ConfigDict, Field

from copgkit import (
    Completion,
    Curves,
    Estimate,
    Evaluator,
    Group,
    Prompt,
    PromptSource,
    Recorded,
    RewardSource,
    Sampler,
    SamplingPlan,
    Score,
)
from copgkit.testing import EvaluatorContract, PromptSourceContract, RewardSourceContract, SamplerContract
from copgkit.testing.stand_ins import some_prompts

RECORDED = (Recorded("a", {"judge": math.nan}), Recorded("b", {"judge": 1.0}))
BROKEN = {RewardSourceContract: {}, SamplerContract: {}, PromptSourceContract: {}, EvaluatorContract: {}}


def breaks(contract, rule, *also, **told):
    """Enters a class as the one that breaks the rule. also: rules that cannot hold without this one. told: attributes
    of its contract."""

    def enter(cls):
        BROKEN[contract][f"test_{rule}"] = (cls, {rule, *also}, told)
        return cls

    return enter


def on(rule, *also, **told):
    return breaks(RewardSourceContract, rule, *also, **told)


IN_GROUPS = "a_group_is_scored_as_it_is_beside_other_groups"
IN_BATCHES = "a_score_does_not_depend_on_the_rest_of_the_batch"


class Words(RewardSource):
    """Sound: a factor for each word. The others differ from it in one thing."""

    class Options(RewardSource.Options):
        factor: float = Field(1.0, description="Of each word.")

    def score(self, completions):
        return [Score(self.options.factor * len(one.text.split())) for one in completions]


@on("it_is_made_from_its_options")
class NeedsMore(Words):
    """Is not made from the options that the contract gives."""

    class Options(RewardSource.Options):
        path: str = Field(description="A file.")


@on("it_answers_within_its_time", seconds=0.05)
class Slow(Words):
    """Takes its time."""

    def score(self, completions):
        time.sleep(0.5)
        return super().score(completions)


@on("it_can_be_closed_twice")
class ClosesOnce(Words):
    """Holds something and gives it away twice."""

    def setup(self):
        self.held = [1]

    def close(self):
        self.held.pop()


@on("it_says_in_one_line_what_it_is")
class Nameless(Words):
    pass


@on("options_refuse_a_key_they_do_not_know")
class Lax(Words):
    """Takes any option."""

    class Options(Words.Options):
        model_config = ConfigDict(extra="allow")


@on("every_option_is_described")
class Undescribed(Words):
    """Has an option without a word."""

    class Options(Words.Options):
        other: int = 3


class Opaque:
    """Nothing that a YAML file can hold."""


@on("options_have_a_json_schema")
class Schemaless(Words):
    """Has an option of a type of its own."""

    class Options(Words.Options):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        opaque: Opaque | None = Field(None, description="Nothing that a recipe could give.")


@on("defaults_are_valid_options", "options_survive_being_written_to_a_recipe")
class BadDefault(Words):
    """Has a default that a recipe could not give."""

    class Options(Words.Options):
        share: float = Field(2.0, le=1, description="A share.")


@on("options_survive_being_written_to_a_recipe", options={"hidden": "x"})
class Forgetful(Words):
    """Has an option that is not written down."""

    class Options(Words.Options):
        hidden: str = Field("", exclude=True, description="Left out of resolved.yaml.")


@on("it_gives_one_score_for_each_completion", "scores_come_in_the_order_of_the_completions", IN_BATCHES, IN_GROUPS)
class OneShort(Words):
    """Leaves out the last score where there are many."""

    def score(self, completions):
        return super().score(completions)[: max(len(completions) - 1, 1)]


@on("every_score_is_a_finite_number_an_abstention_or_a_failure")
class NotANumber(Words):
    """Divides zero by zero for an empty text."""

    def score(self, completions):
        return [score if score.value else Score(math.inf) for score in super().score(completions)]


@on("scores_come_in_the_order_of_the_completions", IN_BATCHES, IN_GROUPS)
class Sorted(Words):
    """Batches by length and forgets to put the scores back."""

    def score(self, completions):
        return super().score(sorted(completions, key=lambda one: len(one.text)))


@on(IN_BATCHES, IN_GROUPS)
class Standardised(Words):
    """Takes the batch's mean off."""

    def score(self, completions):
        scores = super().score(completions)
        mean = sum(score.value for score in scores) / max(len(scores), 1)
        return [Score(score.value - mean) for score in scores]


@on("the_same_completions_get_the_same_scores_again")
class Drifting(Words):
    """Gives each of its instances a taste of its own."""

    made = 0

    def setup(self):
        Drifting.made += 1
        self.taste = Drifting.made

    def score(self, completions):
        return [Score(score.value + self.taste) for score in super().score(completions)]


@on("it_scores_as_before_when_it_was_released")
class Bereft(Words):
    """Frees what it cannot have again."""

    taste = 1.0

    def score(self, completions):
        return [Score(score.value + self.taste) for score in super().score(completions)]

    def release(self):
        self.taste = 0.0


@on("no_completions_get_no_scores")
class NeverEmpty(Words):
    """Looks at the first completion before it knows that there is one."""

    def score(self, completions):
        return super().score(completions) if completions[0].text is not None else []


@on("an_abstention_is_kept_apart_from_zero", abstains_on=[Completion(Prompt("p"), "")])
class ZeroForNothing(Words):
    """Scores an empty text with zero, where it has nothing to say."""


@on("a_failure_is_never_a_number", fails_on=[Completion(Prompt("p", facts={"tests": "("}), "x")])
class ZeroForFailure(Words):
    """Scores with zero what it could not score."""


@on("it_leaves_the_completions_alone")
class Scribbler(Words):
    """Keeps its results in the prompt's facts."""

    def score(self, completions):
        for one in completions:
            one.prompt.facts["words"] = len(one.text.split())
        return super().score(completions)


@on(IN_GROUPS)
class BestOfAll(Words):
    """Compares a completion with those of all groups of a call, not those of one group."""

    def score_groups(self, groups):
        words = sum(len(one.text.split()) for group in groups for one in group.completions)
        return [[Score(len(one.text.split()) / words) for one in group.completions] for group in groups]


@on("the_fingerprint_is_the_same_for_the_same_options")
class Restless(Words):
    """Names each of its instances anew."""

    def fingerprint(self):
        return f"{super().fingerprint()}{uuid.uuid4()}"


@on("the_fingerprint_is_the_same_in_another_process")
class Hashed(Words):
    """Takes Python's hash of a text, which each process seeds anew."""

    def fingerprint(self):
        return f"{hash(super().fingerprint())}"


@on("the_fingerprint_changes_with_the_options")
class Rigid(Words):
    """Has one fingerprint for all options."""

    def fingerprint(self):
        return "rigid"


class Pairs(Sampler):
    """Sound: two words for every prompt, one prompt after the other, a round at a time."""

    steps_per_round = 1

    def setup(self):
        self.drawn = 0

    def draw(self, num_groups):
        prompts = self.context.prompts
        wanted = len(prompts) if num_groups is None else num_groups
        groups = [self.group(prompts[(self.drawn + n) % len(prompts)]) for n in range(wanted)]
        self.drawn += wanted
        return groups

    def group(self, prompt):
        return Group(prompt, (Completion(prompt, "yes"), Completion(prompt, "no, not so")))

    def state(self):
        return {"drawn": self.drawn}

    def restore(self, state):
        self.drawn = state["drawn"]


def sampler(rule, *also):
    return breaks(SamplerContract, rule, *also)


SELECTED = "what_it_selects_can_be_trained_on"


@sampler("every_group_has_at_least_two_completions", SELECTED)
class Singles(Pairs):
    """Draws one completion, which contrasts with nothing."""

    def group(self, prompt):
        return super().group(prompt).only([0])


@sampler("every_completion_answers_the_prompt_of_its_group")
class Mixed(Pairs):
    """Puts completions of an old prompt into a new group."""

    def group(self, prompt):
        return Group(prompt, super().group(self.context.prompts[0]).completions)


@sampler("it_draws_as_many_groups_as_asked_for")
class Generous(Pairs):
    """Gives at least two groups."""

    def draw(self, num_groups):
        return super().draw(num_groups if num_groups in (0, None) else max(num_groups, 2))


@sampler("no_groups_are_drawn_when_none_are_asked_for")
class ZeroIsAll(Pairs):
    """Takes 0 for None."""

    def draw(self, num_groups):
        return super().draw(num_groups or None)


@sampler("the_same_seed_draws_the_same_groups")
class Unseeded(Pairs):
    """Takes its chance from somewhere else."""

    def setup(self):
        super().setup()
        self.chance = uuid.uuid4().hex

    def group(self, prompt):
        return Group(prompt, (Completion(prompt, self.chance), Completion(prompt, "no")))

    def state(self):
        return super().state() | {"chance": self.chance}

    def restore(self, state):
        super().restore(state)
        self.chance = state["chance"]


@sampler("pair_weights_are_square_symmetric_and_not_negative", SELECTED)
class Lopsided(Pairs):
    """Weighs a pair one way and not the other."""

    def group(self, prompt):
        return Group(prompt, super().group(prompt).completions, ((0.0, 1.0), (0.5, 0.0)))


@sampler("its_plan_says_what_it_draws")
class Overstated(Pairs):
    """Plans more than it draws."""

    @classmethod
    def plan(cls, options):
        return SamplingPlan(8, 8, "policy")


@sampler("its_state_is_plain_json")
class Tupled(Pairs):
    """Keeps its place in a tuple, which JSON turns into a list."""

    def state(self):
        return {"drawn": (self.drawn,)}

    def restore(self, state):
        self.drawn = state["drawn"][0]


@sampler("a_restored_sampler_goes_on_exactly")
class Amnesiac(Pairs):
    """Starts from the first prompt again."""

    def restore(self, state):
        self.drawn = 0


@sampler("it_leaves_the_prompts_alone")
class Marker(Pairs):
    """Marks in the facts which prompts were drawn."""

    def draw(self, num_groups):
        for prompt in self.context.prompts[:num_groups]:
            prompt.facts["drawn"] = True
        return super().draw(num_groups)


@sampler(SELECTED)
class Halving(Pairs):
    """Keeps the first completion of each group and all of the rewards."""

    def select(self, scored):
        return [replace(one, group=one.group.only([0])) for one in scored]


@sampler("selecting_changes_no_group_in_place")
class Sorting(Pairs):
    """Turns the scores around where they are."""

    def select(self, scored):
        for one in scored:
            one.scores["letters"].append(one.scores["letters"].pop(0))
        return scored


@sampler("what_it_says_of_itself_needs_no_setup")
class Late(Pairs):
    """Knows only after its setup whether it is on-policy."""

    def setup(self):
        super().setup()
        self.fresh = True

    @property
    def on_policy(self):
        return self.fresh


@sampler("its_figures_are_finite_numbers")
class Infinite(Pairs):
    """Divides by what it has not counted."""

    def statistics(self):
        return {"age/mean": math.nan}


class Few(PromptSource):
    """Sound: a handful of prompts."""

    def load(self):
        return some_prompts()

    def count(self):
        return len(some_prompts())


def prompts(rule):
    return breaks(PromptSourceContract, rule)


@prompts("it_gives_prompts_that_say_something")
class Blank(Few):
    """Gives an empty line as a prompt."""

    def load(self):
        return [*some_prompts()[1:], Prompt(" ")]


@prompts("it_gives_the_same_prompts_in_the_same_order_again")
class Shuffled(Few):
    """Begins elsewhere every time."""

    times = 0

    def load(self):
        Shuffled.times += 1
        start = Shuffled.times % 3
        return some_prompts()[start:] + some_prompts()[:start]


@prompts("its_count_covers_what_it_loads")
class Undercounted(Few):
    """Counts one too few."""

    def count(self):
        return super().count() - 1


@prompts("counting_imports_nothing_heavy")
class HeavyCount(Few):
    """Imports a library to count."""

    def count(self):
        import datasets

        return super().count() + len(datasets.__name__)


@prompts("facts_are_plain_json_data")
class TupleFacts(Few):
    """Holds a tuple among its facts, which JSON turns into a list."""

    def load(self):
        return [Prompt("p", facts={"tests": ("a", "b")})]


@prompts("recorded_scores_are_finite_numbers")
class NaNScores(Few):
    """Reads a missing score as not a number."""

    def load(self):
        return [Prompt("p", recorded=RECORDED)]


class Length(Evaluator):
    """Sound: the mean number of words."""

    def evaluate(self, evaluation):
        lengths = [len(sample.completion.text.split()) for sample in evaluation.samples]
        if not lengths:
            return {}
        mean = sum(lengths) / len(lengths)
        return {"words/mean": Estimate(mean, mean - 1, mean + 1, len(lengths))}


def evaluator(rule):
    return breaks(EvaluatorContract, rule)


@evaluator("it_gives_estimates_under_names_that_metrics_can_have")
class Spaced(Length):
    """Puts spaces into a metric's name."""

    def evaluate(self, evaluation):
        return {name.replace("/", " "): figure for name, figure in super().evaluate(evaluation).items()}


@evaluator("every_figure_is_finite_and_lies_in_its_interval")
class Outside(Length):
    """Gives an interval that its figure does not lie in."""

    def evaluate(self, evaluation):
        figures = super().evaluate(evaluation)
        return {name: Estimate(one.value, one.value + 0.5, one.high, one.n) for name, one in figures.items()}


@evaluator("every_figure_says_how_many_samples_are_behind_it")
class Boastful(Length):
    """Claims more samples than there are."""

    def evaluate(self, evaluation):
        figures = super().evaluate(evaluation)
        return {name: Estimate(one.value, one.low, one.high, 9 * one.n) for name, one in figures.items()}


@evaluator("the_order_of_the_samples_does_not_matter")
class FirstOnly(Length):
    """Looks at the first sample."""

    def evaluate(self, evaluation):
        figures = super().evaluate(evaluation)
        first = float(len(evaluation.samples[0].completion.text)) if figures else 0.0
        return {name: Estimate(first, first, first, 1) for name in figures}


@evaluator("the_same_samples_give_the_same_figures_again")
class Creeping(Length):
    """Adds up over calls."""

    def setup(self):
        self.sum = 0.0

    def evaluate(self, evaluation):
        self.sum += 1
        return {name: Estimate(self.sum, self.sum, self.sum, 1) for name in super().evaluate(evaluation)}


@evaluator("no_samples_give_no_figures")
class Dividing(Length):
    """Divides by the number of samples."""

    def evaluate(self, evaluation):
        mean = sum(len(sample.completion.text) for sample in evaluation.samples) / len(evaluation.samples)
        return {"letters/mean": Estimate(mean, mean, mean, len(evaluation.samples))}


@evaluator("it_leaves_the_samples_alone")
class Popping(Length):
    """Takes the samples out one by one."""

    def evaluate(self, evaluation):
        figures = super().evaluate(evaluation)
        evaluation.samples.clear()
        return figures


@evaluator("its_pictures_are_curves")
class Endless(Length):
    """Draws a line to infinity."""

    def figures(self):
        return [Curves("t", "x", "y", {"line": [(0.0, math.inf, 0.0, 0.0)]})]
