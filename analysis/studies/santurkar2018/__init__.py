"""Santurkar, Tsipras, Ilyas & Madry (2018): batch normalisation smooths the landscape."""

from analysis.studies import Beside, Study

STUDY = Study(
    title="How Does Batch Normalization Help Optimization?",
    source="Santurkar, Tsipras, Ilyas & Madry 2018, NeurIPS, arXiv:1805.11604",
    says="Batch normalisation does not help by stabilising the distributions of layer inputs: noise that undoes that "
    "stability leaves training as fast as before, and the gradients' shift is no smaller with it. It helps because it "
    "makes the loss and its gradient change more slowly along the step, so that larger steps can be trusted; other "
    "normalisations that do the same train as well.",
    predicts="Drift alike with and without; noisy batch normalisation trains nearly as fast; loss, gradient and "
    "effective smoothness along the gradient vary less with every normalisation that helps.",
    experiments=(
        "santurkar2018/vgg",
        "santurkar2018/vgg_beside",
        "santurkar2018/vgg_lines",
        "santurkar2018/linear",
        "santurkar2018/vgg_shift",
    ),
    published=(
        {"model": "vgg16", "data": "cifar10", "optim.lr": 0.1, "steps": 15000},
        {"model": "deep_linear", "data": "gaussian", "optim.lr": 1e-6, "steps": 10000},
    ),
    beside=(
        Beside(
            ("S3", "S4", "S5"),
            "Pawar 2025, a replication: a VGG on CIFAR-10, learning rate 0.035, momentum 0.9, one seed",
            "It tests at 85.3 % with batch normalisation, 83.2 % with noise after it and 81.5 % without, and takes "
            "1,800, 5,600 and 4,200 steps to 80 %: with noise it trains more slowly than without any, against S4 and "
            "in part against S3 and S5.",
        ),
        Beside(
            ("S10", "S11", "S12"),
            "A replication of 2019 that is widely copied",
            "It measures other quantities: a band over four trainings with Adam, differences of one layer's gradient "
            "over consecutive mini-batches, and a beta that is not divided by a distance. It says nothing "
            "of these.",
        ),
        Beside(
            ("S11b",),
            "Figure 4 (b) of the paper itself, its numbers read off",
            "There the medians differ by a factor of 2 to 3.5, not by two orders of magnitude.",
        ),
        Beside(
            ("S21",),
            "Theorem 4.1 as version 3 prints it",
            "The constant of its last term, 1/sqrt(m), is a misprint, violated by random draws; with 1/m, and for "
            "eps > 0 with (1 + eps/(variance + eps))/m, the inequality is an equation.",
        ),
        Beside(
            ("S24",),
            "Dannemann & Junike 2025, arXiv:2502.17913",
            "A counterexample to Lemma 4.5: it needs centred inputs, or a bias in the neuron (claims L1 to L4).",
        ),
    ),
)
