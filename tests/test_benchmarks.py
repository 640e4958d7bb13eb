"""What the benchmarks compute and write down; the figures themselves need a quiet machine and no test."""

import argparse
import importlib.util
import re
import time
from collections import Counter
from dataclasses import replace

import pytest
import torch

from benchmarks.__main__ import SECTIONS
from benchmarks.cells import SHAPES, Cell, Shape
from benchmarks.copgkit_on_policy import CopgkitOnPolicy, reward_of
from benchmarks.flops import repeated_prompt_flops, shared_prompt_flops
from benchmarks.generation import measure as measure_generation
from benchmarks.loop import PARTS, Timers, share, time_parts
from benchmarks.material import END, draw_groups, model_folder, text_of
from benchmarks.memory import RESET, HighWater
from benchmarks.options import add_options, read
from benchmarks.page import PAGE, update
from benchmarks.parity import Gap, compare, ragged, ways
from benchmarks.processes import STEPS, seconds_per_completion, write_recipe
from benchmarks.scaling import axes
from benchmarks.tables import Table
from benchmarks.timing import Elapsed, Spread, Stopwatch, interleave, ratios
from benchmarks.training import passes

BY_HAND = Cell(Shape(layers=1, hidden=2, heads=1, intermediate=3, vocabulary=5), 2, 2, 2, 1)
CELL = Cell(SHAPES["tiny"], prompt=6, completion=4, completions_per_prompt=4, groups=2)


def test_a_shared_prompt_counts_once():
    # 4 tokens fed: 2 + 2 * 1. Looks: 3 within the prompt, 3 of each completion's first token. Head: 4 positions.
    # The only layer is the last, and its feed-forward part is not read at the prompt's first token.
    layer, attention, head = 2 * 4 * 4 * 4 + 2 * 3 * 6 * 3, 4 * 2 * 9, 2 * 2 * 5 * 4
    assert shared_prompt_flops(BY_HAND) == 3 * (layer + attention + head) == 1164


def test_a_repeated_prompt_counts_for_each_completion():
    layer, attention, head = 2 * 4 * 4 * 3 + 2 * 3 * 6 * 2, 4 * 2 * 6, 2 * 2 * 5 * 2
    assert repeated_prompt_flops(BY_HAND) == 3 * 2 * (layer + attention + head) == 1536


def test_one_completion_a_prompt_shares_nothing():
    alone = Cell(SHAPES["small"], 384, 48, 1, 4)
    assert shared_prompt_flops(alone) == repeated_prompt_flops(alone)


def test_the_products_of_a_real_forward_pass_are_those_that_are_counted():
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    shape, tokens = SHAPES["tiny"], 10
    with model_folder(shape, tokens) as folder, FlopCounterMode(display=False) as counter, torch.no_grad():
        AutoModelForCausalLM.from_pretrained(folder)(input_ids=torch.zeros(1, tokens, dtype=torch.long))
    matrices = counter.get_flop_counts()["Global"][torch.ops.aten.mm]
    assert matrices == 2 * tokens * (shape.layers * shape.layer_weights + shape.hidden * shape.vocabulary)


def test_a_model_has_as_many_weights_as_its_shape_says():
    from transformers import AutoModelForCausalLM

    with model_folder(SHAPES["tiny"], 16) as folder:
        parameters = AutoModelForCausalLM.from_pretrained(folder).named_parameters()
        assert sum(values.numel() for name, values in parameters if "norm" not in name) == SHAPES["tiny"].weights


def test_groups_have_the_lengths_of_the_cell_and_end_once():
    for group in draw_groups(CELL, 3):
        assert len(group.prompt) == 6
        assert [len(ids) for ids in group.completions] == [4] * 4
        assert all(ids.index(END) == 3 for ids in group.completions)
        assert END not in group.prompt


def test_both_programs_train_on_the_same_tokens_in_the_same_steps():
    if importlib.util.find_spec("trl") is None:
        pytest.skip("trl is not installed: pip install -e '.[bench]'")
    from benchmarks.copgkit_training import CopgkitTraining
    from benchmarks.trl_training import TrlPairs

    with model_folder(CELL.shape, 10) as folder:
        groups = draw_groups(CELL, 2 * CELL.groups)
        ours = CopgkitTraining(CELL, folder, groups, Stopwatch())
        theirs = TrlPairs(CELL, folder, groups, Stopwatch(), pairs_per_forward=4)
        for step, batch in enumerate(theirs.trainer.get_train_dataloader()):
            assert Counter(map(tuple, batch["input_ids"].tolist())) == Counter(
                (*ours.policy.codec.prompt_ids(completion.prompt), *completion.token_ids)
                for example in ours.steps[step]
                for completion in example.scored.group.completions
            )
            assert batch["attention_mask"].all()
            assert batch["completion_mask"].sum() == CELL.completions * CELL.completion


