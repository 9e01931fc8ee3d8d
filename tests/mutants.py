"""Plants likely mistakes in a copy of the package, one at a time, and fails if the tests do not notice one of them.

    python tests/mutants.py            all of them, in two processes
    python tests/mutants.py credit     those whose file or tests contain "credit"
    python tests/mutants.py --fast     a few, the quickest

A new function in objectives, credit or estimators comes with a mutant here.
"""

from __future__ import annotations

import compileall
import importlib
import multiprocessing
import os
import py_compile
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROCESSES, FORK = 2, multiprocessing.get_context("fork")  # PyTorch is imported once, before they are forked
OBJECTIVES, CREDIT, ESTIMATORS, SAMPLING = (
    "algorithms/objectives.py",
    "algorithms/credit.py",
    "algorithms/estimators.py",
    "tokens/sampling.py",
)
REWARDS, PLAYERS, LSTM, CNN = (
    "game/rewards.py",
    "game/players.py",
    "networks/text/plain_lstm.py",
    "networks/text/cnn.py",
)
OUTPUT, ORACLE, CNN_TABLES = "networks/text/output.py", "worlds/oracle.py", "networks/text/cnn_tables.py"
DRAW, TRUST_REGION, REPLAY = "networks/categorical.py", "algorithms/trust_region.py", "game/replay.py"
ACTIONS, NORMALISER, ACTOR = (
    "networks/policies/actions.py",
    "networks/policies/normaliser.py",
    "networks/policies/actor.py",
)
TRANSITION, FUSED = "networks/policies/transition.py", "networks/policies/fused.py"
SAMPLES, CARTPOLE = "samples.py", "worlds/cartpole.py"
COPIES, POLICY = "imitation/copies.py", "imitation/policy.py"
PICTURES, PAINTING, LAYERS = "images/data.py", "images/players.py", "networks/pictures/layers.py"
WORDS, JOINED = "images/caption_encoders.py", "networks/pictures/joint_embedding.py"
PAINTER, CRITIC, AVERAGE = "networks/pictures/generator.py", "networks/pictures/discriminator.py", "networks/average.py"
AUGMENTATION, SHOWN = "images/augmentation.py", "images/evaluation.py"
ROLLOUTS = "tokens/rollouts.py"
TOKEN_POLICY, TOKEN_CREDIT, SEQ2SEQ = "tokens/policy.py", "tokens/credit.py", "networks/text/seq2seq.py"
LANGUAGE_MODELS, REPLY_ENCODER = "networks/text/language_models.py", "networks/text/reply_encoder.py"
TOKEN_REWARDS = "tokens/rewards.py"
HIERARCHICAL, TOKEN_JUDGES = "networks/text/hierarchical.py", "tokens/discriminator.py"
HISTORIES, RECURRENT = "networks/text/histories.py", "networks/text/lstm_discriminator.py"
F_GAN, LEARNING, MINIBATCH = "algorithms/f_gan.py", "engine/learning.py", "networks/text/minibatch.py"
GRAMS, MAUVE, EVALUATED = "language/metrics.py", "language/mauve.py", "text/evaluation.py"
UNITS = "language/units.py"
STATISTICS, TRADE_OFF = "report/statistics.py", "report/tradeoff.py"
SOFT, SOFT_TEXT, ROUTES = "networks/text/soft.py", "tokens/soft.py", "text/differentiable.py"
CLASS_HEAD, CLASSES, DATA = "networks/text/class_head.py", "text/label_classifier.py", "language/data.py"
FITTING, STEPS, RECORDED = "imitation/fitting.py", "imitation/steps.py", "imitation/recorded.py"
IMPROVEMENT, FEATURES, GAME = "imitation/improvement.py", "imitation/discriminator_inputs.py", "imitation/players.py"

NETWORKS_THERE = "test_rehearsal.py::test_networks_of_replies"


class Mutant(NamedTuple):
    """`old`, which occurs once in `file`, becomes `new`; one of `tests`, file or file::test, must then fail."""

    file: str
    old: str
    new: str
    tests: str
    fast: bool = False


