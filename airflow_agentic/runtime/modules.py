"""Small torch modules that a card may name as ``class`` for a state dict.

Imports torch: nothing but the torch session imports this module, and only when a card asks for it.
"""

from __future__ import annotations

from itertools import pairwise

import torch


class MLP(torch.nn.Sequential):
    """A multi-layer perceptron: ``Linear`` and ``ReLU`` in turn, no activation after the last layer.

    The state dict's keys are ``0.weight``, ``0.bias``, ``2.weight``…; float32 ``[batch, sizes[0]]`` →
    ``[batch, sizes[-1]]``.
    """

    def __init__(self, sizes: list[int]) -> None:
        """:param sizes: of the input, of each hidden layer, and of the output."""
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(
                f"sizes {sizes!r} need an input and an output, each 1 or more; write for example [18, 64, 7]"
            )
        layers: list[torch.nn.Module] = []
        for size, following in pairwise(sizes):
            layers += [torch.nn.Linear(size, following), torch.nn.ReLU()]
        super().__init__(*layers[:-1])