def test_both_programs_give_the_reference_the_same_log_probabilities():
    if importlib.util.find_spec("trl") is None:
        pytest.skip("trl is not installed: pip install -e '.[bench]'")
    from benchmarks.copgkit_training import CopgkitTraining
    from benchmarks.trl_training import TrlPairs

    with model_folder(CELL.shape, 10) as folder:
        groups = draw_groups(CELL, CELL.groups)
        ours = CopgkitTraining(CELL, folder, groups, Stopwatch())
        rows = TrlPairs(CELL, folder, groups, Stopwatch(), pairs_per_forward=2).trainer.train_dataset
    said = [value for row in rows for value in (row["ref_chosen_logps"], row["ref_rejected_logps"])]
    expected = [value for example in ours.steps[0] for value in example.ref_log_probs]
    assert sorted(said) == pytest.approx(sorted(expected), abs=1e-4)


def test_the_variants_are_trl_as_it_is_installed_and_copgkit_compiled(monkeypatch):
    if importlib.util.find_spec("trl") is None:
        pytest.skip("trl is not installed: pip install -e '.[bench]'")
    from trl import DPOConfig

    from benchmarks.sides import COPGKIT, COPGKIT_COMPILED, TRL, TRL_DEFAULT_PAIRS, TRL_DEFAULTS, make_side
    from copgkit.engine.causal_lm import CausalLMPolicy

    compiled = []
    monkeypatch.setattr(CausalLMPolicy, "compile_layers", lambda policy: compiled.append(policy))
    cell = replace(CELL, groups=8)  # sixteen pairs
    with model_folder(cell.shape, 10) as folder:
        groups = draw_groups(cell, cell.groups)
        sides = {
            name: make_side(name, cell, folder, groups, Stopwatch(), 4)
            for name in (TRL, TRL_DEFAULTS, COPGKIT, COPGKIT_COMPILED)
        }
        assert [_forwards_of_a_layer(sides[name]) for name in (TRL, TRL_DEFAULTS)] == [4, 2 * 2]
        installed = DPOConfig(output_dir=str(folder / "installed"), bf16=False)
    assert [side.name for side in sides.values()] == list(sides)
    assert compiled == [sides[COPGKIT_COMPILED].policy]
    tuned, default = sides[TRL].trainer.args, sides[TRL_DEFAULTS].trainer.args
    assert (tuned.gradient_checkpointing, tuned.per_device_train_batch_size) == (False, 4)
    assert default.gradient_checkpointing is installed.gradient_checkpointing is True
    assert default.per_device_train_batch_size == installed.per_device_train_batch_size == TRL_DEFAULT_PAIRS


def _forwards_of_a_layer(side):
    """How often a step of TRL's begins its first layer: what a setting does, not what settings say."""
    begun = []
    side.trainer.model.model.layers[0].mlp.register_forward_pre_hook(lambda *given: begun.append(1))
    side.run(1)
    return len(begun)


def test_texts_leave_special_tokens_out():
    assert text_of((5, 2, END)) == "w5 w2"


class _Fixed:
    """A program whose steps take what they are told to."""

    def __init__(self, name, seconds, asked):
        self.name, self.seconds, self.asked = name, list(seconds), asked

    def run(self, steps):
        self.asked.append(self.name)
        took = self.seconds.pop(0)
        return [Elapsed(took, took)] * steps


def test_programs_take_turns_and_the_warm_up_does_not_count():
    asked = []
    sides = [_Fixed("one", (99, 4, 6), asked), _Fixed("other", (99, 2, 2), asked)]
    measured = interleave(sides, repeats=2, steps=3)
    assert asked == ["one", "other", "one", "other", "other", "one"]
    wall = {name: [took.wall for took in times] for name, times in measured.items()}
    assert wall == {"one": [4, 6], "other": [2, 2]}
    assert ratios(wall["one"], wall["other"]) == Spread(2.5, 2, 3)


def test_a_spread_shows_its_median_and_range():
    assert Spread.of([3.0, 1.0, 2.0]).shown(".1f") == "2.0 (1.0 to 3.0)"


