"""Scale invariance: Arora, Li & Lyu (2019), van Laarhoven (2017) and Kosson, Messmer & Jaggi (2024)."""

from analysis.studies import Study

STUDY = Study(
    title="Theoretical Analysis of Auto Rate-Tuning by Batch Normalization",
    source="Arora, Li & Lyu 2019, ICLR, arXiv:1812.03981; van Laarhoven 2017, arXiv:1706.05350; Kosson, Messmer & "
    "Jaggi 2024, ICML, arXiv:2305.17212",
    says="Weights before a normalisation can be scaled without changing the function, so that their gradient is "
    "orthogonal to them and every step makes them longer: the effective rate lr / |w|^2 tunes itself, and almost any "
    "rate works. With weight decay, growth and decay balance: the weights turn by sqrt(2 lr decay) a step, and what "
    "matters is the product of rate and decay.",
    predicts="Networks with every layer normalised train over decades of rates more than plain ones; angles of "
    "sqrt(2 lr decay) per step; the test error is a function of lr times decay.",
    experiments=(
        "arora2019/invariance",
        "arora2019/rates",
        "arora2019/balance",
        "arora2019/decay",
        "arora2019/label_noise",
    ),
)
