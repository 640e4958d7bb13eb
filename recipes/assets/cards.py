"""The cards beside the models and data, as templates that the builds fill with what they measured."""

POLICY_CARD = """# tldr-policy

A Llama of {parameters} parameters (4 layers, width 128, tied embeddings, float32) that summarises posts of the practice
world. It imitates good and bad summaries alike, on purpose: it is a starting point for alignment, and of no other use.

**Format.** Prompt: the post and `"\\n\\nTL;DR:"`. Completion: a space, the summary, eos. The tokenizer puts bos in
front and adds no eos; it pads on the left. All text is lower-case.

**How it was made.** `python recipes/assets/build.py --seed {seed}`: trained from scratch on {stage_1} posts with three
faithful summaries each, then on {stage_2} posts with three summaries each of this mix: {mix}.

- {first}; mean loss of a summary token {first_figure:.3f}
- {second}; mean loss of a summary token {second_figure:.3f}
- {machine}

**Samples** on {measured} posts no model was trained on, four each, judged by `world.judge`:

{figures}
"""

REWARD_CARD = """# tldr-reward

A Bradley-Terry reward model of {parameters} parameters for summaries of the practice world's posts
(`LlamaForSequenceClassification`, one label, float32). Learned and imperfect, on purpose: enough optimisation will find
its mistakes.

**Format.** One text: prompt + `" "` + summary + `"</s>"`, where the prompt is the post and `"\\n\\nTL;DR:"`. The
tokenizer puts bos in front and pads on the right; the score is read at the last token that is not padding, so **the
text must end with eos**. Higher is better.

**How it was made.** `python recipes/assets/build.py --seed {seed}`: starts from the policy; Bradley-Terry on all
pairs of different rank (faithful > incomplete, long-winded > any other fault) among seven summaries by the world for
{written} posts, then among three samples of the policy at temperature 1.0 and two by the world for {sampled} posts.

- {third}; pairs in the right order in the last 50 steps {third_figure:.1%}
- {fourth}; pairs in the right order in the last 50 steps {fourth_figure:.1%}
- {machine}

**On {measured} posts no model was trained on**, how often the faithful summary scores higher, and the scores of the
policy's samples:

{figures}
"""

POSTS_CARD = """# tldr-posts

{train} training and {validation} validation posts of the practice world, disjoint from each other and from every post
that a model here was trained on. Written by `python recipes/assets/build.py --seed {seed}` from `fragments.py`.

`id`; `prompt`: the post and `"\\n\\nTL;DR:"`; `facts`: name, relation, place, problem, outcome, question and domain, as
`world.judge(summary, facts)` takes them; `answer`: one faithful summary.
"""

CODE_POLICY_CARD = """# code-policy

A Llama of {parameters} parameters ({layers} layers, width 128, tied embeddings, float32) that writes small Python
functions for the code world's tasks. It imitates right and subtly wrong code alike, on purpose: it is a starting point
for alignment, and of no other use.

**Format.** Prompt: a sentence that names the function, its arguments and what it does, and a line break. Completion:
the function, eos. The tokenizer puts bos in front and adds no eos; it pads on the left.

**How it was made.** `python recipes/assets/build.py code --seed {seed}`: trained from scratch on {stage_1} tasks with
training parameters, then at a lower rate on {stage_2}, {completions} completions of each. {right} of them are the
solution, the others have one slip.

{costs}
- {machine}

**Samples** on the {validation} validation tasks, whose parameters it has not seen, {samples} each, compared as text
with the world's code for the task:

{figures}
"""

CODE_TASKS_CARD = """# code-tasks

{train} training and {validation} validation tasks of the code world, from {families} families. Written by
`python recipes/assets/build.py code --only tasks --seed {seed}`.

Every prompt is there once. A task of the validation set has parameters (the 7 of "greater than 7") that no training
task of its family has, nor any task that the policy learned from; wordings and names come from one pool.

`id`; `prompt`: what to write, and a line break; `facts`: `entry_point`, `test_list` and `test_setup_code` as MBPP has
them, `hidden_test_list`: further asserts that no reward reads, and `family`; `answer`: the solution. Both lists catch
every slip that the world makes in the task.
"""
