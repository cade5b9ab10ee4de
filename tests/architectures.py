"""Networks as people have them, small: torchvision's, torch's recurrent ones and encoders, and hand-written ones."""

from __future__ import annotations

import torch
from torch import nn

from experiments.data.torchvision_import import import_torchvision


class PreActivationBlock(nn.Module):
    """He et al. 2016: normalisation and activation first; where the size changes the shortcut reads the activation."""

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x):
        y = torch.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        return self.conv2(torch.relu(self.bn2(self.conv1(y)))) + shortcut


class PreActivationResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(PreActivationBlock(4, 4), PreActivationBlock(4, 6, 2), PreActivationBlock(6, 6))
        self.bn, self.head = nn.BatchNorm2d(6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.relu(self.bn(self.blocks(self.stem(x)))).mean((2, 3)))


class Recurrent(nn.Module):
    """Embedding, a recurrent module that returns a tuple, layer normalisation, head."""

    def __init__(self, kind, **options):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.rnn = kind(6, 5, batch_first=True, **options)
        width = 10 if options.get("bidirectional") else 5
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x):
        output, _ = self.rnn(self.embedding(x))
        return self.head(torch.tanh(self.norm(output)).mean(1))


class Encoder(nn.Module):
    """torch's TransformerEncoder with a trained position embedding as a bare parameter."""

    def __init__(self, norm_first):
        super().__init__()
        self.embedding, self.position = nn.Embedding(11, 8), nn.Parameter(torch.randn(1, 6, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, norm_first=norm_first, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(self.embedding(x) + self.position).mean(1))


def resnet(models):
    return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=3, width_per_group=64)


def bottleneck(models):
    return models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=3, width_per_group=8, groups=2)


def densenet(models):
    return models.DenseNet(4, (2, 2), 8, num_classes=3)


def mobilenet_v2(models):
    return models.MobileNetV2(3, 0.25, [[1, 8, 1, 1], [3, 16, 2, 2]], 4)


def mobilenet_v3(models):
    part = models.mobilenetv3.InvertedResidualConfig
    blocks = [part(8, 3, 8, 8, True, "RE", 2, 1, 1), part(8, 5, 16, 8, True, "HS", 1, 1, 1)]
    return models.MobileNetV3(blocks, 16, num_classes=3)


def convnext(models):
    block = models.convnext.CNBlockConfig
    return models.ConvNeXt([block(8, 12, 1), block(12, None, 2)], 0.2, layer_scale=0.5, num_classes=3)


def vit(models):
    return models.VisionTransformer(32, 8, 2, 2, 8, 12, dropout=0.1, num_classes=3)


def swin(models):
    return models.SwinTransformer([4, 4], 8, [2, 1], [2, 2], [2, 2], dropout=0.1, num_classes=3)


def swin_v2(models):
    block, merging = models.swin_transformer.SwinTransformerBlockV2, models.swin_transformer.PatchMergingV2
    return models.SwinTransformer(
        [4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=3, block=block, downsample_layer=merging
    )


IMAGES = {
    f.__name__: f for f in (resnet, bottleneck, densenet, mobilenet_v2, mobilenet_v3, convnext, vit, swin, swin_v2)
}
IMAGES["pre_activation"] = lambda models: PreActivationResNet()
TOKENS = {
    "lstm": lambda: Recurrent(nn.LSTM, num_layers=2, dropout=0.1),
    "lstm_both_ways": lambda: Recurrent(nn.LSTM, bidirectional=True),
    "gru": lambda: Recurrent(nn.GRU),
    "encoder": lambda: Encoder(False),
    "encoder_norm_first": lambda: Encoder(True),
}


def made(name):
    """(network, batch), the same at every call."""
    torch.manual_seed(3)
    network = IMAGES[name](import_torchvision().models) if name in IMAGES else TOKENS[name]()
    for parameter in network.parameters():  # torchvision starts some at 0, where nothing would be seen
        if parameter.ndim < 2 or parameter.count_nonzero() == 0:
            nn.init.uniform_(parameter, 0.5, 1.5)
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(6, 3, 32, 32, generator=generator)
    if name in TOKENS:
        inputs = torch.randint(11, (6, 6), generator=generator)
    return network, (inputs, torch.randint(3, (6,), generator=generator))
