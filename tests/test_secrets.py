"""Twelve kinds of secrets, planted wherever a run may pick one up: none is in anything that it writes or says."""

import json
import os
import time
from pathlib import Path

import pytest

from copgkit.redaction import redacted, redacted_data
from copgkit.store import RunFolder

SECRETS = {
    "of the hub": "hf_" + "Qz7" * 11,
    "of a chat service": "sk-proj-" + "aB3_" * 6,
    "of a forge": "ghp_" + "Zy9" * 12,
    "of a cloud": "AKIA" + "QX7Z" * 4,
    "of a search service": "AIza" + "Sy_" * 11,
    "of a chat room": "xoxb-" + "12345-" * 3 + "abc",
    "a web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlX3h4eA",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END RSA PRIVATE KEY-----",
    "in an address": "s3cr3t-pa55word",
    "in a query": "q-value-73519",
    "in a header": "b3arer-value-99",
    "by its name": "hunter2-hunter2",
    "in the environment": "no-known-form-but-known-here",
}


def spoken(kind):
    """A sentence with the secret, as an exception or a recipe would hold it."""
    secret = SECRETS[kind]
    return {
        "in an address": f"cannot reach https://user:{secret}@data.example/x",
        "in a query": f"404 for https://data.example/x?part=1&token={secret}&page=2",
        "in a header": f"refused: Authorization: Bearer {secret}",
        "by its name": f"bad login, password={secret}, try again",
    }.get(kind, f"refused {secret} (401)")


def pieces(kind):
    """What must be found nowhere."""
    return SECRETS[kind].split("\n")[1:3] if kind == "a private key" else [SECRETS[kind]]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("SOME_SERVICE_TOKEN", SECRETS["in the environment"])


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_taken_out_and_the_rest_stays(kind):
    text = redacted(spoken(kind))
    assert not any(piece in text for piece in pieces(kind)), text
    assert "[redacted]" in text
    first, last = spoken(kind).split()[0], spoken(kind).split()[-1]
    assert text.startswith(first)
    assert kind in ("in an address", "in a header") or text.endswith(last.replace(SECRETS[kind], "[redacted]"))
    assert redacted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "policy: {max_prompt_tokens: 256, max_completion_tokens: 48}",
        "tokens_per_forward: 4096, eos_token: '</s>', pad_token: <pad>",
        "api_key_env: OPENAI_API_KEY",
        "the task-force asked for sk-learn and hf_hub; https://example.org/a:b/c@2",
        "step 3: the loss is nan and the gradient norm inf",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text):
    assert redacted(text) == text


def test_names_decide_where_data_has_names():
    given = {
        "api_key": "x",
        "hub": {"token": "y", "tokens": 3},
        "list": [{"password": "z"}, "plain"],
        "api_key_env": "K",
    }
    kept = {"api_key": "[redacted]", "hub": {"token": "[redacted]", "tokens": 3}}
    assert redacted_data(given) == kept | {"list": [{"password": "[redacted]"}, "plain"], "api_key_env": "K"}


@pytest.mark.parametrize(
    "piece", ["a-", "a_b-", "://", "://a:", "Bearer ", "-----BEGIN ", "eyJaaaaaaaa.", "token=", "x", " "]
)
def test_no_text_makes_the_search_slow(piece):
    began = time.process_time()
    redacted(piece * (200_000 // len(piece)))
    assert time.process_time() - began < 2  # .1 s at most, measured; one that is quadratic takes minutes


PLUGIN = """
import json, os
from copgkit import RewardSource, Score, hookimpl

class Leaky(RewardSource):
    class Options(RewardSource.Options):
        api_key: str = ""
        address: str = ""
        texts: list[str] = []
        fails: bool = False
    def score(self, completions):
        for text in self.options.texts:
            self.context.progress.warning(text)
            self.context.progress.message(text)
            print(text)
        if self.options.fails:
            raise ValueError(" ".join(self.options.texts) + os.environ["SOME_SERVICE_TOKEN"])
        return [self._score(n, one) for n, one in enumerate(completions)]
    def _score(self, n, one):
        if one.text == "c":
            raise ValueError(" | ".join(self.options.texts))
        return Score(float(ord(one.text)))
    def describe_run(self):
        return {"said": " ".join(self.options.texts)}

@hookimpl
def register_reward_sources(register):
    register("leaky", Leaky)
"""


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_that_a_run_writes_or_says_holds_a_secret(tmp_path, copgkit_command, monkeypatch, fails):
    monkeypatch.setattr("copgkit.report.html.run_figures", lambda rows, curves: [])  # pictures hold no text of a run
    (tmp_path / "leaky.py").write_text(PLUGIN)
    rows = [{"prompt": f"Choose {n}.", "completions": ["a", "b"] + ["c"] * (n == 3)} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {
        "api_key": SECRETS["by its name"],
        "address": f"https://user:{SECRETS['in an address']}@data.example/",
        "texts": [spoken(kind) for kind in SECRETS],
        "fails": fails,
    }
    (tmp_path / "r.yaml").write_text(
        "plugins: [leaky.py]\n"
        "policy: {use: tabular, arms: [a, b, c]}\n"
        "prompts: {use: jsonl, options: {path: rows.jsonl}}\n"
        "sampler: {use: recorded}\n"
        f"rewards: [{{use: leaky, options: {json.dumps(options)}}}]\n"
        f"scoring: {{on_failure: {'stop' if fails else 'drop-completion'}}}\n"
        "train: {groups_per_step: 2, learning_rate: 0.1}\n"
        # An evaluation would fail before the groups are written, and a run without result leaves nothing.
        f"evaluate: {'{}' if fails else '{prompts: {use: jsonl, options: {path: rows.jsonl}}}'}\n"
        f"# {spoken('of the hub')}\n"
    )
    said = []
    for command in (("run", "-o", tmp_path / "out", "--debug"), ("check",), ("check", "--json")):
        status, out, err = copgkit_command(command[0], tmp_path / "r.yaml", *command[1:])
        said += [out, err]
        assert status == (2 if fails and command[0] == "run" else 0), err
    artefacts = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    stored = {path: path.read_bytes() for path in Path(os.environ["COPGKIT_CACHE"]).rglob("*") if path.is_file()}
    assert {path.name for path in artefacts} >= {"recipe.yaml", "resolved.yaml", "round-0000.jsonl"}
    assert fails or {path.name for path in artefacts} >= {"run.json", "report.html", "samples.jsonl", "metrics.jsonl"}
    everything = {"terminal": "".join(said).encode()} | artefacts | stored
    found = [(kind, str(where)) for kind in SECRETS for where, held in everything.items() if _holds(held, kind)]
    assert found == []
    assert b"[redacted]" in everything["terminal"]


def test_a_model_card_holds_no_secret(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_model_card("".join(f"- {spoken(kind)}\n" for kind in SECRETS))
    card = (folder.model / "README.md").read_bytes()
    assert not any(_holds(card, kind) for kind in SECRETS)


def _holds(held, kind):
    return any(piece.encode() in held for piece in pieces(kind))
