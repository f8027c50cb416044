"""EfficientNet-Lite from torch to Keras, weight by weight.

Keras' ``padding="same"`` pads as the torch package's static padding does, so both answer alike to 1e-5.
"""

from __future__ import annotations

from typing import Any


def keras_model(net: Any, size: int) -> Any:
    """A Keras model with the weights of ``net``.

    :param net: an ``efficientnet_lite_pytorch.EfficientNet`` in evaluation mode.
    :param size: of the square input, in pixels.
    :returns: ``[batch, size, size, 3]`` float32 → logits ``[batch, 1000]``.
    """
    import keras

    port = _Port(keras.layers)
    image = keras.Input((size, size, 3), name="image")
    x = port.convolution(image, net._conv_stem, net._bn0)
    for block in net._blocks:
        x = port.block(x, block)
    x = port.convolution(x, net._conv_head, net._bn1)
    x = keras.layers.GlobalAveragePooling2D()(x)
    dense = keras.layers.Dense(net._fc.out_features, name="logits")
    model = keras.Model(image, dense(x))
    port.weights.append((dense, [_array(net._fc.weight).T, _array(net._fc.bias)]))
    for layer, weights in port.weights:
        layer.set_weights(weights)
    return model


class _Port:
    """Builds layers and notes the weights each gets once the model exists."""

    def __init__(self, layers: Any) -> None:
        self.layers = layers
        self.weights: list[tuple[Any, list[Any]]] = []

    def block(self, x: Any, block: Any) -> Any:
        """An inverted residual block."""
        settings, entry = block._block_args, x
        if settings.expand_ratio != 1:
            x = self.convolution(x, block._expand_conv, block._bn0)
        x = self.convolution(x, block._depthwise_conv, block._bn1)
        x = self.convolution(x, block._project_conv, block._bn2, activate=False)
        same = settings.input_filters == settings.output_filters
        return self.layers.Add()([x, entry]) if settings.id_skip and _stride(settings.stride) == 1 and same else x

    def convolution(self, x: Any, conv: Any, norm: Any, *, activate: bool = True) -> Any:
        """Convolution, batch normalisation, ReLU6."""
        kernel, weight = conv.kernel_size[0], _array(conv.weight)
        options = {"strides": _stride(conv.stride), "padding": "same", "use_bias": False}
        if conv.groups > 1:
            layer = self.layers.DepthwiseConv2D(kernel, **options)
            self.weights.append((layer, [weight.transpose(2, 3, 0, 1)]))
        else:
            layer = self.layers.Conv2D(conv.out_channels, kernel, **options)
            self.weights.append((layer, [weight.transpose(2, 3, 1, 0)]))
        normalise = self.layers.BatchNormalization(epsilon=norm.eps)
        statistics = [norm.weight, norm.bias, norm.running_mean, norm.running_var]
        x = normalise(layer(x))
        self.weights.append((normalise, [_array(value) for value in statistics]))
        return self.layers.ReLU(6.0)(x) if activate else x


def _array(tensor: Any) -> Any:
    return tensor.detach().numpy()


def _stride(value: Any) -> int:
    return int(value[0]) if isinstance(value, list | tuple) else int(value)
