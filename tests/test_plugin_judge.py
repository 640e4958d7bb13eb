"""The reward source `judge`, against a chat endpoint on this machine: what it asks, waits for and never tells."""

import time

import pytest
from judge_server import Reply, chat, judge_server
from pydantic import ValidationError

from copgkit import Completion, Context, DataError, ModelError, Progress, Prompt, RecipeError, load_recipe
from copgkit_judge import JudgeModel
from copgkit_judge.asking import Patience
from copgkit_judge.endpoint import _seconds
from copgkit_judge.grades import GRADE, GradeReader, NoGrade

SECRET = "sk-test-4242/abc"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Told(Progress):
    """Keeps messages as well as warnings."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def message(self, text):
        self.messages.append(text)


def _judge(url, **options):
    plain = {"prompt": "Post: {prompt}\nSummary: {completion}", "grade_range": (1, 10), "backoff": 0.01}
    return JudgeModel(JudgeModel.Options(url=url, model="m", **{**plain, **options}), Context("judge", progress=Told()))


def _completion(text="a summary", **more):
    return Completion(Prompt("a post", origin="rows.jsonl:4", **more), text)


def _asked(answer, *texts, **options):
    """Scores of completions by a judge that answers as told, and the judge."""
    with judge_server(answer) as (url, judge):
        source = _judge(url, **options)
        return source.score([_completion(text) for text in texts or ("a summary",)]), judge, source


# What is asked and read -----------------------------------------------------------------------------------------------


def test_a_grade_comes_back_with_what_it_cost():
    (score,), judge, _ = _asked(
        lambda *_: "It is good.\nGrade: 7", prompt_price=2.0, completion_price=10.0, keep_answers=True
    )
    assert score.value == 7.0
    # 100 tokens at 2 and 10 tokens at 10 a million.
    assert score.notes == {
        "requests": 1.0,
        "prompt_tokens": 100.0,
        "completion_tokens": 10.0,
        "cost": pytest.approx(0.0003),
        "answer": "It is good.\nGrade: 7",
    }
    assert judge.bodies[0] == {
        "model": "m",
        "temperature": 0.0,
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "Post: a post\nSummary: a summary"}],
    }


def test_the_log_says_in_the_end_what_everything_cost_failures_included():
    def answer(_, body):
        return "nonsense" if "bad" in body["messages"][0]["content"] else "Grade: 7"

    _, _, source = _asked(answer, "good", "bad", prompt_price=2.0)
    source.close(), source.close()
    assert source.context.progress.messages == [
        "reward source 'judge': 1 grades and 1 failures in 3 requests, with 300 prompt and 30 completion tokens,"
        " cost 0.0006"
    ]


def test_the_body_can_be_added_to_and_a_key_taken_out_of_it():
    _, judge, _ = _asked(
        lambda *_: "Grade: 7", system="Be strict.", request={"seed": 3, "max_tokens": None, "messages": []}
    )
    assert judge.bodies[0]["seed"] == 3
    assert "max_tokens" not in judge.bodies[0]
    assert [turn["role"] for turn in judge.bodies[0]["messages"]] == ["system", "user"]


def test_braces_of_completions_and_facts_are_text():
    hostile = "{prompt} {0} {completion.__class__} {{completion}} %s {facts.key}"
    with judge_server(lambda *_: "Grade: 7") as (url, judge):
        template = 'Answer as {"grade": 7}, {{completion}}: {completion} | {facts.tests} | {answer}'
        _judge(url, prompt=template).score([_completion(hostile, facts={"tests": ["{answer}", 1]}, answer="{x}")])
    asked = judge.bodies[0]["messages"][0]["content"]
    assert asked == f'Answer as {{"grade": 7}}, {{completion}}: {hostile} | ["{{answer}}", 1] | {{x}}'


def test_what_a_prompt_lacks_is_named_before_anything_is_asked():
    with judge_server(lambda *_: "Grade: 7") as (url, judge):
        with pytest.raises(DataError, match=r"rows\.jsonl:4: .*asks for \{facts\.post\}.*It has: completion, prompt"):
            _judge(url, prompt="{facts.post} {completion}").score([_completion()])
        assert judge.bodies == []


GRADES = {
    "Grade: 7": 7.0,
    "**Grade:** 7/10.": 7.0,
    "grade = 6.5": 6.5,
    "A grade: 2 at first. Then again, Grade: 9": 9.0,
    "Grade: 1,000": None,
    "Grade: 1e3": None,
    "Grade: -3": None,
    "Grade: 11": None,
    "Grade: 0": None,
    "seven": None,
    "": None,
}


@pytest.mark.parametrize("answer", GRADES)
def test_only_a_plain_number_in_range_is_a_grade(answer):
    reader = GradeReader(GRADE, None, 1, 10)
    if GRADES[answer] is None:
        with pytest.raises(NoGrade):
            reader.read(answer)
    else:
        assert reader.read(answer) == GRADES[answer]


JSON_GRADES = {
    '{"why": "good {}", "score": 4}': 4.0,
    'Here:\n```json\n{"score": "4.5"}\n```': 4.5,
    'First {"other": 1}, then {"score": 3}': 3.0,
    '{"score": true}': None,
    '{"score": NaN}': None,
    '{"score": 1e999}': None,
    '{"score": null}': None,
    '{"score": [4]}': None,
    '{"score": 12}': None,
    '{"score": ' + "9" * 5000 + "}": None,
    '{"a":' * 5000: None,
    "{" * 100_000: None,
}


@pytest.mark.parametrize("answer", JSON_GRADES, ids=lambda text: text[:20])
def test_a_grade_can_be_a_field_of_a_json_object(answer):
    reader = GradeReader(GRADE, "score", 1, 10)
    if JSON_GRADES[answer] is None:
        with pytest.raises(NoGrade):
            reader.read(answer)
    else:
        assert reader.read(answer) == JSON_GRADES[answer]


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_nonsense_is_asked_for_once_more_with_a_reminder():
    (score,), judge, _ = _asked(lambda number, _: "Splendid!" if number == 1 else "Grade: 8")
    assert score.value == 8.0
    assert score.notes["requests"] == 2.0
    assert score.notes["prompt_tokens"] == 200.0
    said = [turn["content"] for turn in judge.bodies[1]["messages"]]
    assert said[1] == "Splendid!"
    assert "nothing in the answer matches" in said[2]


def test_nonsense_twice_is_a_failure_that_says_so():
    (score,), judge, _ = _asked(lambda *_: "Grade: 95")
    assert score.value is None
    assert score.failure == "the grade 95 is not between 1 and 10, after 2 requests"
    assert len(judge.bodies) == 2


def test_an_answer_that_ran_into_max_tokens_says_so():
    (score,), _, _ = _asked(lambda *_: Reply(body=chat("Let me think", finish_reason="length")))
    assert "the answer ran into max_tokens" in score.failure


NONSENSE = {
    "html": (Reply(body=b"<html>Grade: 7</html>", kind="text/html"), "text/html instead of JSON"),
    "no json": (Reply(body=b"Grade: 7"), "not that of a chat endpoint"),
    "deep json": (Reply(body=b"[" * 100_000), "not that of a chat endpoint"),
    "no choices": (Reply(body={"choices": []}), "not that of a chat endpoint"),
    "a list": (Reply(body=[1]), "not that of a chat endpoint"),
    "no text": (Reply(body={"choices": [{"message": {"content": None}}]}), "has no text"),
    "huge": (Reply(body=b" " * 3_000_000), "larger than 1024 kB"),
    "endless": (Reply(pieces=[b" " * 300_000] * 100), "larger than 1024 kB"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_body_that_cannot_be_read_is_a_failure_after_two_requests(name):
    reply, reason = NONSENSE[name]
    (score,), judge, _ = _asked(lambda *_: reply)
    assert reason in score.failure
    assert len(judge.bodies) == 2


def test_strange_token_counts_count_nothing():
    usage = {"usage": {"prompt_tokens": "many", "completion_tokens": -5}}
    (score,), _, _ = _asked(lambda *_: Reply(body=chat("Grade: 7") | usage))
    assert (score.value, score.notes["prompt_tokens"], score.notes["completion_tokens"]) == (7.0, 0.0, 0.0)


def test_500s_are_waited_out():
    broken = Reply(500, {"error": {"message": "overloaded"}})
    (score,), judge, _ = _asked(lambda number, _: broken if number < 4 else "Grade: 5")
    assert score.value == 5.0
    assert len(judge.bodies) == 4


def test_500s_without_end_are_a_failure_in_the_servers_words():
    (score,), judge, _ = _asked(lambda *_: Reply(503, {"error": {"message": "over\x1b[31mloaded"}}), retries=2)
    assert score.failure == "it answered 503: over [31mloaded, after 3 requests"
    assert len(judge.bodies) == 3


def test_a_server_that_asks_for_time_gets_it():
    busy = Reply(429, {"error": "slow down"}, headers={"Retry-After": "0.3"})
    (score,), judge, _ = _asked(lambda number, _: busy if number == 1 else "Grade: 5")
    assert score.value == 5.0
    assert judge.times[1] - judge.times[0] >= 0.3


def test_a_server_that_asks_for_too_much_time_gets_the_longest_wait():
    busy = Reply(429, headers={"Retry-After": "86400"})
    start = time.monotonic()
    (score,), _, _ = _asked(lambda number, _: busy if number == 1 else "Grade: 5", longest_wait=0.1)
    assert score.value == 5.0
    assert time.monotonic() - start < 10


def test_retry_after_is_seconds_or_a_date_and_nonsense_is_ignored():
    assert _seconds("2.5") == 2.5
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert _seconds("Wed, 21 Oct 2115 07:28:00 GMT") > 1e9
    assert [_seconds(text) for text in ("soon", "-1", "nan", "inf", None)] == [None] * 5


def test_the_wait_doubles_with_jitter_by_seed_up_to_its_bound():
    patience = Patience(retries=5, backoff=1.0, longest=5.0, seed=1)
    waits = [patience.wait(attempt, "q", None) for attempt in (1, 2, 3, 4)]
    for wait, step in zip(waits, (1, 2, 4, 5), strict=True):
        assert step / 2 <= wait <= step
    assert waits == [patience.wait(attempt, "q", None) for attempt in (1, 2, 3, 4)]
    assert waits[0] != patience.wait(1, "another question", None)
    assert patience.wait(1, "q", 3.0) == 3.0


def test_a_judge_that_never_answers_is_left_after_the_timeout():
    start = time.monotonic()
    (score,), judge, _ = _asked(lambda *_: Reply(silent=True), timeout=0.2, retries=1)
    assert score.failure == "no answer within 0.2 seconds, after 2 requests"
    assert time.monotonic() - start < 5
    assert len(judge.bodies) == 2


def test_an_answer_that_trickles_for_ever_is_left_after_the_timeout():
    start = time.monotonic()
    (score,), _, _ = _asked(lambda *_: Reply(pieces=[b" "] * 1000), timeout=0.3, retries=0)
    assert score.failure == "no answer within 0.3 seconds"
    assert time.monotonic() - start < 5


def test_an_answer_that_breaks_off_is_asked_for_again():
    half = Reply(body=b'{"choices"', length=500)
    (score,), _, _ = _asked(lambda number, _: half if number == 1 else "Grade: 5")
    assert score.value == 5.0


def test_the_deadline_bounds_all_together_and_keeps_what_is_there():
    def answer(_, body):
        return "Grade: 6" if "quick" in body["messages"][0]["content"] else Reply(silent=True)

    start = time.monotonic()
    scores, judge, _ = _asked(answer, "quick", "slow", "slow too", "slow as well", deadline=0.5, workers=2)
    assert time.monotonic() - start < 5
    assert scores[0].value == 6.0
    assert all("deadline" in score.failure or "no answer" in score.failure for score in scores[1:])
    asked = len(judge.bodies)
    time.sleep(0.2)
    assert len(judge.bodies) == asked  # nothing is asked behind the run's back


def test_a_server_that_is_not_there_is_a_failure():
    with judge_server(lambda *_: "Grade: 7") as (url, _):
        pass
    (score,) = _judge(url, retries=1).score([_completion()])
    assert "it cannot be reached (ConnectionRefusedError" in score.failure


def test_a_redirect_is_not_followed_whatever_its_host():
    with judge_server(lambda *_: "Grade: 7") as (elsewhere, other):
        for status in (301, 302, 307, 308):
            scores, judge, _ = _asked(lambda *_, s=status: Reply(s, headers={"Location": elsewhere + "?key=1"}))
            assert f"it redirects to {elsewhere}, which is not followed" in scores[0].failure
            assert len(judge.bodies) == 1
        assert other.bodies == []


def test_what_would_meet_every_request_is_met_once_and_fails_the_rest_unasked():
    scores, judge, _ = _asked(lambda *_: Reply(404, {"error": {"message": "no model 'm'"}}), *"abcdef", workers=1)
    assert {score.failure for score in scores} == {"it answered 404: no model 'm'. Correct `url` or `model`"}
    assert len(judge.bodies) == 1


def test_a_refusal_of_one_question_leaves_the_others():
    def answer(_, body):
        long = "long" in body["messages"][0]["content"]
        return Reply(400, {"error": {"message": "context too long"}}) if long else "Grade: 6"

    scores, judge, _ = _asked(answer, "a", "long", "b")
    assert [score.value for score in scores] == [6.0, None, 6.0]
    assert scores[1].failure == "it answered 400: context too long"
    assert len(judge.bodies) == 3


# Many at once, and secrets --------------------------------------------------------------------------------------------


def test_grades_keep_the_order_of_the_completions_and_workers_are_bounded():
    def answer(_, body):
        number = int(body["messages"][0]["content"].rpartition(" ")[2])
        time.sleep(0.01 * (number % 3))
        return f"Grade: {1 + number % 10}"

    scores, judge, _ = _asked(answer, *[f"number {n}" for n in range(30)], workers=4)
    assert [score.value for score in scores] == [1.0 + n % 10 for n in range(30)]
    assert 2 <= judge.most_at_once <= 4
    assert _judge("https://judge.example/v1", workers=4).completions_per_call == 16  # whatever the clock says


def test_nothing_to_grade_asks_nothing():
    with judge_server(lambda *_: "Grade: 7") as (url, judge):
        assert list(_judge(url).score([])) == []
    assert judge.bodies == []


ECHOES = [
    lambda _, __: Reply(401, {"error": {"message": f"bad key {SECRET}"}}),
    lambda _, __: Reply(400, f"you sent Bearer {SECRET}".encode(), kind="text/plain"),
    lambda _, __: Reply(500, {"error": SECRET}),
    lambda _, __: Reply(307, headers={"Location": f"https://other.example/{SECRET}"}),
    lambda _, __: Reply(kind=f"text/{SECRET}"),
    lambda _, __: f"Your key is {SECRET}.",
    lambda _, __: f"Your key is {SECRET}. Grade: 7",
]


@pytest.mark.parametrize("answer", ECHOES)
def test_the_key_is_sent_and_shown_nowhere(answer, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", SECRET + "\n")
    scores, judge, source = _asked(answer, api_key_env="JUDGE_KEY", retries=0, keep_answers=True)
    assert judge.headers[0]["Authorization"] == f"Bearer {SECRET}"
    source.close()
    shown = [scores, source.fingerprint(), source.context.progress.messages, source.options, vars(source)]
    assert SECRET not in repr(shown)
    assert len(judge.bodies) <= 2


def test_a_key_that_is_missing_or_cannot_be_sent_is_named_by_its_variable(monkeypatch):
    url = "https://judge.example/v1/chat/completions"
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(ModelError, match="environment variable JUDGE_KEY holds no key"):
        _judge(url, api_key_env="JUDGE_KEY")
    monkeypatch.setenv("JUDGE_KEY", "two\nlines")
    with pytest.raises(ModelError, match="characters that no header can carry") as fault:
        _judge(url, api_key_env="JUDGE_KEY")
    assert "lines" not in str(fault.value)


def test_a_key_over_plain_http_is_warned_of_unless_it_stays_on_this_machine(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    far = _judge("http://judge.example/v1/chat/completions", api_key_env="JUDGE_KEY")
    near = _judge("http://127.0.0.1:9/v1/chat/completions", api_key_env="JUDGE_KEY")
    assert "travels unencrypted" in far.context.progress.warnings[0]
    assert near.context.progress.warnings == []


BAD_OPTIONS = {
    "a file": ({"url": "file:///etc/passwd"}, "no web address"),
    "a host only": ({"url": "judge.example/v1"}, "no web address"),
    "a line break": ({"url": "https://judge.example/\nX: y"}, "no web address"),
    "a key in the address": ({"url": "https://user:sk-1@judge.example/v1"}, "carries a key"),
    "a key in the query": ({"url": f"https://judge.example/v1?api_key={SECRET}"}, "carries a key"),
    "the key itself": ({"api_key_env": SECRET}, "never the key itself"),
    "an unknown place": ({"prompt": "{completion} {reponse}"}, r"'\{reponse\}' is not a place"),
    "nothing to grade": ({"prompt": "{prompt}"}, r"Put \{completion\}"),
    "no expression": ({"grade": "("}, "not a regular expression"),
    "no group": ({"grade": "[0-9]+"}, "has no group"),
    "no range": ({"grade_range": (10, 1)}, r"must be \[lowest, highest\]"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options_are_refused_with_the_remedy_and_without_secrets(name):
    options, words = BAD_OPTIONS[name]
    good = {"url": "https://judge.example/v1", "model": "m", "prompt": "{completion}", "grade_range": (1, 10)}
    with pytest.raises(ValidationError, match=words) as fault:
        JudgeModel.Options(**{**good, **options})
    assert SECRET not in str(fault.value)
    assert "sk-1" not in str(fault.value)


RECIPE = """\
policy: {{model: p}}
prompts: {{use: jsonl, options: {{path: rows.jsonl}}}}
sampler: {{use: recorded}}
rewards:
  - use: judge
    options: {{model: m, prompt: "{{completion}}", grade_range: [1, 10], url: "https://judge.example/?api_key={key}"}}
objective: {{use: copg, beta: 0.1}}
"""


def test_a_recipe_that_holds_a_key_is_refused_by_line_without_repeating_it(tmp_path):
    (tmp_path / "mine.yaml").write_text(RECIPE.format(key=SECRET))
    with pytest.raises(RecipeError, match=r"mine\.yaml:6: rewards\[0\]\.options\.url: it carries a key") as fault:
        load_recipe(tmp_path / "mine.yaml")
    assert SECRET not in str(fault.value)


def test_the_fingerprint_follows_what_is_judged_and_not_how_patiently():
    url = "https://judge.example/v1/chat/completions"
    same = _judge(url).fingerprint()
    assert same == _judge(url, workers=2, retries=9, timeout=1, prompt_price=3.0, keep_answers=True).fingerprint()
    for change in ({"prompt": "{completion}?"}, {"grade_range": (0, 10)}, {"temperature": 1.0}, {"system": "Be kind."}):
        assert same != _judge(url, **change).fingerprint()
