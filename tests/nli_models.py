"""Tiny random entailment classifiers whose outputs stand in any order, and their tokenizer."""

import json

from conftest import tiny_tokenizer

NAMES = ("contradiction", "entailment", "neutral")
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def tiny_classifier(folder, *names, order=NAMES):
    """Saves a BERT with an output for each name, and gives its folder.

    The output of a name that `order` holds is the same whatever place it has among the names."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(tiny_tokenizer()),
        initializer_range=0.4,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        max_position_embeddings=64,
        **SMALL,
    )
    torch.manual_seed(3)
    model = BertForSequenceClassification(config)
    rows = [order.index(name) if name in order else row for row, name in enumerate(names)]
    head = torch.randn(3, config.hidden_size, generator=torch.Generator().manual_seed(4)) * 0.3
    with torch.no_grad():
        model.classifier.weight.copy_(head[rows])
    model.save_pretrained(folder)
    save_pair_tokenizer(folder)
    return folder


def save_pair_tokenizer(folder):
    """A tokenizer that writes pairs as BERT's does, with types."""
    from tokenizers import processors

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> $B:1 <eos>:1", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    file.write_text(json.dumps(settings))
