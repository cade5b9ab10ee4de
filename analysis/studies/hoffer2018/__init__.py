"""Hoffer et al. (2018): of normalised weights only the norm decays, and with it the effective learning rate rises."""

from analysis.studies import Study

STUDY = Study(
    title="Norm matters: efficient and accurate normalization schemes in deep networks",
    source="Hoffer, Banner, Golan & Soudry 2018, NeurIPS, arXiv:1803.01814",
    says="Where a layer is normalised, the size of its weights changes nothing that the network computes, so that "
    "weight decay cannot make the function simpler: it keeps the weights small, and so the effective learning rate "
    "lr / |w|^2 large. What decay gains is then had without it, by steps that are scaled to the norms that the weights "
    "would have had, or by a schedule of the norms themselves.",
    predicts="Decay of the normalised weights tests better than none; without it, steps of the same effective rate, or "
    "weights of the same norms, test as well as with it.",
    experiments=("hoffer2018/decay", "hoffer2018/mimicry"),
    published=({"model": "vgg11", "data": "cifar10"},),
)