MUTANTS = [
    # models of real size
    Mutant(
        "language/training.py",
        "            self.mle.optimizer.state.clear()\n",
        "",
        "test_real_size.py::test_a_game_holds_neither_a_control_nor_the_moments_of_likelihood",
    ),
    Mutant(
        "networks/text/checkpointing.py",
        "if not torch.is_grad_enabled():",
        "if True:",
        "test_real_size.py::test_checkpointing_keeps_a_tenth_in_the_policy_phase_too",
    ),
    # one precision from drawing to gradient
    Mutant(
        "engine/engine.py", "with self.accelerator.autocast():", "with contextlib.nullcontext():", "test_precision.py"
    ),
    Mutant(
        OUTPUT,
        "torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype",
        "weight.dtype",
        "test_precision.py::test_log_probs_in_bfloat16",
        fast=True,
    ),
    Mutant(OUTPUT, "wanted[1] else None", "True else None", "test_precision.py::test_a_frozen_head_costs_no_gradient"),
    Mutant(
        "language/pretrained.py",
        'low = precision == "bf16" or',
        'low = precision == "fp32" or',
        "test_precision.py::test_how_attention_is_computed",
    ),
    # alarms
    Mutant(
        "report/alarms.py",
        "min(accuracy) < 0.98",
        "max(accuracy) < 0.98",
        "test_alarms.py::test_an_alarm_rings_beyond_its_bound_alone",
        fast=True,
    ),
    Mutant(
        "report/alarms.py",
        "(before > real) == (found[-1] > real)",
        "(before > real) != (found[-1] > real)",
        "test_alarms.py::test_what_was_so_before_the_game_is_not_the_games",
    ),
    Mutant(
        "report/seen.py",
        "return found if len(found) == 2 or self.done >= 1 else []",
        "return found",
        "test_alarms.py::test_a_phase_of_few_evaluations_is_judged_by_its_last",
    ),
    Mutant(
        "engine/watch.py",
        "if (phase, name) not in known:",
        "if True:",
        "test_alarms.py::test_alarms_are_functions_of_the_metrics_alone",
    ),
    Mutant(
        PLAYERS,
        "(real.mean() + fake.mean()) / 2 if objective.relative else 0.0",
        "0.0",
        "test_alarms.py::test_accuracy_where_only_differences_of_logits_count",
    ),
    # texts of classes
    Mutant(
        OBJECTIVES,
        "- real * of_real[..., 1].mean()",
        "+ real * of_real[..., 1].mean()",
        "test_labelled_text.py::test_the_objective_with_classes_by_hand",
        True,
    ),
    Mutant(
        OBJECTIVES,
        "- fake * of_fake[..., 1].mean()",
        "- fake * of_real[..., 1].mean()",
        "test_labelled_text.py::test_the_objective_with_classes_by_hand",
    ),
    Mutant(
        OBJECTIVES,
        "+ reward * judged[..., 1]",
        "- reward * judged[..., 1]",
        "test_labelled_text.py::test_the_objective_with_classes_by_hand",
    ),
    Mutant(
        OBJECTIVES,
        "logit=lambda judged: judged[..., 0]",
        "logit=lambda judged: judged[..., 1]",
        "test_labelled_text.py::test_the_discriminator_learns_both",
    ),
    Mutant(
        TOKEN_REWARDS,
        "rewards.log_ratio(logits)",
        "logits[..., 0]",
        "test_labelled_text.py::test_the_likelihood_ratio_is_multiplied_by_the_label_s_probability",
    ),
    Mutant(
        CLASS_HEAD,
        "wide.weight[:1] = narrow.weight",
        "pass",
        "test_labelled_text.py::test_the_head_gives_the_logit_and_the_label_s_log_probability",
    ),
    Mutant(
        CLASS_HEAD,
        "logits.log_softmax(-1)",
        "logits.sigmoid().log()",
        "test_labelled_text.py::test_the_head_gives_the_logit_and_the_label_s_log_probability",
    ),
    Mutant(
        LSTM,
        "first if labels is None else first + labels",
        "first",
        "test_labelled_text.py::test_a_class_is_the_first_token_read",
    ),
    Mutant(
        HISTORIES,
        "self.network.start(batch, *self.context)",
        "self.network.start(batch, *(part * 0 for part in self.context))",
        "test_labelled_text.py::test_what_is_drawn_is_what_is_differentiated",
    ),
    Mutant(
        LANGUAGE_MODELS,
        "torch.cat([history, labels.unsqueeze(1)], dim=1)",
        "torch.cat([labels.unsqueeze(1), history], dim=1)",
        "test_labelled_text.py::test_an_unprompted_model_reads_the_class_after_its_start",
    ),
    Mutant(
        ORACLE,
        "found: Tensor = network(tokens.ids, *tokens.context, mask",
        "found: Tensor = network(tokens.ids, *(c * 0 for c in tokens.context), mask",
        "test_labelled_text.py::test_likelihood_is_that_under_the_right_label",
    ),
    Mutant(
        CLASSES,
        "right[own].mean()",
        "right.mean()",
        "test_labelled_text.py::test_the_judge_tells_classes_of_real_text_and_disturbs_nothing",
    ),
    Mutant(
        EVALUATED,
        "torch.arange(count) * len(values) // count",
        "torch.arange(count) % len(values)",
        "test_labelled_text.py::test_labels_of_samples_are_in_the_held_out_shares",
    ),
    Mutant(
        EVALUATED,
        "unseen | self._classes(source.held_out)",
        "unseen",
        "test_labelled_text.py::test_a_run_keeps_its_labels",
    ),
    Mutant(
        DATA,
        "corpus.chosen(kept)",
        "corpus.chosen(list(range(len(kept))))",
        "test_labelled_text.py::test_a_source_has_its_labels_in_order",
    ),
    # soft text
    Mutant(
        OBJECTIVES,
        "F.softplus(fake - real)",
        "F.softplus(real - fake)",
        "test_soft_text.py::test_the_relativistic_loss_by_hand",
        True,
    ),
    Mutant(
        OBJECTIVES,
        "fake: relativistic_loss(fake, real)",
        "fake: relativistic_loss(real, fake)",
        "test_soft_text.py::test_the_relativistic_loss_by_hand",
    ),
    Mutant(
        OBJECTIVES,
        "(first.mean(0) - second.mean(0))",
        "(first.sum(0) - second.sum(0))",
        "test_soft_text.py::test_mean_matching_is_the_distance_of_means",
    ),
    Mutant(
        OBJECTIVES,
        "(one.sum() - one.diagonal().sum()) / (n * (n - 1))",
        "one.sum() / (n * n)",
        "test_soft_text.py::test_mmd_is_unbiased",
    ),
    Mutant(
        OBJECTIVES,
        "(2 * sigma**2)",
        "sigma**2",
        "test_soft_text.py::test_mmd_is_that_of_all_pairs",
    ),
    Mutant(
        SOFT,
        "drawn = logits + noise",
        "drawn = logits + noise / 2",
        "test_soft_text.py::test_gumbel_softmax_draws_each_token_with_its_probability",
    ),
    Mutant(
        SOFT,
        "hard + (weights - weights.detach())",
        "hard",
        "test_soft_text.py::test_straight_through_has_whole_tokens_and_the_soft_gradient",
    ),
    Mutant(
        "tokens/sampling.py",
        "ended = ended | (tokens == end) if end is not None else ended",
        "ended = (tokens == end) if end is not None else ended",
        "test_soft_text.py::test_a_soft_text_ends_with_its_first_end_token",
    ),
    Mutant(
        SAMPLING,
        "SoftTokens(joined, until_end(joined, end),",
        "SoftTokens(joined, joined != end,",
        "test_soft_text.py::test_a_soft_text_ends_with_its_first_end_token",
    ),
    Mutant(
        SOFT_TEXT,
        "both.mask[: size(real)] | both",
        "both.mask[: size(real)] & both",
        "test_soft_text.py::test_the_penalty_reaches_the_critic_through_soft_text",
    ),
    Mutant(
        SOFT_TEXT,
        "tokens.ids.masked_fill(~tokens.mask, last)",
        "tokens.ids",
        "test_soft_text.py::test_a_text_of_one_length_is_filled_with_end_tokens",
    ),
    Mutant(
        ROUTES,
        "engine.counters.get(ADVERSARIAL, 0) / rounds",
        "engine.counters.get(ADVERSARIAL, 0) / (rounds - 1)",
        "test_soft_text.py::test_sharpness_grows_with_the_rounds",
    ),
    # objectives
    Mutant(
        OBJECTIVES,
        "F.relu(margin * distance - real + fake)",
        "F.relu(margin * distance + real - fake)",
        "test_objectives.py",
    ),
    Mutant(
        OBJECTIVES,
        "- weight * real.mean()\n\n    return Objective(loss, lambda",
        "+ weight * real.mean()\n\n    return Objective(loss, lambda",
        "test_objectives.py",
    ),
    Mutant(
        OBJECTIVES,
        "counted = (first >= 0) | (second >= 0)",
        "counted = (first >= 0) & (second >= 0)",
        "test_objectives.py",
    ),
    Mutant(
        OBJECTIVES,
        "F.relu(margin - F.softplus(-fake)).mean()",
        "(margin - F.softplus(-fake)).mean()",
        "test_objectives.py",
    ),
    Mutant(
        OBJECTIVES,
        "Objective(logistic_loss, lambda logits: -logits.square() / 2)",
        "Objective(logistic_loss, lambda logits: logits.square() / 2)",
        "test_objectives.py",
    ),
    Mutant(
        F_GAN,
        "worth(fake).mean() - activation(real).mean()",
        "worth(fake).mean() - worth(real).mean()",
        "test_objectives.py",
    ),
    Mutant(F_GAN, "lambda logits: logits + 1, torch.exp", "lambda logits: logits, torch.exp", "test_objectives.py"),
    Mutant(F_GAN, "lambda logits: logits - 1", "lambda logits: logits + 1", "test_objectives.py"),
    Mutant(F_GAN, "logits.square() / 4 + logits", "logits.square() / 2 + logits", "test_objectives.py"),
    Mutant(F_GAN, "-torch.expm1(-logits), torch.expm1", "-torch.expm1(-logits), torch.exp", "test_objectives.py"),
    Mutant(F_GAN, "F.softplus(logits) - LOG_2", "F.softplus(logits)", "test_objectives.py"),
    Mutant(
        F_GAN, "variational(F.logsigmoid, F.softplus)", "variational(F.logsigmoid, F.logsigmoid)", "test_objectives.py"
    ),
    # MaliGAN, and what steadies a game
    Mutant(
        CREDIT,
        "(group * log_ratio.view(-1, group).softmax(1))",
        "log_ratio.view(-1, group).softmax(1)",
        "test_maligan.py",
    ),
    Mutant(
        CREDIT,
        "group * log_ratio.view(-1, group).softmax(1)",
        "group * log_ratio.view(-1, group).sigmoid()",
        "test_maligan.py",
    ),
    Mutant(
        TOKEN_REWARDS,
        "(rewards.log_ratio(logits) - rewards.of_logit(logits))",
        "rewards.log_ratio(logits)",
        "test_maligan.py",
    ),
    Mutant(TOKEN_POLICY, "credit = credit + (fake.mask & ~drawn)", "credit = credit + 0", "test_maligan.py"),
    Mutant(
        TOKEN_POLICY,
        "drawn[:, : self.likelihood.prefix()] = False",
        "drawn[:, : self.likelihood.prefix() - 1] = False",
        "test_maligan.py",
    ),
    Mutant(SAMPLING, "tokens = given[alive, t]", "tokens = given[: len(alive), t]", "test_maligan.py"),
    Mutant(
        LEARNING,
        "[p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() < 2]",
        "parameters, []",
        "test_optimizers.py",
    ),
    Mutant(LEARNING, "order = parameters if len(groups) == 1 else", "order = 0 or", "test_optimizers.py"),
    Mutant("engine/phases.py", "each = statistics.median(times)", "each = times[0]", "test_long_phases.py"),
    Mutant("language/adapters.py", "if hit and len(found) > 1:", "if hit and len(found) > 9:", "test_pretrained.py"),
    Mutant("language/pretrained.py", " and not _reads(made, key):", ":", "test_pretrained.py"),
    Mutant("language/training.py", "repeats if differ() else None", "None", "test_maligan.py"),
    Mutant("language/training.py", "repeats if differ() else None", "repeats", "test_maligan.py"),
    Mutant(
        LEARNING, 'lerp_(now, 1 / float(state["step"]))', "lerp_(now, 0.5)", "test_learning.py::test_history_by_hand"
    ),
    Mutant(
        LEARNING,
        "alpha=2 * learner.config.history",
        "alpha=learner.config.history",
        "test_learning.py::test_history_by_hand",
    ),
    Mutant(
        PLAYERS,
        "parameter.clamp_(-self.clip_weights, self.clip_weights)",
        "parameter.clamp_(max=self.clip_weights)",
        "test_learning.py::test_a_clipped_critic_separates_within_its_bound",
    ),
    Mutant(
        MINIBATCH, ".sum(2) - 1  #", ".sum(2)  #", "test_networks.py::test_minibatch_discrimination_equals_a_slow_loop"
    ),
    Mutant(
        OBJECTIVES,
        "F.softplus(-real).mean() + F.softplus(fake).mean()",
        "F.softplus(-real).mean() + F.softplus(fake).mean() / 2",
        "test_objectives.py",
        True,
    ),
    Mutant(
        OBJECTIVES,
        "F.softplus(-real).mean() + F.softplus(fake).mean()",
        "F.softplus(real).mean() + F.softplus(-fake).mean()",
        "test_objectives.py",
    ),
    Mutant(OBJECTIVES, "return fake.mean() - real.mean()", "return real.mean() - fake.mean()", "test_objectives.py"),
    Mutant(
        OBJECTIVES,
        "F.relu(1 - real).mean() + F.relu(1 + fake).mean()",
        "F.relu(1 - real).mean() + F.relu(1 - fake).mean()",
        "test_objectives.py",
    ),
    Mutant(OBJECTIVES, "F.relu(1 - real).mean()", "F.relu(2 - real).mean()", "test_objectives.py"),
    Mutant(
        OBJECTIVES,
        "((real - 1).square().mean() + fake.square().mean()) / 2",
        "((real - 1).square().mean() + (fake + 1).square().mean()) / 2",
        "test_objectives.py",
    ),
    Mutant(
        OBJECTIVES,
        "Objective(logistic_loss, torch.sigmoid)",
        "Objective(logistic_loss, F.logsigmoid)",
        "test_objectives.py",
    ),
    Mutant(
        OBJECTIVES,
        "Objective(logistic_loss, F.softplus)",
        "Objective(logistic_loss, lambda logits: F.softplus(-logits))",
        "test_objectives.py",
    ),
    Mutant(
        OBJECTIVES,
        "Objective(logistic_loss, F.logsigmoid)",
        "Objective(logistic_loss, F.softplus)",
        "test_objectives.py",
    ),
    Mutant(
        OBJECTIVES,
        "Objective(logistic_loss, lambda logits: logits)",
        "Objective(logistic_loss, torch.sigmoid)",
        "test_objectives.py",
    ),
    Mutant(
        OBJECTIVES,
        "Objective(wasserstein_loss, lambda logits: logits,",
        "Objective(wasserstein_loss, lambda logits: -logits,",
        "test_objectives.py",
    ),
    Mutant(
        OBJECTIVES,
        "Objective(hinge_loss, lambda logits: logits)",
        "Objective(wasserstein_loss, lambda logits: logits)",
        "test_objectives.py",
    ),
    Mutant(OBJECTIVES, "-(logits - 1).square() / 2", "-logits.square() / 2", "test_objectives.py"),
    Mutant(
        OBJECTIVES,
        "gradient.flatten(1).norm(dim=1)",
        "gradient.norm()",
        "test_objectives.py::test_penalty_of_a_linear_critic",
    ),
    Mutant(
        OBJECTIVES,
        "between, create_graph=True)",
        "between)",
        "test_objectives.py::test_penalty_can_be_differentiated",
    ),
    Mutant(
        OBJECTIVES,
        "torch.rand(len(real), *[1] * (real.dim() - 1), device",
        "torch.rand(real.shape, device",
        "test_objectives.py::test_penalty_is_taken_between_real_and_fake",
    ),
    # credit
    Mutant(
        CREDIT, "return reward.unsqueeze(1) * mask", "return reward.unsqueeze(1) + 0 * mask", "test_credit.py", True
    ),
    Mutant(CREDIT, "(total / count.clamp_min(1))", "(total / count.max())", "test_credit.py"),
    Mutant(CREDIT, "whole.unsqueeze(1), credit) * mask", "whole.unsqueeze(1), credit)", "test_credit.py"),
    Mutant(CREDIT, "torch.where(last, whole", "torch.where(last & False, whole", "test_credit.py"),
    Mutant(
        CREDIT,
        "(rewards[:, t] + discount * following) * mask[:, t]",
        "rewards[:, t] + discount * following",
        "test_credit.py",
    ),
    Mutant(CREDIT, "rewards[:, t] + discount * following", "discount * (rewards[:, t] + following)", "test_credit.py"),
    Mutant(
        CREDIT,
        "discount * next_values * ~terminated",
        "discount * next_values * ~ended",
        "test_credit.py::test_gae_equals_its_definition",
        True,
    ),
    Mutant(
        CREDIT,
        "discount * next_values * ~terminated",
        "discount * next_values",
        "test_credit.py::test_gae_equals_its_definition",
    ),
    Mutant(
        CREDIT,
        "discount * decay * ~ended",
        "discount * decay * ~terminated",
        "test_credit.py::test_gae_equals_its_definition",
    ),
    Mutant(CREDIT, "discount * decay * ~ended", "decay * ~ended", "test_credit.py"),
    Mutant(
        CREDIT,
        "per_step = (total - credit) / (count - 1).clamp_min(1)",
        "per_step = total / count.clamp_min(1)",
        "test_credit.py test_estimators.py::test_leave_one_out_keeps_the_expected_gradient",
    ),
    Mutant(
        CREDIT,
        "((credit - torch.where(count > 1, per_step, others)) * mask)",
        "(credit - torch.where(count > 1, per_step, others))",
        "test_credit.py",
    ),
    Mutant(CREDIT, "(counted - mask.sum(2, keepdim=True))", "counted", "test_credit.py"),
    Mutant(
        CREDIT,
        "group = len(credit) if group is None else group",
        "group = len(credit)",
        "test_credit.py::test_leave_one_out_of_a_group_equals_a_slow_loop "
        "test_token_policy.py::test_repeats_are_compared_with_each_other",
    ),
    Mutant(CREDIT, "mean, deviation = counted.mean(),", "mean, deviation = credit.mean(),", "test_credit.py"),
    Mutant(CREDIT, "(credit - mean) / deviation", "credit / deviation", "test_credit.py"),
    # estimators
    Mutant(
        ESTIMATORS,
        "return -(log_probs * mask).sum() / len(log_probs)",
        "return -(log_probs * mask).sum() / mask.sum()",
        "test_estimators.py",
    ),
    Mutant(
        ESTIMATORS,
        "return -(log_probs * mask).sum()",
        "return -log_probs.sum()",
        "test_estimators.py::test_maximum_likelihood_equals_a_loop",
    ),
    Mutant(
        ESTIMATORS,
        "return -(log_probs * credit.detach()",
        "return (log_probs * credit.detach()",
        "test_estimators.py::test_expected_gradient_of_reinforce_is_exact",
        True,
    ),
    Mutant(
        ESTIMATORS,
        "-(log_probs * credit.detach() * mask).sum() / len(log_probs)",
        "-(log_probs * credit.detach() * mask).sum() / mask.sum()",
        "test_estimators.py",
    ),
    Mutant(ESTIMATORS, "log_probs * credit.detach() * mask", "log_probs * credit * mask", "test_estimators.py"),
    Mutant(ESTIMATORS, "torch.minimum(ratio", "torch.maximum(ratio", "test_estimators.py", True),
    Mutant(
        ESTIMATORS,
        "ratio.clamp(1 - clip, 1 + clip) * credit",
        "ratio.clamp(1 - clip, 1 / (1 - clip)) * credit",
        "test_estimators.py::test_ppo_equals_a_scalar_loop",
    ),
    Mutant(ESTIMATORS, "(log_probs - old_log_probs.detach())", "(log_probs - old_log_probs)", "test_estimators.py"),
    Mutant(ESTIMATORS, "-(surrogate * mask).sum()", "-surrogate.sum()", "test_estimators.py"),
    Mutant(ESTIMATORS, "clip: NotNegative = 0.2", "clip: NotNegative = 0.3", "test_estimators.py"),
    Mutant(CREDIT, "if len(set(shapes)) > 1 or", "if", "test_estimators.py"),
    # sampling
    Mutant(DRAW, "point, right=True)", "point)", "test_sampling.py::test_impossible_tokens_are_never_drawn", True),
    Mutant(
        DRAW,
        "* (entries < vocabulary)",
        "* 1",
        "test_sampling.py::test_draw_matches_the_softmax test_sampling.py::test_impossible_tokens_are_never_drawn",
    ),
    Mutant(
        DRAW,
        "if whole < vocabulary:",
        "if whole < vocabulary - block:",
        "test_sampling.py::test_draw_matches_the_softmax",
    ),
    Mutant(
        DRAW,
        "if point is None else point) * cdf[:, -1:]",
        "if point is None else point)",
        "test_sampling.py::test_draw_matches_the_softmax",
    ),
    Mutant(SAMPLING, "draw(logits / temperature if", "draw(logits * temperature if", "test_sampling.py"),
    Mutant(
        SAMPLING,
        "(ended == 0) | ((ended == 1) & (ids == end))",
        "ended == 0",
        "test_sampling.py::test_until_end_counts_the_end_token",
        True,
    ),
    Mutant(
        SAMPLING,
        "(ended == 0) | ((ended == 1) & (ids == end))",
        "ended <= 1",
        "test_sampling.py::test_until_end_counts_the_end_token",
    ),
    Mutant(
        ROLLOUTS,
        "(cells % time + 1).tolist()",
        "(cells % time + 2).tolist()",
        "test_sampling.py::test_roll_out_completes_exactly_the_open_prefixes "
        "test_credit.py::test_monte_carlo_converges_to_enumerated_q",
    ),
    Mutant(
        ROLLOUTS,
        "F.pad(is_open[:, 1:], (0, 1))",
        "F.pad(is_open[:, :-1], (0, 1))",
        "test_sampling.py::test_roll_out_completes_exactly_the_open_prefixes",
    ),
    Mutant(
        ROLLOUTS,
        "return features[owner], select(state, owner)",
        "return features[owner], select(state, owner.flip(0))",
        "test_sampling.py::test_states_belong_to_their_rows",
    ),
    Mutant(
        SAMPLING,
        "return tokens[keep], select(state, keep), ended[keep]",
        "return tokens[keep], select(state, torch.arange(len(keep))), ended[keep]",
        "test_sampling.py::test_states_belong_to_their_rows test_sampling.py::test_samples_follow_the_network",
    ),
    Mutant(
        ROLLOUTS,
        "ids = ids[owner]",
        "ids = ids[owner.flip(0)]",
        "test_sampling.py::test_roll_out_completes_exactly_the_open_prefixes",
    ),
    Mutant(
        SAMPLING,
        "features[:few]), features[few:]",
        "features[:few]), features[few + 1 :]",
        "test_sampling.py::test_draw_from_does_not_depend_on_blocks",
    ),
    Mutant(ROLLOUTS, "repeat_interleave(repeats)", "repeat_interleave(1)", "test_sampling.py"),
    Mutant(ROLLOUTS, "points[here, t - length]", "points[here, 0]", "test_sampling.py test_rollouts.py"),
    Mutant(
        ROLLOUTS,
        "0 if joined else self.length - 1 - place)",
        "0)",
        "test_rollouts.py::test_memory_stays_within_the_budget",
    ),
    Mutant(
        ROLLOUTS,
        "yield _joined(waiting)\n                waiting = []",
        "waiting = []",
        "test_token_policy.py::test_completions_have_their_sample_s_history",
    ),
    Mutant(
        "networks/text/keys_values.py",
        "new[:, :, :read] = old[:, :, :read][rows]",
        "new[:, :, :read] = old[:, :, :read][rows.flip(0)]",
        "test_dialogue_networks.py::test_completions_are_those_of_a_naive_loop",
    ),
    Mutant(
        SAMPLING,
        'return device.type == "cpu" or t % LOOKS == LOOKS - 1',
        "return True",
        "test_rollouts.py::test_a_gpu_is_asked_every_16th_token",
    ),
    Mutant(
        SAMPLING,
        "            tokens, state, ended, alive = without_ended(t, tokens, state, ended, alive)\n",
        "",
        "test_sampling.py",
    ),
    Mutant(
        SAMPLING,
        "return found.index_fill(-1, tokens, -torch.inf)",
        "return found",
        "test_text_samples.py::test_without_draws_the_others_in_their_shares",
    ),
    Mutant(
        SAMPLING,
        "heated = found / temperature if",
        "heated = found if",
        "test_text_samples.py::test_what_would_have_been_drawn_is_summed_exactly",
    ),
    Mutant(
        "language/pretrained.py",
        "top_k=0,",
        "top_k=None,",
        "test_dialogue_cli.py::test_plain_transformers_draw_what_the_kit_draws",
    ),
    # conversations
    Mutant(
        "dialogue/conversations.py",
        'kept[-1] = role, f"{kept[-1][1]} {text}"',
        "kept[-1] = role, text",
        "test_dialogue_reading.py::test_an_odd_conversation",
    ),
    Mutant(
        "dialogue/conversations.py",
        "ROLES[i % 2], text, name",
        "ROLES[(i + 1) % 2], text, name",
        "test_dialogue_reading.py::test_the_neighbours_formats",
    ),
    Mutant(
        "dialogue/columns.py",
        "if len(pairs) == 1:",
        "if pairs:",
        "test_dialogue_reading.py::test_columns_are_never_guessed",
    ),
    # rewards
    Mutant(
        REWARDS,
        "return torch.zeros(len(values)), _per_token(name, values, ids) * reward.weight",
        "return torch.zeros(len(values)), _per_token(name, values, ids)",
        "test_rewards.py",
        True,
    ),
    Mutant(REWARDS, "enumerate(values)]) * reward.weight, None", "enumerate(values)]), None", "test_rewards.py"),
    Mutant(REWARDS, "if not math.isfinite(number):", "if math.isinf(number):", "test_rewards.py"),
    Mutant(REWARDS, "if len(values) != len(completions):", "if len(values) < len(completions):", "test_rewards.py"),
    Mutant(REWARDS, "{name: value for name, value in columns.items() if name in names}", "columns", "test_rewards.py"),
    Mutant(REWARDS, "or len(row) != len(tokens):", "or len(row) > len(tokens):", "test_rewards.py"),
    Mutant(REWARDS, "        return 0.0\n", "        return 1.0\n", "test_rewards.py"),
    Mutant(REWARDS, "[list(row) for row in ids]", "ids", "test_rewards.py"),
    # networks and the oracle
    Mutant(OUTPUT, "slope = found * -gradient[part]", "slope = found * gradient[part]", "test_networks.py"),
    Mutant(OUTPUT, "ctx.kept.append(logits.exp_())", "ctx.kept.append(logits)", "test_networks.py"),
    Mutant(OUTPUT, "to_bias += slope.sum(0)", "to_bias = slope.sum(0)", "test_networks.py::test_log_probs_equal_torch"),
    Mutant(
        LSTM,
        "torch.cat([self._first(len(ids), labels).unsqueeze(1), ids[:, :-1]], dim=1)",
        "ids",
        "test_networks.py::test_lstm_equals_its_equations",
    ),
    Mutant(CNN, "+ (1 - gate) * found", "+ gate * found", "test_networks.py::test_cnn_equals_conv1d"),
    Mutant(
        CNN,
        ".masked_fill_(outside.unsqueeze(2), -torch.inf)",
        "",
        "test_networks.py::test_padding_does_not_change_the_logit",
    ),
    Mutant(
        ORACLE,
        'for g in ("i", "f", "og", "c")',
        'for g in ("i", "f", "c", "og")',
        "test_oracle.py::test_loaded_oracle_is_the_cell_of_its_arrays",
    ),
    Mutant(
        ORACLE,
        'oracle.get_parameter("lstm.bias_hh_l0").zero_()',
        "pass",
        "test_oracle.py::test_drawn_oracle_is_standard_normal",
    ),
    Mutant(
        ORACLE,
        "allow_pickle=False",
        "allow_pickle=True",
        "test_oracle.py::test_pickles_are_refused_unread",
    ),
    # the policy over tokens
    Mutant(
        TOKEN_POLICY,
        "credits.reward_to_go(per_token, fake.mask)",
        "credits.terminal(per_token[:, 0], fake.mask)",
        "test_learning.py::test_rewards_of_tokens_need_no_roll_outs",
    ),
    Mutant(
        TOKEN_REWARDS,
        "total += sent(whole, total.device)",
        "total -= sent(whole, total.device)",
        "test_learning.py::test_policy_learns_from_a_users_reward_alone",
    ),
    Mutant(
        TOKEN_POLICY,
        "            first = False\n",
        "",
        "test_token_policy.py::test_ppo_starts_from_the_policy_that_drew",
    ),
    Mutant(
        TOKEN_POLICY,
        "per_token - self.anchor.weight * drift",
        "per_token + self.anchor.weight * drift",
        "test_token_policy.py::test_drift_is_taken_from_what_follows",
    ),
    Mutant(
        TOKEN_POLICY,
        "now: Tensor = network(fake.ids, *fake.context, mask=fake.mask)",
        "now: Tensor = network(fake.ids, *fake.context)",
        "test_token_policy.py::test_drift_is_taken_from_what_follows",
    ),
    Mutant(
        TOKEN_POLICY,
        "self._less_baseline(credit * drawn, drawn)",
        "self._less_baseline(credit, drawn)",
        "test_token_policy.py::test_a_critic_by_hand",
    ),
    Mutant(
        TOKEN_POLICY,
        "target[part]) * mask[part]",
        "target[part])",
        "test_token_policy.py::test_a_critic_by_hand",
    ),
    Mutant(
        TOKEN_POLICY,
        "self._teach(real)",
        "self._teach(fake)",
        "test_token_policy.py::test_teacher_forcing_is_on_real_replies",
    ),
    Mutant(
        TOKEN_REWARDS,
        "shown = places <= until.unsqueeze(1)",
        "shown = places < until.unsqueeze(1).clamp_min(1)",
        "test_token_policy.py::test_prefixes_earn_what_the_discriminator_makes_of_them",
    ),
    Mutant(
        TOKEN_CREDIT,
        "of_users = earned - last(of_prefixes, sampled.mask)",
        "of_users = earned",
        "test_token_policy.py::test_prefixes_earn_what_the_discriminator_makes_of_them",
    ),
    Mutant(
        TOKEN_CREDIT,
        "done.cells // sampled.ids.shape[1])",
        "done.cells % size(sampled))",
        "test_token_policy.py::test_completions_have_their_sample_s_history",
    ),
    Mutant(
        TOKEN_CREDIT,
        "cells.append(done.cells)",
        "cells.append(done.cells.flip(0))",
        "test_token_policy.py::test_completions_have_their_sample_s_history",
    ),
    Mutant(
        TOKEN_REWARDS,
        "self.rewards.of_logit(self.score(tokens))",
        "self._worth(tokens)",
        "test_token_policy.py::test_completions_have_their_sample_s_history",
    ),
    Mutant(
        CNN_TABLES, "clamp_max_(nothing)", "clamp_max_(never)", "test_networks.py::test_cnn_scores_as_it_is_trained"
    ),
    Mutant(
        CNN_TABLES,
        "value=never)",
        "value=nothing)",
        "test_networks.py::test_cnn_scores_as_it_is_trained",
    ),
    Mutant(
        OUTPUT,
        "hidden[mask], weight, bias, targets[mask]",
        "hidden[mask], weight, bias, targets.flatten()[: mask.sum()]",
        "test_networks.py::test_log_probs_of_padding_are_0_and_have_no_gradient",
    ),
    Mutant(
        "engine/learning.py",
        "    if not learner.dropout:\n        learner.network.eval()\n",
        "    if not learner.dropout:\n        learner.network.train()\n",
        "test_token_policy.py::test_a_policy_is_improved_as_it_was_drawn",
    ),
    Mutant(
        "game/trainer.py",
        "generator.batch_size // turns.repeats), turns.repeats)",
        "generator.batch_size), 1)",
        "test_token_policy.py::test_repeats_are_compared_with_each_other",
    ),
    # replies
    Mutant(
        SAMPLES,
        "place = (mask.sum(1) - 1)",
        "place = (mask.sum(1) - 2).clamp_min(0)",
        "test_dialogue_discriminators.py::test_all_prefixes_are_judged_at_once",
    ),
    Mutant(SAMPLES, "return self.turns >= 0", "return self.turns < 0", "test_dialogue_networks.py"),
    Mutant(
        TOKEN_JUDGES,
        ".clamp_max(lengths - 1) + 1",
        ".clamp_max(lengths - 1)",
        "test_dialogue_discriminators.py::test_every_prefix_is_as_likely",
    ),
    Mutant(
        TOKEN_JUDGES,
        "* lengths).long()",
        "* (lengths - 1)).long()",
        "test_dialogue_discriminators.py::test_every_prefix_is_as_likely",
    ),
    Mutant(
        HISTORIES,
        "tensor[index]",
        "tensor[index.sort().values]",
        "test_dialogue_networks.py::test_a_history_is_read_once",
    ),
    Mutant(
        HIERARCHICAL,
        "enter, forget, new, leave = gates",
        "forget, enter, new, leave = gates",
        "test_dialogue_discriminators.py::test_hierarchical_equals_a_loop",
    ),
    Mutant(
        RECURRENT,
        "read if prefixes else last(read, mask)",
        "read if prefixes else read[:, -1]",
        "test_text_models.py::test_padding_changes_no_logit",
    ),
    Mutant(
        LANGUAGE_MODELS,
        "history = torch.full((batch, 1), self.first,",
        "history = torch.full((batch, 1), 0,",
        "test_text_models.py::test_an_unprompted_model_reads_its_start_token_first",
    ),
    Mutant(
        REPLY_ENCODER,
        "*(middle if past else [])",
        "*middle",
        "test_text_models.py::test_an_encoder_reads_text_by_its_own_tokenizer",
    ),
    Mutant(
        LANGUAGE_MODELS,
        "torch.cat([history_mask, torch.ones_like(ids[:, :-1], dtype=torch.bool)], dim=1)",
        "torch.cat([torch.ones_like(ids[:, :-1], dtype=torch.bool), history_mask], dim=1)",
        "test_dialogue_networks.py::test_padding_changes_no_log_probability",
    ),
    Mutant(
        LANGUAGE_MODELS,
        "(mask.long().cumsum(1) - 1).clamp_min(0)",
        "torch.arange(mask.shape[1], device=mask.device).expand_as(mask)",
        "test_dialogue_networks.py::test_padding_changes_no_log_probability",
    ),
    Mutant(
        LANGUAGE_MODELS,
        "hidden[:, -ids.shape[1] :]",
        "hidden[:, -ids.shape[1] - 1 : -1]",
        "test_dialogue_networks.py::test_features_know_nothing_of_what_comes",
    ),
    Mutant(
        LANGUAGE_MODELS,
        "log_probs(hidden * self.scale,",
        "log_probs(hidden,",
        "test_dialogue_networks.py::test_a_language_model_is_the_model_itself",
    ),
    Mutant(
        LANGUAGE_MODELS,
        "return self.cap * torch.tanh(logits / self.cap) if self.cap else logits",
        "return logits",
        "test_dialogue_networks.py::test_a_language_model_is_the_model_itself",
    ),
    Mutant(
        SEQ2SEQ,
        ".masked_fill(~history_mask.unsqueeze(1), -torch.inf)",
        "",
        "test_dialogue_networks.py::test_padding_changes_no_log_probability",
    ),
    Mutant(
        HIERARCHICAL,
        "read.view(batch, count, -1), number",
        "read.view(batch, count, -1), torch.full_like(number, count)",
        "test_dialogue_discriminators.py::test_hierarchical_equals_a_loop",
    ),
    Mutant(
        REPLY_ENCODER,
        "weight = (reply * shown)",
        "weight = shown",
        "test_dialogue_discriminators.py::test_an_encoder_equals_the_mean_over_the_reply",
    ),
    Mutant(
        REPLY_ENCODER,
        "+ (turns < 0).sum(1, keepdim=True)",
        "+ 0 * (turns < 0).sum(1, keepdim=True)",
        "test_dialogue_discriminators.py::test_padding_changes_no_logit",
    ),
    Mutant(
        REPLY_ENCODER,
        "past[max(0, left) :]",
        "past[: len(past) - max(0, left)]",
        "test_dialogue_discriminators.py::test_long_histories_lose_their_beginning",
    ),
    # objectives of steps
    Mutant(
        OBJECTIVES,
        "- weight * (entropies[0] + entropies[1]) / 2",
        "+ weight * (entropies[0] + entropies[1]) / 2",
        "test_discriminator_features.py::test_entropy_of_the_verdicts",
    ),
    Mutant(
        OBJECTIVES,
        "F.softplus(logits) - logits * torch.sigmoid(logits)",
        "F.softplus(logits) - logits * torch.sigmoid(-logits)",
        "test_discriminator_features.py::test_entropy_of_the_verdicts",
    ),
    # the trust region
    Mutant(
        TRUST_REGION,
        "parameter.copy_(part.view_as(parameter))",
        "parameter.add_(part.view_as(parameter))",
        "test_trust_region.py",
    ),
    Mutant(
        IMPROVEMENT,
        "counted.float().clamp_min(1)",
        "counted.float()",
        "test_environment_policy.py::test_copies_whose_steps_are_all_left_out",
    ),
    Mutant(
        TRUST_REGION,
        "[tensor.reshape(-1) for tensor in tensors]",
        "[tensor.T.reshape(-1) if tensor.dim() == 2 else tensor.reshape(-1) for tensor in tensors]",
        "test_trust_region.py::test_flatten_and_assign_are_inverse",
    ),
    Mutant(
        TRUST_REGION,
        "return flatten(rows) + damping * vector",
        "return flatten(rows)",
        "test_trust_region.py::test_hessian_product_equals_the_hessian",
    ),
    Mutant(
        TRUST_REGION,
        "parameters, vector, retain_graph",
        "parameters, vector.square(), retain_graph",
        "test_trust_region.py::test_hessian_product_equals_the_hessian",
    ),
    Mutant(
        TRUST_REGION,
        "torch.where(small, 0.0, following / square)",
        "torch.where(small, 0.0, square / following)",
        "test_trust_region.py::test_conjugate_gradient_solves",
    ),
    Mutant(
        TRUST_REGION,
        "(2 * divergence / curvature).sqrt()",
        "(divergence / curvature).sqrt()",
        "test_trust_region.py::test_natural_step_on_a_quadratic",
        True,
    ),
    Mutant(
        TRUST_REGION,
        "conjugate_gradient(product, -gradient, iterations)",
        "conjugate_gradient(product, gradient, iterations)",
        "test_trust_region.py::test_natural_step_on_a_quadratic",
    ),
    Mutant(
        TRUST_REGION,
        "torch.where(curvature > 0,",
        "torch.where(~(curvature < 0),",
        "test_trust_region.py::test_natural_step_into_nowhere_is_none",
    ),
    Mutant(TRUST_REGION, "    move(0.0)\n", "", "test_trust_region.py::test_failed_line_search_restores", True),
    # on a GPU: what mixes devices, and what is waited for
    Mutant(
        SEQ2SEQ, "(batch,), self.config.start, device=history.device", "(batch,), self.config.start", NETWORKS_THERE
    ),
    Mutant(HISTORIES, "order = sent(order, values.device)", "order = order", NETWORKS_THERE),
    Mutant(HISTORIES, "found.index_select(0, order)", "found", "test_dialogue_networks.py"),
    Mutant(HIERARCHICAL, "where = sent(spoken, ids.device)", "where = spoken", NETWORKS_THERE),
    Mutant("networks/text/masks.py", "(places <= places[", "(places < places[", NETWORKS_THERE),
    Mutant(
        "networks/text/masks.py",
        '"windows" if any(windows) else "full_attention"',
        '"full_attention"',
        "test_rehearsal.py::test_masks_are_made_for_plain_attention_alone",
    ),
    Mutant(SAMPLES, "non_blocking=True", "non_blocking=False", "test_rehearsal.py::test_what_is_waited_for_is_counted"),
    Mutant(OUTPUT, "targets * mask).masked_fill(~mask, 0.0)", "targets * mask)", "test_rehearsal.py::test_functions"),
    Mutant(TRUST_REGION, "torch.where(small, 0.0, square /", "(square /", "test_rehearsal.py::test_functions"),
    Mutant(CREDIT, ".sum().div(count).sqrt()", ".mean().sqrt()", "test_rehearsal.py::test_functions"),
    Mutant(
        IMPROVEMENT,
        "order = sent(torch.randperm(rows), experience.mask.device)",
        "order = torch.randperm(rows)",
        "test_rehearsal.py::test_a_run_is_rehearsed[imitation-PPO]",
    ),
    Mutant(
        TRUST_REGION,
        "found - loss <= share * fraction * slope",
        "found - loss <= share * fraction * abs(slope)",
        "test_trust_region.py::test_failed_line_search_restores "
        "test_trust_region.py::test_line_search_wants_its_share_of_the_promise",
    ),
    Mutant(
        TRUST_REGION,
        "share * fraction * slope",
        "share * slope",
        "test_trust_region.py::test_line_search_wants_its_share_of_the_promise",
    ),
    Mutant(
        TRUST_REGION,
        "if divergence <= limit and",
        "if not divergence > limit and",
        "test_trust_region.py::test_failed_line_search_restores",
    ),
    Mutant(
        IMPROVEMENT,
        "return -_mean(ratio * experience.advantages, experience.mask, counted)",
        "return -(ratio * experience.advantages).mean()",
        "test_trust_region.py",
    ),
    Mutant(IMPROVEMENT, "engine.mean(fisher(vector)) + self.damping * vector", "vector", "test_trust_region.py"),
    Mutant(
        IMPROVEMENT,
        "(actions.log_prob(new, experience.drawn) - experience.log_probs).exp()",
        "1",
        "test_trust_region.py",
    ),
    Mutant(
        IMPROVEMENT,
        "_mean((values - some.targets).square(), mask, counted * (len(mask) / len(part.mask)))",
        "_mean((values - some.targets).square(), mask)",
        "test_cut_batches.py",
    ),
    Mutant(
        "imitation/train.py",
        "(log_probs * batch.mask).sum() / (size(batch) * steps)",
        "(log_probs * batch.mask).sum() / batch.mask.sum()",
        "test_cut_batches.py",
    ),
    Mutant(IMPROVEMENT, "gradient.dot(step), spread]", "-gradient.dot(step), spread]", "test_trust_region.py"),
    Mutant(IMPROVEMENT, "start + fraction * step", "start + step", "test_trust_region.py"),
    # actions
    Mutant(ACTIONS, "chosen, dim=-1).sum(-1)", "chosen, dim=-1).mean(-1)", "test_actions.py::test_log_prob_of_choices"),
    Mutant(
        ACTIONS,
        "-torch.empty(*shape, self.size).exponential_().log()",
        "torch.empty(*shape, self.size).exponential_().log()",
        "test_actions.py::test_draws_of_choices",
    ),
    Mutant(ACTIONS, "a.exp() * (a - b)", "b.exp() * (b - a)", "test_actions.py::test_entropy_and_divergence", True),
    Mutant(
        ACTIONS,
        "ratio = (2 * (log_std - new_log_std)).exp()",
        "ratio = (log_std - new_log_std).exp()",
        "test_actions.py::test_entropy_and_divergence",
    ),
    Mutant(
        ACTIONS,
        "(mean - new_mean) * (-new_log_std).exp()",
        "(mean - new_mean) * (-log_std).exp()",
        "test_actions.py::test_entropy_and_divergence",
    ),
    Mutant(
        ACTIONS,
        "(1 + math.log(2 * math.pi)) / 2).sum(-1)",
        "math.log(2 * math.pi) / 2).sum(-1)",
        "test_actions.py::test_entropy_and_divergence",
    ),
    Mutant(
        ACTIONS,
        "torch.addcmul(mean, noise, log_std.exp())",
        "torch.addcmul(mean, noise, log_std.exp().square())",
        "test_actions.py::test_draws_of_a_box",
    ),
    Mutant(
        ACTIONS,
        "logs = logs - 2 * (math.log(2)",
        "logs = logs + 2 * (math.log(2)",
        "test_actions.py::test_log_prob_of_a_squashed_box",
        True,
    ),
    Mutant(ACTIONS, " - ((high - low) / 2).log()", "", "test_actions.py::test_squashed_density_is_one_over_the_bounds"),
    Mutant(
        ACTIONS,
        "torch.minimum(torch.maximum(flat, low), high)",
        "torch.maximum(flat, low)",
        "test_actions.py::test_clipping_equals_numpy",
    ),
    Mutant(ACTIONS, ".clamp(-1 + 1e-4, 1 - 1e-4)", ".clamp(-1, 1)", "test_actions.py::test_squashing_and_its_inverse"),
    Mutant(
        ACTIONS,
        "return (flat - middle) / half",
        "return (flat - middle) / (2 * half)",
        "test_actions.py::test_features_of_a_box",
    ),
    Mutant(
        ACTIONS,
        "if self.squash or self.middle:",
        "if self.squash:",
        "test_actions.py::test_actions_are_drawn_in_the_unit_of_their_bounds",
    ),
    Mutant(
        ACTIONS,
        "            if not self.middle:  # in the unit of the space",
        "            if True:",
        "test_actions.py::test_actions_are_drawn_in_the_unit_of_their_bounds",
    ),
    Mutant(
        ACTIONS,
        "return flat - self._start(flat) if self.start else flat",
        "return flat",
        "test_actions.py::test_integers_are_chosen_from_where_they_start",
    ),
    Mutant(
        FEATURES,
        "observations.float() if self.layout.picture is None else scaled(observations, self.scale)",
        "scaled(observations, 255)",
        "test_imitation_units.py::test_bytes_and_floats_are_the_same_numbers_to_all_networks",
    ),
    Mutant(
        "imitation/returned.py",
        "if array.shape != space.shape:",
        "if array.ndim != len(space.shape or ()):",
        "test_environment_checks.py::test_what_is_not_as_declared_is_told_and_never_broadcast",
    ),
    Mutant(
        "engine/phases.py",
        "                if not owed:\n                    began",
        "                if True:\n                    began",
        "test_environment_checks.py::test_the_first_ctrl_c_ends_an_evaluation",
    ),
    # the normaliser
    Mutant(NORMALISER, "(around - step.square())", "around", "test_normaliser.py", True),
    Mutant(
        NORMALISER,
        "1 / self.variance.sqrt()",
        "1 / self.variance",
        "test_normaliser.py::test_forward_standardises_and_restore_inverts",
    ),
    Mutant(
        NORMALISER,
        "(values.double() - self.mean)",
        "values.double()",
        "test_normaliser.py::test_statistics_after_many_unequal_updates",
    ),
    Mutant(
        NORMALISER,
        "(values.double() - self.mean)",
        "(values - self.mean.float()).double()",
        "test_normaliser.py::test_a_large_offset_keeps_its_precision "
        "test_normaliser.py::test_statistics_after_many_unequal_updates",
    ),
    Mutant(NORMALISER, "step = total / together", "step = total / count", "test_normaliser.py"),
    Mutant(NORMALISER, ".clamp_(-self.limit, self.limit)", ".clamp_(max=self.limit)", "test_normaliser.py::test_limit"),
    Mutant(NORMALISER, ".sqrt().clamp_min(1e-4)", ".sqrt()", "test_normaliser.py::test_constant_features_stay_finite"),
    # networks of steps
    Mutant(
        ACTOR,
        "memory = memory * ~ended[:, t : t + 1]",
        "memory = memory",
        "test_environment_policy.py::test_memory_of_a_recurrent_policy",
    ),
    Mutant(
        FUSED,
        "slope.sum(0)]",
        "slope.mean(0)]",
        "test_fused.py::test_fused_layers_equal_the_plain_ones",
    ),
    Mutant(FUSED, "mul_(2).sub_(1)", "mul_(2)", "test_fused.py::test_tanh_is_torch_s"),
    Mutant(
        TRANSITION,
        "* (1 - features[..., layout.ended].squeeze(-1))",
        "",
        "test_discriminator_features.py::test_shaped_network_is_its_equation",
        True,
    ),
    Mutant(
        TRANSITION, "+ layout.discount * after", "+ after", "test_discriminator_features.py::test_shaping_telescopes"
    ),
    Mutant(
        TRANSITION,
        "- self.potential(features)",
        "+ self.potential(features)",
        "test_discriminator_features.py::test_shaping_telescopes",
    ),
    Mutant(
        TRANSITION,
        "if isinstance(module, nn.Linear | nn.Conv2d):",
        "if isinstance(module, nn.Conv2d):",
        "test_discriminator_features.py::test_spectral_norm",
    ),
    Mutant(
        FEATURES,
        "self._state(sample.next_observations, over | sample.terminated)",
        "self._state(sample.next_observations, over | sample.ended)",
        "test_discriminator_features.py::test_features_of_each_step",
    ),
    Mutant(
        FEATURES,
        "found.append((over | sample.terminated)",
        "found.append((over | sample.ended)",
        "test_discriminator_features.py::test_features_of_each_step",
        True,
    ),
    Mutant(
        FEATURES,
        "self.actions.features(sample.actions) * ~over.unsqueeze(-1)",
        "self.actions.features(sample.actions)",
        "test_discriminator_features.py::test_features_of_each_step",
    ),
    Mutant(
        FEATURES,
        "return weight * gradient_penalty",
        "return gradient_penalty",
        "test_discriminator_features.py::test_penalty_of_a_linear_network",
    ),
    Mutant(
        FEATURES,
        "round(count * steps / (count + steps))",
        "min(count, steps)",
        "test_discriminator_features.py::test_absorbing_share_of_a_replay",
    ),
    Mutant(
        GAME,
        "return found - log_probs",
        "return found + log_probs",
        "test_discriminator_features.py::test_logit_of_airl",
    ),
    # environments and the policy in them
    Mutant(
        COPIES,
        "terminated[i], ended[i] = terminal, terminal or truncated",
        "terminated[i], ended[i] = terminal or truncated, terminal or truncated",
        "test_environments.py::test_a_fall_is_no_time_limit",
        True,
    ),
    Mutant(
        COPIES,
        "elapsed[i] = len(self._taken[i])",
        "elapsed[i] = len(self._taken[i]) - 1",
        "test_environments.py::test_copies_equal_single_environments",
    ),
    Mutant(
        COPIES,
        "following = np.empty_like(self.observations)",
        "following = self.observations",
        "test_environments.py::test_copies_equal_single_environments",
        True,
    ),
    Mutant(
        "imitation/returned.py",
        "return actions.copy() if fits",
        "return actions if fits",
        "test_environments.py::test_copies_go_on_from_their_state",
    ),
    Mutant(
        COPIES,
        "[*self._entropy, self._episodes]",
        "[self._entropy[0], self._episodes]",
        "test_environments.py::test_every_episode_has_a_seed_of_its_own",
    ),
    Mutant(
        COPIES,
        'self._episodes, self._broken = state["episodes"], state["broken"]',
        'self._broken = state["broken"]',
        "test_environments.py::test_copies_go_on_from_their_state "
        "test_environments.py::test_an_environment_that_is_not_deterministic_starts_anew",
    ),
    Mutant(
        COPIES,
        "for over in np.flatnonzero(ended & ~broken):\n                self._broken = 0",
        "for over in np.flatnonzero(ended & ~broken):",
        "test_environments.py::test_an_environment_that_always_breaks_stops_the_run",
    ),
    Mutant(
        COPIES,
        "return Step(following, rewards, terminated, ended, ~broken,",
        "return Step(following, rewards, terminated, ended, broken | True,",
        "test_environments.py::test_broken_episodes_are_discarded",
    ),
    Mutant(
        COPIES,
        "(self._elapsed + 1) * counts",
        "self._elapsed + counts",
        "test_environments.py::test_vectorised_resets_are_no_steps",
    ),
    Mutant(
        COPIES,
        "self.observations, self._resets = seen, ended",
        "self.observations, self._resets = seen, terminated",
        "test_environments.py::test_vectorised_resets_are_no_steps",
    ),
    Mutant(
        COPIES,
        "        self._core.np_random.bit_generator.state = {",
        "        _ = {",
        "test_environments.py::test_vectorised_goes_on_from_its_state",
    ),
    Mutant(
        CARTPOLE,
        "return observation, float(not fallen), False,",
        "return observation, float(not fallen), fallen,",
        "test_environments.py::test_fixed_horizon_cart_pole",
    ),
    Mutant(
        POLICY,
        "for lost in made[starts[i] :]:",
        "for lost in made[t:]:",
        "test_environment_policy.py::test_rollouts_equal_single_environments",
        True,
    ),
    Mutant(
        POLICY,
        "starts[step.ended] = t + 1",
        "starts[step.ended] = t",
        "test_environment_policy.py::test_rollouts_equal_single_environments",
    ),
    Mutant(
        POLICY,
        "over = step.ended | ~step.counts",
        "over = step.terminated",
        "test_environment_policy.py::test_memory_of_a_recurrent_policy",
    ),
    Mutant(
        POLICY,
        "over = step.ended | ~step.counts",
        "over = step.ended",
        "test_environment_policy.py::test_memory_of_a_recurrent_policy",
    ),
    Mutant(
        POLICY,
        "own &= ~fake.terminated",
        "own &= fake.terminated",
        "test_environment_policy.py::test_advantages_and_returns",
    ),
    Mutant(
        POLICY,
        "own = fake.ended.clone()",
        "own = torch.zeros_like(fake.ended)",
        "test_environment_policy.py::test_advantages_and_returns",
        True,
    ),
    Mutant(POLICY, "own[:, -1] = True", "pass", "test_environment_policy.py::test_advantages_and_returns"),
    Mutant(
        POLICY,
        "fake.next_memory[chosen].unsqueeze(1)",
        "fake.memory[chosen].unsqueeze(1)",
        "test_environment_policy.py::test_advantages_and_returns",
    ),
    Mutant(
        POLICY,
        "whiten(advantages, fake.mask, self.engine)",
        "whiten(advantages, fake.mask | True, self.engine)",
        "test_environment_policy.py::test_advantages_and_returns",
    ),
    Mutant(
        POLICY,
        "return fake.terminated * each * self.discount /",
        "return fake.terminated * each /",
        "test_environment_policy.py::test_reward_after_the_end",
    ),
    Mutant(
        POLICY,
        "return fake.terminated * each",
        "return fake.ended * each",
        "test_environment_policy.py::test_reward_after_the_end",
    ),
    Mutant(
        POLICY,
        "earned - self.improvement.causal_entropy * log_probs",
        "earned + self.improvement.causal_entropy * log_probs",
        "test_environment_policy.py::test_rewards_are_added_by_weight",
    ),
    Mutant(
        POLICY,
        "sums[0] += self._returns[i]",
        "pass",
        "test_environment_policy.py::test_returns_and_lengths_of_episodes",
    ),
    Mutant(
        POLICY,
        "sums[counts[i, bounds - 1]].tolist()",
        "sums.tolist()",
        "test_environment_policy.py::test_returns_and_lengths_of_episodes",
    ),
    Mutant(
        REWARDS,
        "values = np.where(sample.mask.flatten().cpu().numpy(), values, np.float32(0))",
        "values = np.nan_to_num(values)",
        "test_environment_policy.py::test_user_rewards_may_be_anything_on_padding "
        "test_environment_policy.py::test_mistakes_in_user_rewards",
    ),
    Mutant(
        SAMPLES,
        "chosen = sample.mask.flatten().nonzero()",
        "chosen = sample.mask.T.flatten().nonzero()",
        "test_environment_policy.py::test_steps_are_rows",
    ),
    Mutant(
        REPLAY,
        "index = torch.randperm(total)[: self.batch_size]",
        "index = torch.randint(total, (self.batch_size,))",
        "test_replay.py::test_takes_without_repetition",
    ),
    Mutant(REPLAY, "[-self.turns :]", "[-self.turns - 1 :]", "test_replay.py::test_keeps_the_latest_turns"),
    Mutant(REPLAY, "self._kept[-(self.turns - 1) :]", "self._kept[: self.turns - 1]", "test_replay.py::test_state"),
    Mutant(
        REPLAY,
        "- a) for a, b in",
        "- a).clamp_min(1) for a, b in",
        "test_replay.py::test_takes_evenly_from_turns_of_different_sizes",
    ),
    # pictures with captions
    Mutant(
        "engine/learning.py",
        "value.shape == parameter.shape and value.stride() != parameter.stride()",
        "False",
        "test_picture_game.py::test_a_resumed_optimiser_makes_the_same_step",
    ),
    Mutant(
        REWARDS,
        'columns = {"condition": sample.condition}',
        "columns = vars(sample)",
        "test_picture_game.py::test_a_reward_may_call_its_pictures_pixels",
    ),
    Mutant(
        PICTURES,
        "self.labels[pictures] * len(self.captions) + alike",
        "self._classes[:1] - 1 + 0 * alike",
        "test_picture_data.py::test_a_caption_that_two_classes_share_is_wrong_for_neither",
    ),
    Mutant(
        PICTURES,
        "fit = self._fit(pictures[left], captions)",
        "fit = np.zeros(len(left), dtype=bool)",
        "test_picture_data.py::test_each_picture_has_a_caption_of_its_own_and_two_that_are_not",
    ),
    Mutant(
        PICTURES,
        "likeness.argsort(dim=1, descending=True)",
        "likeness.argsort(dim=1)",
        "test_picture_data.py::test_near_captions_are_the_nearest_that_do_not_fit",
    ),
    Mutant(
        PICTURES,
        "have[wrong] += 1",
        "have[wrong] += 0",
        "test_picture_data.py::test_near_captions_are_the_nearest_that_do_not_fit",
    ),
    Mutant(
        PICTURES,
        "row[row < 0] = self.draw_wrong(pictures[row < 0], rng)",
        "pass",
        "test_picture_data.py::test_where_few_captions_do_not_fit_near_ones_repeat",
    ),
    Mutant(
        LAYERS,
        "torch.addcmul(shift, x, 1 + scale)",
        "torch.addcmul(shift, x, scale)",
        "test_picture_networks.py::test_modulation_scales_and_shifts_channels",
    ),
    Mutant(
        JOINED,
        "matched.unsqueeze(1) != matched",
        "matched.unsqueeze(1) == matched",
        "test_joint_embedding.py::test_contrastive_loss_equals_a_double_loop",
    ),
    Mutant(
        WORDS,
        "min(place, CLAUSES)",
        "min(place, 1)",
        "test_text_encoders.py::test_who_is_denied_what",
    ),
    Mutant(
        PICTURES,
        "        if self.holds is not None:",
        "        if False:",
        "test_picture_data.py::test_wrong_captions_are_untrue_in_a_world",
    ),
    Mutant(
        PICTURES,
        "fit |= _among(self._classes,",
        "fit &= _among(self._classes,",
        "test_picture_data.py::test_wrong_captions_are_of_another_class",
    ),
    Mutant(
        PICTURES,
        "default_rng([self.order.seed, self.order.position])",
        "default_rng(self.order.seed)",
        "test_picture_data.py::test_crops_stay_inside_and_mirror_exactly",
    ),
    Mutant(
        PICTURES,
        "places[:, mine], mirrored[mine])",
        "places[:, : len(index[mine])], mirrored[mine])",
        "test_picture_data.py::test_two_processes_share_one_process_s_batch",
    ),
    Mutant(
        PICTURES,
        "- self.side + 1, (2, len(index)))",
        "- self.side + 2, (2, len(index)))",
        "test_picture_data.py::test_crops_stay_inside_and_mirror_exactly",
    ),
    Mutant(PICTURES, "steps[::-1], steps)", "steps, steps)", "test_picture_data.py::test_cut_is_slicing"),
    Mutant(
        PICTURES,
        "torch.stack(embedded).mean(0)",
        "torch.stack(embedded).sum(0)",
        "test_picture_data.py::test_embeddings_are_averaged_over_captions_of_the_picture",
    ),
    Mutant(
        PAINTING,
        'Comparison("accuracy", 1 - mismatched,',
        'Comparison("accuracy", mismatched,',
        "test_picture_game.py::test_loss_of_matching_aware_comparisons",
        True,
    ),
    Mutant(
        PAINTING,
        "1 / len(others), fitting",
        "1 / 3, fitting",
        "test_picture_game.py::test_loss_with_a_logit_of_the_picture_alone",
    ),
    Mutant(
        PAINTING,
        "*(real.wrong.unbind(1) if",
        "*(real.condition.unsqueeze(1).unbind(1) if",
        "test_picture_game.py::test_loss_of_matching_aware_comparisons",
    ),
    Mutant(
        PAINTING,
        "return beta * condition[:half] + (1 - beta) *",
        "return (1 - beta) * condition[:half] + beta *",
        "test_picture_game.py::test_captions_in_between",
    ),
    Mutant(
        PAINTING,
        "return map_tensors(sample, torch.Tensor.detach)",
        "return sample",
        "test_picture_game.py::test_which_pictures_a_discriminator_sees",
    ),
    Mutant(
        PAINTING,
        "None if adversarial.fresh else",
        "None if not adversarial.fresh else",
        "test_picture_game.py::test_which_pictures_a_discriminator_sees",
    ),
    Mutant(
        PAINTING,
        "config.gradient_square / 2 *",
        "config.gradient_square *",
        "test_picture_game.py::test_regularisers_of_a_linear_critic",
    ),
    Mutant(
        PAINTING,
        "            return torch.stack(list(logits), dim=1).sum(1)\n\n        config",
        "            return logits[0]\n\n        config",
        "test_picture_game.py::test_regularisers_of_a_linear_critic",
    ),
    Mutant(
        PAINTING,
        "generator.divergence if generator.augmentation else 0.0",
        "generator.divergence",
        "test_picture_game.py::test_what_drawing_a_caption_costs_is_added",
    ),
    Mutant(
        PAINTING,
        "self.shown = self.average.network if",
        "self.shown = network if",
        "test_picture_game.py::test_evaluated_pictures_are_of_the_average_and_of_no_batch",
    ),
    Mutant(
        PAINTING,
        "(augmented(fake.pixels, kinds), [fake.condition])",
        "(fake.pixels, [fake.condition])",
        "test_picture_game.py::test_both_kinds_of_pictures_are_augmented",
    ),
    Mutant(
        PLAYERS,
        "self.divergence * spread - (share * earned).sum()",
        "self.divergence * spread + (share * earned).sum()",
        "test_picture_game.py::test_a_generator_s_gradient_is_that_of_its_reward",
        True,
    ),
    Mutant(
        PLAYERS,
        "self.interpolated / max(1, size(fake) - own)",
        "self.interpolated / size(fake)",
        "test_picture_game.py::test_a_generator_s_gradient_is_that_of_its_reward",
    ),
    Mutant(
        PLAYERS,
        "worth.reshape(len(worth), -1).sum(1)",
        "worth.reshape(len(worth), -1).mean(1)",
        "test_picture_game.py::test_loss_with_a_logit_of_the_picture_alone",
    ),
    Mutant(
        PLAYERS,
        "self.learner.network.train(self.batch_statistics)",
        "self.learner.network.train()",
        "test_picture_game.py::test_a_critic_scores_as_the_papers_do",
    ),
    Mutant(
        PLAYERS,
        "self._make(some.noise, some.condition)",
        "self._make(torch.randn_like(some.noise), some.condition)",
        "test_picture_game.py::test_accumulated_gradients_equal_the_batch_s",
    ),
    Mutant(
        PLAYERS,
        "share, count = weights[part], size(some) / size(fake)",
        "share, count = weights[part], 1",
        "test_picture_game.py::test_accumulated_gradients_equal_the_batch_s",
    ),
    Mutant(
        PLAYERS,
        "total = total + rewards.evaluate_pictures",
        "total = total - rewards.evaluate_pictures",
        "test_picture_game.py::test_rewards_of_users_are_added_by_weight",
    ),
    Mutant(
        REWARDS,
        "if sample.pixels.requires_grad and not found.requires_grad:",
        "if False:",
        "test_picture_game.py::test_what_users_are_told_of_a_reward",
    ),
    Mutant(
        REWARDS,
        "return found * reward.weight\n\n\ndef evaluate_steps",
        "return found\n\n\ndef evaluate_steps",
        "test_picture_game.py::test_rewards_of_users_are_added_by_weight",
    ),
    Mutant(
        OBJECTIVES,
        "(1 - target) * real.mean()",
        "target * real.mean()",
        "test_objectives.py::test_smoothed_labels_are_cross_entropy",
    ),
    Mutant(
        OBJECTIVES,
        "gradient.flatten(1).square().sum(1).mean()",
        "gradient.flatten(1).square().mean()",
        "test_objectives.py::test_gradient_square_of_a_quadratic",
    ),
    Mutant(
        LAYERS,
        "- 1 - log_variance)",
        "- 1 + log_variance)",
        "test_picture_networks.py::test_divergence_is_that_of_normal_distributions",
        True,
    ),
    Mutant(
        LAYERS,
        "(log_variance / 2).exp() * torch.randn_like(mean)",
        "log_variance.exp() * torch.randn_like(mean)",
        "test_picture_networks.py::test_augmentation_draws_from_its_normal_distribution",
    ),
    Mutant(
        LAYERS, "key, value, scale=1.0)", "key, value)", "test_picture_networks.py::test_self_attention_is_its_equation"
    ),
    Mutant(
        LAYERS,
        "return x + self.gamma *",
        "return self.gamma *",
        "test_picture_networks.py::test_self_attention_is_its_equation",
    ),
    Mutant(
        PAINTER,
        'if getattr(self, "frozen", False):',
        "if False:",
        "test_picture_networks.py::test_a_frozen_first_stage_stays_as_it_is",
    ),
    Mutant(
        CRITIC,
        "F.leaky_relu(self.read(caption), SLOPE)",
        "F.leaky_relu(self.read(captions[0]), SLOPE)",
        "test_picture_networks.py::test_captions_beside_each_other_do_not_mix",
    ),
    Mutant(
        AVERAGE,
        "(averaged, current, 1 - decay)",
        "(averaged, current, decay)",
        "test_picture_networks.py::test_the_average_is_its_sum",
    ),
    Mutant(
        AVERAGE,
        "min(self.decay, (1 + self.steps) / (10 + self.steps))",
        "self.decay",
        "test_picture_networks.py::test_the_average_is_its_sum",
    ),
    Mutant(AVERAGE, "averaged_buffer.copy_(buffer)", "pass", "test_picture_networks.py::test_the_average_is_its_sum"),
    Mutant(
        AUGMENTATION,
        "+ down).clamp(0, height - 1)",
        "+ down) % height",
        "test_picture_game.py::test_translation_moves_pixels",
    ),
    Mutant(
        AUGMENTATION,
        "(2 * saturation) + grey",
        "saturation + grey",
        "test_picture_game.py::test_colours_change_within_their_bounds",
    ),
    Mutant(
        AUGMENTATION,
        "    size = round(height * share)\n",
        "    size = round(height * share) // 2\n",
        "test_picture_game.py::test_cutout_hides_a_square",
    ),
    Mutant(
        SHOWN,
        "generator.eval()  # else",
        "generator.train()  # else",
        "test_picture_game.py::test_evaluated_pictures_are_of_the_average_and_of_no_batch",
    ),
    # metrics of text, spread over seeds, quality at equal diversity
    Mutant(GRAMS, "alone -= there", "alone -= here", "test_text_divergences.py::test_divergence_is_scipy_s"),
    Mutant(
        GRAMS,
        "there / 2 * log(there / middle)",
        "there / 2 * log(here / middle)",
        "test_text_divergences.py::test_divergence_by_hand",
    ),
    Mutant(GRAMS, "(total - known[n - 1])", "known[n - 1]", "test_text_divergences.py::test_novelty_by_hand"),
    Mutant(
        GRAMS,
        "len(at) for _, at, _ in",
        "len(np.unique(grams)) for _, _, grams in",
        "test_text_divergences.py::test_novelty_is_a_look_up_in_a_set",
    ),
    Mutant(
        MAUVE,
        "r = w * p + (1 - w) * q",
        "r = (p + q) / 2",
        "test_text_divergences.py::test_the_frontier_s_area_is_the_integral",
    ),
    Mutant(
        MAUVE,
        "np.linspace(1e-6, 1 - 1e-6, mixtures)",
        "np.linspace(0.25, 0.75, mixtures)",
        "test_text_divergences.py::test_the_frontier_s_area_is_the_integral",
    ),
    Mutant(
        MAUVE,
        "np.exp(-scale * np.array(curve))",
        "np.exp(-np.array(curve))",
        "test_text_divergences.py::test_equal_distributions_have_area_1_and_disjoint_ones_nearly_0",
    ),
    Mutant(
        EVALUATED,
        "self._novelty(self._held_out)",
        "self._novelty(self._train)",
        "test_sweep.py::test_real_data_are_the_reference",
    ),
    Mutant(
        UNITS,
        "unknown if self.unknown in word else word",
        "word",
        "test_units.py::test_what_is_unknown_is_taken_apart",
        True,
    ),
    Mutant(
        UNITS,
        "sum(map(len, sentences)) + len(sentences)",
        "sum(map(len, sentences))",
        "test_units.py::test_likelihood_by_word_is_that_of_the_whole_text",
    ),
    Mutant(
        EVALUATED,
        "source.train, source.train_texts)",
        "source.train, ())",
        "test_units.py::test_held_out_words_stay_real_words",
    ),
    Mutant(
        "report/measured.py",
        "and unknown > FEW",
        "and unknown > 1",
        "test_units.py::test_unlike_runs_are_not_compared",
    ),
    Mutant(
        ORACLE,
        ".float() / temperature",
        ".float()",
        "test_sweep.py::test_the_likelihood_is_that_of_what_is_drawn_at_the_temperature",
    ),
    Mutant(STATISTICS, "student_t(count - 1)", "student_t(count)", "test_spread.py::test_spread_by_hand", True),
    Mutant(STATISTICS, "ddof=1", "ddof=0", "test_spread.py::test_spread_by_hand"),
    Mutant(STATISTICS, "other.mean - one.mean", "one.mean - other.mean", "test_spread.py::test_welch_is_scipy_s"),
    Mutant(STATISTICS, "part**2 / (group.runs - 1)", "part**2 / group.runs", "test_spread.py::test_welch_is_scipy_s"),
    Mutant(
        TRADE_OFF,
        "key=lambda quality: better * quality",
        "key=lambda quality: quality",
        "test_spread.py::test_where_several_temperatures_are_as_diverse_the_best_counts",
    ),
    Mutant(
        TRADE_OFF,
        "max(map(min, ranges)), min(map(max, ranges))",
        "min(map(min, ranges)), max(map(max, ranges))",
        "test_spread.py::test_levels_are_what_all_curves_reach",
    ),
    # demonstrations
    Mutant(
        FITTING,
        "        observations = observations[:, order]",
        "        pass",
        "test_recorded.py::test_parts_stand_in_the_order_of_the_environment",
        True,
    ),
    Mutant(FITTING, "terminated=False) if cut", "terminated=False) if not cut", "test_recorded.py"),
    Mutant(
        FITTING, "high + OUTSIDE * half", "high + OUTSIDE", "test_recorded.py::test_actions_that_are_none_of_the_space"
    ),
    Mutant(STEPS, "    known &= ~of_next", "    pass", "test_demonstration_formats.py"),
    Mutant(STEPS, "        ends |= broken", "        pass", "test_demonstration_formats.py"),
    Mutant(STEPS, "actions[:-1], rewards[:-1], earned", "actions, rewards, earned", "test_demonstration_formats.py"),
    Mutant(RECORDED, "environment.reset(seed=episode.seed)", "environment.reset(seed=0)", "test_recorded.py"),
    Mutant("imitation/formats.py", "if max(seeds) < 2**63", "if True", "test_recorded.py"),
    # files, and what messages are made of
    Mutant(
        "imitation/evaluation.py",
        "spread(self.returns.tolist()).half",
        "spread(self.returns.tolist()).deviation",
        "test_spread.py::test_the_interval_of_returns_is_scipy_s",
    ),
    Mutant("errors.py", "[:most]", "", "test_files.py::test_an_error_in_one_line", True),
    Mutant(
        "engine/sharding.py",
        "for group in _groups(network):\n        group.set_reshard_after_forward(False, recurse=False)\n"
        "        group.set_reshard_after_backward(False, recurse=False)",
        "for group in ():\n        pass",
        "test_sharding.py::test_gradients_in_parts_are_those_of_one_process",
    ),
    Mutant(
        "engine/engine.py",
        "        self.group.release()\n        try:",
        "        try:",
        "test_sharding.py::test_each_process_holds_its_part",
    ),
    Mutant(
        "files.py",
        "if target is not None:",
        "if not path.exists():",
        "test_strangers.py::test_a_run_is_not_resumed_through_a_link_from_python",
    ),
    Mutant(
        "cli/parts.py",
        "return found if _is_part(found) else self._refuse(name)",
        "return found",
        "test_strangers.py::test_what_a_run_folder_names_is_not_imported",
    ),
    Mutant(
        "trust.py",
        "hashlib.sha256(config_text.encode())",
        "hashlib.sha256()",
        "test_strangers.py::test_the_users_own_parts_need_no_word_where_they_were_trained",
    ),
    Mutant(
        "engine/checkpoints.py",
        "if (path / MANIFEST).is_file():  # else it is none of ours",
        "if path.is_dir():",
        "test_strangers.py::test_only_checkpoints_are_deleted",
    ),
    Mutant(
        "files.py",
        "        unfinished.unlink(missing_ok=True)",
        "        pass",
        "test_files.py::test_what_fails_leaves_what_was_there",
    ),
    Mutant(
        DATA,
        "[[*sequence, end][: None if limit is None else limit + 1]",
        "[[*sequence[:limit], end]",
        "test_text_data.py::test_a_text_that_was_cut_has_no_end",
    ),
    Mutant(
        "language/held_out.py",
        "groups.setdefault(key, [])",
        "groups.setdefault(place, [])",
        "test_text_intake.py::test_equal_texts_are_on_one_side",
    ),
    Mutant(
        "tables.py",
        "return bad + swallowed <=",
        "return bad <=",
        "test_text_intake.py::test_a_quote_in_tsv_is_a_character",
    ),
    Mutant(
        "language/words.py",
        "for sentence in treebank.sentences(part)",
        "for sentence in [part]",
        "test_words.py::test_words_and_punctuation_and_the_way_back",
    ),
    Mutant(
        "images/sources.py",
        "chosen.update(groups[i])",
        "chosen.add(int(i))",
        "test_picture_data.py::test_pictures_of_one_caption_are_held_out_together",
    ),
    Mutant(
        "images/sources.py",
        "groups = _groups(names, copies)",
        "groups = _groups(names, [None] * len(records))",
        "test_picture_layouts.py::test_copies_are_on_one_side",
    ),
    Mutant(
        "language/held_out.py",
        'unicodedata.normalize("NFC", text)',
        "text",
        "test_text_intake.py::test_texts_that_look_alike_are_on_one_side",
    ),
    Mutant(
        "separators.py",
        "len(rows) > 1 and len({len(row) for row in rows}) == 1",
        "len(rows) > 1",
        "test_text_intake.py::test_a_separator_that_rows_do_not_agree_on",
    ),
    Mutant(
        "language/token_ids.py",
        "return {one: known[word] for one, word in zip(ids, words, strict=True)}",
        "return {one: i for i, one in enumerate(ids)}",
        "test_text_intake.py::test_ids_of_a_model_are_its_own",
    ),
    Mutant(
        "images/sources.py",
        'record.split in ("train", None)',
        'record.split == "train"',
        "test_picture_layouts.py::test_splits_at_any_depth_and_pictures_of_none",
    ),
    Mutant(
        "images/records.py",
        "any(real.is_relative_to(home) for home in self.homes)",
        "any(real.is_relative_to(home.parent) for home in self.homes)",
        "test_picture_layouts.py::test_links_into_the_blobs_of_the_cache",
    ),
    Mutant(
        "images/pixels.py",
        "values = upper * 256 + np.asarray(again)",
        "values = upper * 256",
        "test_pixels.py::test_one_transparent_value",
    ),
    Mutant(
        "images/sources.py",
        "pixels, some = pixels[kept], [some[i] for i in kept]",
        "pixels, some = pixels[kept], some[: len(kept)]",
        "test_picture_layouts.py::test_one_odd_picture_does_not_refuse_a_folder",
    ),
    Mutant(
        "images/matching.py",
        'Words(list(data.captions), "pairs", ',
        'Words(list(data.captions), "none", ',
        "test_picture_fit.py::test_the_learned_matcher_sees_the_order_of_words",
    ),
    Mutant(
        WORDS,
        'confused(captions, "clauses") > FEW',
        'confused(captions, "none") > FEW',
        "test_picture_fit.py::test_the_order_is_read_where_captions_need_it",
    ),
    Mutant(
        "algorithms/distances.py",
        "2 * (between - across) / ((n - 1) * others)",
        "2 * (between - across) / (n * others)",
        "test_picture_fit.py::test_the_interval_is_the_jackknife_of_plain_loops",
    ),
    Mutant(
        "files.py",
        "for is_kind, name in KINDS.items():",
        "for is_kind, name in list(KINDS.items())[1:]:",
        "test_bad_input.py::test_what_train_refuses",
    ),
    Mutant(
        "engine/checkpoints.py",
        "self.root.mkdir(exist_ok=True)  # but",
        "self.root.mkdir(exist_ok=True, parents=True)  # but",
        "test_bad_input.py::test_a_run_folder_that_goes_is_not_made_anew",
    ),
    Mutant(
        "bounds.py",
        "low = self.low < value if self.above else self.low <= value",
        "low = self.low <= value",
        "test_numbers.py::test_what_each_kind_of_number_takes",
    ),
    Mutant(
        "bounds.py",
        "if not math.isfinite(value):",
        "if math.isinf(value):",
        "test_numbers.py::test_every_number_of_every_option_has_bounds",
    ),
    Mutant(
        "engine/run_folder.py",
        "self.export(self.left)",
        "self.export({})",
        "test_advice.py::test_a_finished_run_that_is_resumed_writes_its_model_anew",
    ),
    # the best model
    Mutant("engine/verdict.py", "abs(gain) <= SURE * error", "abs(gain) <= error", "test_best.py"),
    Mutant("engine/verdict.py", "_of_rows(a.rows - b.rows)", "_of_rows(a.rows)", "test_best.py"),
    Mutant("language/ngram_distance.py", "self.products(self) - own", "self.products(self)", "test_best.py"),
    Mutant(
        "engine/phases.py",
        "min(total, self.ended.get(phase, total))",
        "total",
        "test_best.py::test_what_is_no_better_any_more_ends_early_and_stays_ended",
    ),
    Mutant(
        "engine/phases.py",
        "if made < total and later:",
        "if False:",
        "test_resumed_options.py::test_the_past_is_not_rewritten",
    ),
    Mutant(
        "engine/lock.py",
        "except (BlockingIOError, PermissionError):",
        "except NotADirectoryError:",
        "test_resumed_options.py::test_one_process_at_a_time_trains_in_a_folder",
    ),
    Mutant(
        "engine/checkpoints.py",
        "    check_parts(folder, _processes(folder), files)\n",
        "",
        "test_resumed_options.py::test_a_checkpoint_that_lacks_a_process_s_part_is_not_believed",
    ),
]


