"""Traps found in public reproductions of these measurements, and the tests that would catch ours in them.

min/max over different learning rates called a landscape:
    test_probes.test_landscape_and_covariate_shift_agree_with_the_slow_twins
gradient differences across consecutive mini-batches:
    test_probes.test_on_a_quadratic_beta_is_the_curvature_along_the_gradient_at_every_step_length
    test_probes.test_dropout_from_the_global_generator_is_the_training_steps_own_at_every_point
beta never divided by a distance, or by a constant:
    test_probes.test_on_a_quadratic_beta_is_the_curvature_along_the_gradient_at_every_step_length
walking along +g:
    test_probes.test_along_one_is_after_for_plain_gradient_descent
an Adam step with a raw-gradient walk of Adam-sized steps (the update's own line is walked apart from the gradient's):
    test_traps.test_along_the_update_of_adam_one_is_after_and_the_gradient_is_another_line
probing in eval mode:
    test_probes.test_each_module_is_evaluated_in_the_mode_that_it_trains_in
running statistics moved by probing, num_batches_tracked moved, weights restored by adding back, gradients not restored:
    test_probes.test_training_is_bit_identical_with_and_without_probes
    test_probes_suite.test_probes_on_the_suites_networks
noise or dropout redrawn between points:
    test_probes.test_dropout_from_the_global_generator_is_the_training_steps_own_at_every_point
    test_probes_values.test_drift_between_steps_is_each_steps_own_batch_and_noise
half precision in the probe:
    test_probes.test_half_precision_of_training_does_not_reach_the_probes
the probed layer updated too:
    test_probes.test_the_probed_layer_itself_does_not_move
    test_probes.test_the_first_layer_has_no_covariate_shift_at_all
a hook before an in-place ReLU recording rectified values:
    test_probes_values.test_activations_are_those_that_hooks_see
a fixed module index across architectures (layers go by name, and unknown names are refused):
    test_probes_networks.test_a_sequence_of_composite_blocks_is_looked_into
    test_probes_refusals.test_wrong_input_is_one_clear_line
noisy BN without per-sample noise, variance where the deviation was meant:
    test_norm_closed_forms.TestNoise
an l_p running statistic that is no buffer:
    test_norms.test_copies_saves_and_trains_deterministically
a seed set once before a loop of runs:
    test_training.test_equal_seeds_give_equal_runs_and_other_seeds_give_others
    test_guards.test_the_runs_seed_seeds_all_global_generators
outputs deleted or overwritten at start:
    test_resume.test_finished_runs_are_left_alone_on_any_device_and_thread_count
    test_command_line.test_a_refused_start_touches_nothing
smoothed bands:
    test_analysis_figures_compute.test_bands_are_medians_over_seeds_of_each_runs_extremes_on_the_papers_grid
the last partial batch changing the probe's size:
    test_data.test_each_epoch_has_each_sample_at_most_once_in_an_order_of_its_own
    test_data.test_fixed_batch_is_of_the_seed_and_not_augmented
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

from probes import Gradients, Landscape, Objective
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, build, train_step


def test_each_test_of_the_list_is_there() -> None:
    named = re.findall(r"^    (test_\w+)\.(\w+)$", __doc__, re.MULTILINE)
    assert len(named) > 20
    for file, name in named:
        tree = ast.parse((Path(__file__).parent / f"{file}.py").read_text())
        assert name in {getattr(node, "name", None) for node in tree.body}, f"{file}.{name}"


def test_along_the_update_of_adam_one_is_after_and_the_gradient_is_another_line() -> None:
    network, objective, batch, lr = twin.conv_net("batch").double(), Objective(CROSS_ENTROPY), twin.image_batch(), 1e-2
    batch = (batch[0].double(), batch[1])
    before = twin.Snapshot(network, objective, 7, 0)
    start = {n: p.detach().clone() for n, p in network.named_parameters()}
    probes = {"l": Landscape(multiples=(1.0,), update=True), "g": Gradients()}
    engine = build(network, objective, probes, example=batch, learning_rate=lr)
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    with engine.around(0, batch):
        train_step(network, network, objective, optimiser, batch, 7, 0)
    found = {name: values for name, _, values in engine.records}
    after = {n: p.detach().clone() for n, p in network.named_parameters()}
    loss, _, gradient, _ = before.run(batch, after)
    g = before.run(batch)[2]
    distance = twin.length([after[n] - start[n] for n in start])
    difference = twin.length([gradient[n] - g[n] for n in g])
    assert found["l"]["landscape_loss_along_update"].item() == pytest.approx(loss)
    assert found["l"]["effective_beta_along_update"].item() == pytest.approx(difference / distance)
    assert found["g"]["update_norm"].item() == pytest.approx(distance)
    along = before.run(batch, {n: start[n] - lr * g[n] for n in g})
    difference = twin.length([along[2][n] - g[n] for n in g])
    assert found["l"]["landscape_loss"].item() == pytest.approx(along[0])
    assert found["l"]["effective_beta"].item() == pytest.approx(difference / (lr * twin.length(g.values())))
    assert found["l"]["landscape_loss"].item() != pytest.approx(loss, rel=1e-4)
