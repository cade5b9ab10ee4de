"""Galloway et al. (2019): batch normalisation and inputs that are not as in training."""

from analysis.studies import Study

STUDY = Study(
    title="Batch Normalization is a Cause of Adversarial Vulnerability",
    source="Galloway, Golubeva, Tanay, Moussa & Taylor 2019, arXiv:1905.02161; Benz et al. 2021, arXiv:2010.03630",
    says="Networks with batch normalisation lose more accuracy than others on noisy and on adversarial inputs. It "
    "tilts the decision boundary into directions in which the data hardly vary; and its statistics are those of clean "
    "inputs.",
    predicts="On inputs with noise, or after projected gradient ascent, an accuracy at least five points lower with "
    "batch normalisation than without, also where the accuracies on clean inputs are the same.",
    experiments=("galloway2019/robustness",),
    published=({"model": "resnet", "model.depth": 110, "data": "cifar10"},),
)