def unplanted(mutant: Mutant) -> str | None:
    """Why a mutant can't be planted any more, or None."""
    count = (ROOT / "seqgan_kit" / mutant.file).read_text("utf-8").count(mutant.old)
    return None if count == 1 else f"{mutant.file}: {mutant.old!r} is there {count} times, not once"


def run(tests: str, folder: Path) -> tuple[int, str]:
    """pytest's exit code and output. A fork, so that PyTorch is imported once and the package every time."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.close(read)
            os.dup2(write, 1)
            os.dup2(write, 2)
            os.chdir(folder)
            sys.path[:0] = [str(folder), str(folder / "tests")]
            # plugins that came with what was imported before pytest began
            options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
            code = int(pytest.main([*options, *[f"tests/{name}" for name in tests.split()]]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)  # not the caller's clean-up
    os.close(write)
    with os.fdopen(read) as stream:
        output = stream.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output


def preload() -> None:
    """What the tests import, but nothing of the package itself."""
    import torch

    torch.set_num_threads(1)
    torch.zeros(2, requires_grad=True).sum()  # no backward pass: it would start threads, which a fork loses
    for name in ("accelerate", "gymnasium", "scipy.stats", "torch._dynamo", "transformers.modeling_utils"):
        importlib.import_module(name)
    assert not any(name.split(".")[0] == "seqgan_kit" for name in sys.modules)


def broken(folder: Path, tests: str) -> str:
    """Runs tests without a mutant; what is wrong if they don't pass."""
    sys.dont_write_bytecode = False  # pytest's of the tests is good for all mutants
    code, output = run(tests, folder)
    return f"BROKEN   without a mutant, pytest {tests} ends with {code}:\n{output}" if code else ""


