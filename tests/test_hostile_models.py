"""Models made to do harm, or to break: none runs code, and each is refused in the project's own words."""

import json
import pickle
import shutil
import struct

import pytest

from copgkit import CopgkitError
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.recipe.model_files import model_facts


class Canary:
    """Unpickling it leaves a file behind."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def _pickle(folder, canary, name):
    (folder / name).write_bytes(pickle.dumps({"model.embed_tokens.weight": Canary(canary)}))


def _only_pickle(name):
    def make(folder, canary):
        (folder / "model.safetensors").unlink()
        _pickle(folder, canary, name)

    return make


def _torch_file(folder, canary):
    """Weights that are sound, in a form that could have held anything."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _header(head, tail=b""):
    """A safetensors file of this header, its length told as it is."""

    def make(folder, canary):
        raw = head if isinstance(head, bytes) else json.dumps(head).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + tail)

    return make


def _raw(content):
    return lambda folder, canary: (folder / "model.safetensors").write_bytes(content)


def _index(weight_map):
    def make(folder, canary):
        (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return make


def _config(**changes):
    def make(folder, canary):
        held = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(held | changes))

    return make


def _own_code(folder, canary):
    _config(
        model_type="no-such-model",
        architectures=["Sings"],
        auto_map={
            "AutoConfig": "sings.Sings",
            "AutoModelForCausalLM": "sings.Sings",
            "AutoTokenizer": ["sings.Sings", None],
        },
    )(folder, canary)
    (folder / "sings.py").write_text(f"open({str(canary)!r}, 'w')\nclass Sings: pass\n")


def _own_generation(folder, canary):
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate/generate.py").write_text(f"open({str(canary)!r}, 'w')\n")


def _own_tokenizer(folder, canary):
    held = json.loads((folder / "tokenizer_config.json").read_text())
    held |= {"tokenizer_class": "Sings", "auto_map": {"AutoTokenizer": ["sings.Sings", "sings.Sings"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(held))
    (folder / "sings.py").write_text(f"open({str(canary)!r}, 'w')\nclass Sings: pass\n")


def _adapter(folder, canary):
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 1, "base_model_name_or_path": str(folder), "target_modules": ["q_proj"]})
    )
    _pickle(folder, canary, "adapter_model.bin")


TENSOR = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
REFUSED = {
    "sound weights in a torch file": _torch_file,
    "pickled weights": _only_pickle("pytorch_model.bin"),
    "pickled weights under another name": _only_pickle("model.pt"),
    "pickle called safetensors": lambda folder, canary: _pickle(folder, canary, "model.safetensors"),
    "a header longer than the file": _raw(struct.pack("<Q", 10**6) + b"{}"),
    "a header of 100 MB in words": _raw(struct.pack("<Q", 100 << 20) + b"{}"),
    "a header beyond 64 bits' sense": _raw(b"\xff" * 8 + b"{}"),
    "no header": _raw(b""),
    "a header that is no JSON": _header(b"{" * 50),
    "a deep header": _header(b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}"),
    "a header that is a list": _header([1, 2]),
    "offsets that overlap": _header({"a": TENSOR, "b": TENSOR}, b"\0" * 16),
    "offsets beyond the end": _header({"a": TENSOR | {"data_offsets": [0, 1 << 40]}}, b"\0" * 16),
    "a shape of negative size": _header({"a": TENSOR | {"shape": [-2, 2]}}, b"\0" * 16),
    "a shape of text": _header({"a": TENSOR | {"shape": "22"}}, b"\0" * 16),
    "a shape that overflows": _header({"a": TENSOR | {"shape": [1 << 40, 1 << 40]}}, b"\0" * 16),
    "an index that leads outside": _index({"model.embed_tokens.weight": "../elsewhere.safetensors"}),
    "an index of lists": _index([["a", "b"]]),
    "an index of numbers": _index({"a": 3}),
    "code of its own": _own_code,
    "a configuration that is a list": lambda folder, canary: (folder / "config.json").write_text("[1]"),
    "a configuration cut off": lambda folder, canary: (folder / "config.json").write_text('{"model_type": "lla'),
    "a configuration of text": _config(hidden_size="many"),
    "a configuration of no heads": _config(num_attention_heads=0),
    "a tokenizer cut off": lambda folder, canary: (folder / "tokenizer.json").write_text('{"version": "1.0", '),
    "a link to nowhere": lambda folder, canary: (
        (folder / "model.safetensors").unlink(),
        (folder / "model.safetensors").symlink_to("/nonexistent/canary"),
    ),
}
HARMLESS = {
    "pickles beside the weights": lambda folder, canary: [
        _pickle(folder, canary, name)
        for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "rng_state.pth")
    ],
    "a generation of its own": _own_generation,
    "a tokenizer of its own": _own_tokenizer,
    "a pickled adapter": _adapter,
}


@pytest.mark.parametrize("kind", [*REFUSED, *HARMLESS])
def test_no_model_runs_code_and_a_broken_one_is_refused_in_our_words(tiny_policy_folder, tmp_path, kind):
    folder, canary = shutil.copytree(tiny_policy_folder, tmp_path / "model"), tmp_path / "sang"
    (REFUSED | HARMLESS)[kind](folder, canary)
    refused = False
    try:
        CausalLMPolicy.load(str(folder), max_prompt_tokens=16, max_completion_tokens=8)
    except CopgkitError as fault:
        refused = "policy.model" in str(fault) or "policy.tokenizer" in str(fault)
    assert not canary.exists()
    assert refused or kind in HARMLESS
    model_facts("model", tmp_path)  # `check` reads the same headers, without torch
