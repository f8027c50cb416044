"""Text to token tensors, by a Hugging Face ``tokenizers`` file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from airflow_agentic.exceptions import MissingExtraError, ModelLoadError
from airflow_agentic.runtime import inputs
from airflow_agentic.runtime.encode import Encoded, each
from airflow_agentic.spec.model import ModelCard, TextEncoding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

_PADS: Final = ("[PAD]", "<pad>", "<|endoftext|>", "</s>")


class TokenEncoder:
    """Token ids, attention mask and types; padded to the longest text of the batch, cut to ``max_length``.

    :param folder: where the model's own tokenizer is if the card names none.
    """

    def __init__(self, card: ModelCard, resolve: Callable[[str], Path], folder: Path | None) -> None:
        spec = card.runtime.text or TextEncoding()
        self._names = spec.inputs
        if spec.tokenizer:
            self._tokenizer = _from_file(resolve(spec.tokenizer))
        elif folder is not None:
            self._tokenizer = _from_folder(folder)
        else:
            raise ModelLoadError(f"model {card.name!r} has no tokenizer; write runtime.text.tokenizer")
        self._tokenizer.enable_truncation(spec.max_length)
        self._tokenizer.enable_padding(**_padding(self._tokenizer))

    def __call__(self, batch: pa.Table) -> Encoded:
        texts, errors = inputs.payloads(batch, "text")
        if errors:
            texts, errors = each(texts, errors, str)
        found = self._tokenizer.encode_batch_fast(texts)
        parts = {
            "ids": lambda: [encoding.ids for encoding in found],
            "mask": lambda: [encoding.attention_mask for encoding in found],
            "types": lambda: [encoding.type_ids for encoding in found],
        }
        arrays = {name: np.array(parts[part](), dtype=np.int64) for part, name in self._names.items()}
        known = self._names.get("mask")
        mask = arrays[known] if known is not None else np.array(parts["mask"](), dtype=np.int64)
        return Encoded(arrays=arrays, rows=len(texts), errors=errors, mask=mask)


def _from_file(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtraError("tokenizers", "tokenizers") from None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ModelLoadError(f"{str(path)!r} is not a tokenizer file (tokenizer.json): {error}") from error


def _from_folder(folder: Path) -> Any:
    """The tokenizer of a transformers folder; older folders have only a vocabulary, which transformers reads."""
    if (folder / "tokenizer.json").is_file():
        return _from_file(folder / "tokenizer.json")
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    backend = getattr(found, "backend_tokenizer", None)
    if backend is None:
        raise ModelLoadError(f"{str(folder)!r} has no tokenizer.json and its tokenizer cannot be made into one")
    return backend


def _padding(tokenizer: Any) -> dict[str, Any]:
    """Pads to the longest of a batch with the tokenizer's own padding token, else the first usual one."""
    own = tokenizer.padding
    if own is not None:
        return {**own, "length": None}
    for token in _PADS:
        number = tokenizer.token_to_id(token)
        if number is not None:
            return {"pad_id": number, "pad_token": token}
    return {}