def test_a_stopwatch_gives_one_lap_for_each_call():
    watch = Stopwatch()
    watch.start()
    watch.lap()
    watch.lap()
    assert len(watch.laps) == 2
    assert all(took.wall >= 0 for took in watch.laps)


def test_a_table_reads_the_same_on_the_terminal_and_in_markdown():
    table = Table("Steps", ("K", "ratio"), note="A note.")
    table.add(("2", "6.5 (6 to 7)"), {"k": 2})
    assert table.as_text() == "Steps\nK         ratio\n2  6.5 (6 to 7)\nA note."
    assert table.as_markdown() == "#### Steps\n\n| K | ratio |\n| --- | --- |\n| 2 | 6.5 (6 to 7) |\n\nA note.\n"
    with pytest.raises(ValueError, match="Steps: 1 cells for 2 columns"):
        table.add(("4",), {})


MACHINE = {
    "processor": "A", "cores": 2, "threads": 1, "memory GB": 8, "load at the start": 0.1, "system": "B",
    "versions": {"torch": "2"},
}  # fmt: skip


def test_a_sections_tables_take_their_place_and_leave_the_rest_of_the_page(tmp_path):
    table = Table("Steps", ("K",))
    table.add(("2",), {})
    path = tmp_path / "page.md"
    path.write_text("Top.\n<!-- memory -->\nkept\n<!-- end -->\n<!-- training -->\nold\n<!-- end -->\nBottom.\n")
    update("training", MACHINE, [table], path)
    text = path.read_text()
    assert "old" not in text
    assert "#### Steps" in text.split("<!-- training -->")[1]
    assert "A, 2 cores, 8 GB; threads: 1; load before the start: 0.1. B; torch 2." in text
    assert text.startswith("Top.\n<!-- memory -->\nkept\n<!-- end -->\n")
    assert text.endswith("<!-- end -->\nBottom.\n")
    with pytest.raises(ValueError, match="no `<!-- other -->`"):
        update("other", MACHINE, [table], path)


def test_the_page_has_a_place_for_every_section():
    text = PAGE.read_text()
    assert re.findall(r"<!-- (\S+) -->\n(?:[^<]|<(?!!--))*<!-- end -->", text) == list(SECTIONS)


def _parsed(*given):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(given)


def test_quick_measures_the_centre():
    quick, whole = read(_parsed("--quick")), read(_parsed())
    assert [(cell.prompt, cell.completions_per_prompt) for cell in quick.cells] == [(384, 2), (384, 8)]
    assert len(whole.cells) == 12
    assert (quick.repeats, whole.repeats) == (3, 5)


def test_trl_is_tried_with_no_pass_that_would_not_fit():
    assert passes(Cell(SHAPES["small"], 384, 48, 8, 4)) == [1, 4, 16]
    assert passes(Cell(SHAPES["small"], 1024, 48, 16, 4)) == [1]
    assert passes(Cell(SHAPES["small"], 384, 48, 2, 4)) == [1, 4]