def plant(folder: Path, mutant: Mutant) -> tuple[bool, str]:
    """Whether the tests notice the mutant, and what to say of it."""
    started = time.monotonic()
    own = folder.with_name(str(os.getpid()))  # this process's copy
    if not own.exists():
        shutil.copytree(folder, own)
    sys.dont_write_bytecode = True
    target = own / "seqgan_kit" / mutant.file
    whole = target.read_text("utf-8")
    target.write_text(whole.replace(mutant.old, mutant.new), "utf-8")
    code, output = run(mutant.tests, own)
    target.write_text(whole, "utf-8")
    word = {0: "SURVIVED", 1: "killed  "}.get(code, "BROKEN  ")  # other codes: pytest could not run the tests
    line = f"{word} {time.monotonic() - started:4.1f} s  {mutant.file}: {mutant.old!r} -> {mutant.new!r}"
    return code == 1, line if code == 1 else f"{line}\n{output}"


def main(arguments: list[str]) -> int:
    chosen = [
        mutant
        for mutant in MUTANTS
        if (mutant.fast or "--fast" not in arguments)
        and all(word in mutant.file + " " + mutant.tests for word in arguments if word != "--fast")
    ]
    problems: list[str] = []
    for mutant in chosen:
        if reason := unplanted(mutant):
            problems.append(reason)
            print("STALE   ", reason)
    preload()
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(PROCESSES, FORK) as pool:
        folder = Path(name) / "whole"
        for part in ("seqgan_kit", "tests"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "setup.cfg", folder)
        # by content: a mutant may be as long as what it replaces, and planted within the same second
        compileall.compile_dir(
            folder / "seqgan_kit", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
        )
        words = {word for mutant in chosen for word in mutant.tests.split()}
        files = {word.split("::")[0]: "" for word in sorted(words)}
        for file in files:
            files[file] = " ".join(sorted(word for word in words if word.split("::")[0] == file))
        for file, told in zip(files, pool.map(partial(broken, folder), files.values()), strict=True):
            if told:
                problems.append(file)
                print(told)
        planted = [
            mutant for mutant in chosen if not unplanted(mutant) and not any(file in mutant.tests for file in problems)
        ]
        for mutant, (killed, told) in zip(planted, pool.map(partial(plant, folder), planted), strict=True):
            print(told, flush=True)
            if not killed:
                problems.append(mutant.old)
    print(f"{len(chosen)} mutants, {len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
