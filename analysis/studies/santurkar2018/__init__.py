"""Santurkar, Tsipras, Ilyas & Madry (2018): batch normalisation smooths the landscape."""

from analysis.studies import Study

STUDY = Study(
    title="How Does Batch Normalization Help Optimization?",
    source="Santurkar, Tsipras, Ilyas & Madry 2018, NeurIPS, arXiv:1805.11604",
    says="Batch normalisation does not help by stabilising the distributions of layer inputs: noise that undoes that "
    "stability leaves training as fast as before, and the gradients' shift is no smaller with it. It helps because it "
    "makes the loss and its gradient change more slowly along the step, so that larger steps can be trusted; other "
    "normalisations that do the same train as well.",
    predicts="Drift alike with and without; noisy batch normalisation trains nearly as fast; loss, gradient and "
    "effective smoothness along the gradient vary less with every normalisation that helps.",
    experiments=("santurkar2018/vgg", "santurkar2018/linear"),
    published=(
        {"model": "vgg16", "data": "cifar10", "optim.lr": 0.1, "steps": 15000},
        {"model": "deep_linear", "data": "gaussian", "optim.lr": 1e-6, "steps": 10000},
    ),
)