def test_memory_rises_by_what_a_lap_held_and_no_more():
    if not RESET.exists():
        pytest.skip("only Linux lets a process set its highest resident memory back")
    watch = HighWater("cpu")
    watch.start()
    held = torch.ones(64, 1024, 1024 // 4)  # 64 MB
    del held
    watch.lap()
    watch.lap()
    assert watch.laps[0] == pytest.approx(64 * 2**20, rel=0.1)
    assert watch.laps[1] < 8 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_in_processes_takes_its_steps_and_says_how_long(processes):
    with model_folder(CELL.shape, 10) as folder:
        recipe = write_recipe(CELL, folder, draw_groups(CELL, CELL.groups))
        seconds = seconds_per_completion(recipe, CELL, processes, threads=2)
    assert len(seconds) == STEPS - 1
    assert all(value > 0 for value in seconds)


def test_the_parts_of_a_step_do_not_overlap_and_leave_the_loop_its_share():
    laps = time_parts(CELL, steps=2)
    assert len(laps) == 2
    for lap in laps:
        assert all(lap[part] > 0 for part in PARTS)
        assert sum(share(lap, part) for part in (*PARTS, "loop")) == pytest.approx(100)
        assert share(lap, "loop") > 0


def test_a_part_within_a_part_counts_once():
    timers = Timers("cpu")
    timers.start()
    timers.around("backward", timers.around("forward", lambda: time.sleep(0.01)))()
    timers.lap()
    assert timers.laps[0]["forward"] == 0
    assert timers.laps[0]["backward"] >= 0.01


def test_an_axis_changes_one_thing():
    options = read(_parsed())
    for points in axes(options).values():
        first, *others = points.values()
        changed = {tuple(name for name, value in vars(cell).items() if value != vars(first)[name]) for cell in others}
        assert len(changed) == 1
        assert len(changed.pop()) == 1


def test_both_programs_take_on_policy_steps_with_the_same_reward():
    if importlib.util.find_spec("trl") is None:
        pytest.skip("trl is not installed: pip install -e '.[bench]'")
    from benchmarks.trl_on_policy import TrlOnPolicy

    cell = replace(CELL, completions_per_prompt=2)
    with model_folder(cell.shape, 10) as folder:
        groups = draw_groups(cell, cell.groups)
        for side in (
            CopgkitOnPolicy(cell, folder, groups, Stopwatch()),
            TrlOnPolicy(cell, folder, groups, Stopwatch(), completions_per_forward=4),
        ):
            assert len(side.run(1)) == 1
    assert reward_of("w1000 w500") == 1.5


def test_generation_is_measured_for_every_k_and_prompt_and_for_several_prompts():
    given = "--shape tiny --prompt 6 9 --k 2 4 --completion 4 --groups 2 --repeats 2".split()  # noqa: SIM905
    one, several = measure_generation(read(_parsed(*given)))
    assert [(row["prompt"], row["completions per prompt"], row["tokens"]) for row in one.records] == [
        (prompt, k, 4 * k) for prompt in (6, 9) for k in (1, 2, 4)
    ]
    assert [(row["prompts"], row["tokens"]) for row in several.records] == [(2, 8), (2, 16), (2, 32)]
    for row in one.records:
        assert {len(row["seconds"][name]) for name in ("generate", "copgkit")} == {2}
        assert min(map(min, row["processor seconds"].values())) > 0


# --- parity ----------------------------------------------------------------------------------------------------------


def _parity_of(monkeypatch, dtype="float32"):
    quick = [way for way in ways("cpu") if way.name != "compiled layers"]
    monkeypatch.setattr("benchmarks.parity.ways", lambda device: quick)
    options = read(_parsed("--shape", "tiny", "--prompt", "14", "--completion", "8", "--k", "4", "--dtype", dtype))
    return {way.name: (step, gap, same) for way, step, gap, same in compare(options.cell, options)}


def test_every_way_takes_the_plain_step_in_its_own_form(monkeypatch):
    found = _parity_of(monkeypatch)
    assert all(same for _, _, same in found.values())
    forms = {name: (step.forms.attention, step.forms.head) for name, (step, _, _) in found.items()}
    assert forms["as chosen"] == forms["a group in parts"] == ("blocks", "slices")
    assert forms["SDPA with a block mask"] == forms["eager with a block mask"] == ("mask", "slices")
    assert forms["logits at completions only"] == ("blocks", "narrow")
    assert "flex attention" in [way.name for way in ways("cuda")]


def test_in_16_bits_the_plain_way_says_what_is_near_enough(monkeypatch):
    found = _parity_of(monkeypatch, "bf16")
    assert found["plain"][1].gradient > 1e-4
    assert all(same for _, _, same in found.values())


def test_a_way_that_takes_another_step_is_seen(monkeypatch):
    from copgkit.engine import log_probs

    real = log_probs.token_log_probs
    monkeypatch.setattr(log_probs, "token_log_probs", lambda hidden_ND, *rest: real(1.0002 * hidden_ND, *rest))
    found = _parity_of(monkeypatch)
    assert [name for name, (_, _, same) in found.items() if same] == ["logits at completions only"]


def test_what_is_not_a_number_is_infinitely_far(monkeypatch):
    step, _, _ = _parity_of(monkeypatch)["as chosen"]
    broken = replace(step, gradients=[torch.full_like(step.gradients[0], torch.nan), *step.gradients[1:]])
    assert Gap.between(broken, step).gradient == torch.inf
    assert Gap.between(step, step) == Gap(0, 0, 0)


def test_ragged_groups_differ_in_every_length_and_end_with_the_end():
    groups = ragged(draw_groups(replace(CELL, prompt=20, completion=12), 3))
    assert len({len(group.prompt) for group in groups}) == 3
    assert len({len(ids) for group in groups for ids in group.completions}) > 4
    assert all(ids[-1] == END for group in groups for ids in group.completions)
