"""Irpan (2017): batches of one domain each, and moving averages that belong to no domain."""

from analysis.studies import Study

STUDY = Study(
    title="On The Perils of Batch Norm",
    source="Irpan 2017, blog post of 10 July, alexirpan.com",
    says="With batch normalisation the other samples of a batch are a hidden input, and at test time another one takes "
    "their place. Batches of one domain each train well, but moving averages over them belong to no domain, and "
    "testing by them fails; averages of each domain's own mend it.",
    predicts="Where domains are normalised apart with shared running averages, the training loss is as low and the "
    "test accuracy lower than with mixed batches; each domain's own statistics recover it; without BN nothing is lost.",
    experiments=(
        "irpan2017/domains",
        "irpan2017/many_seeds",
        "irpan2017/dose",
        "irpan2017/rates",
        "irpan2017/alternatives",
        "irpan2017/sorted",
        "irpan2017/discriminator",
    ),
)
