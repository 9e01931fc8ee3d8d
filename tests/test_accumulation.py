"""A batch in parts has the gradient of the batch, for every learner of text and dialogue whose batch can be cut.

The rows are of very unequal lengths and the parts of unequal size: a loss that is divided by a mask's count, or takes
the mean of what should be a mean over rows, does not pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from policies import token_policy
from replies import END, LENGTH, REPLIES, VOCABULARY, far_from_uniform, some_replies, total
from seqgan_kit.algorithms import estimators, f_gan, objectives
from seqgan_kit.engine.checks import whole_batch
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, OptimizerConfig
from seqgan_kit.errors import UserError
from seqgan_kit.game.players import Discriminator
from seqgan_kit.images.caption_embedding import JointConfig
from seqgan_kit.images.checks import check_joint
from seqgan_kit.networks.text.class_head import ClassHead
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.hierarchical import HierarchicalDiscriminator
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.networks.text.value_head import ValueHead
from seqgan_kit.samples import LabelledTokens, Replies, Tokens, rows, size
from seqgan_kit.text import config as configs
from seqgan_kit.text.checks import check_judge
from seqgan_kit.tokens.credit import Terminal
from seqgan_kit.tokens.discriminator import call
from seqgan_kit.tokens.policy import Critic, likelihood_loss

Update = Callable[[Engine, Learner], object]
OTHERS = some_replies(1)
OBJECTIVES: dict[str, Callable[[], objectives.Objective]] = {
    "seqgan": objectives.seqgan,
    "hinge": objectives.hinge,
    "wasserstein": objectives.wasserstein,
    "least squares": objectives.least_squares,
    "relativistic": objectives.relativistic,
    "ls_gan": lambda: objectives.ls_gan(weight=0.3),
    "ebgan": objectives.ebgan,
    "entropy": lambda: objectives.with_entropy(objectives.seqgan(), 0.1),
    "smoothed": lambda: objectives.with_label_smoothing(objectives.seqgan(), 0.9),
    "kl": f_gan.kl,
}


def plain(replies: Replies) -> Tokens:
    return Tokens(replies.ids, replies.mask)


def labelled(replies: Replies) -> LabelledTokens:
    return LabelledTokens(replies.ids, replies.mask, torch.arange(size(replies)) % 2)


def lstm() -> nn.Module:
    return LSTMGenerator(LSTMConfig(VOCABULARY, 6, 8, start=END, end=END, length=LENGTH))


def seq2seq() -> nn.Module:
    return Seq2SeqGenerator(Seq2SeqConfig(VOCABULARY, embedding=6, hidden=8, layers=1, start=END, end=END, dropout=0.0))


def gpt2() -> nn.Module:
    none = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    sizes = {"vocab_size": VOCABULARY, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 32}
    return LanguageModel(GPT2LMHeadModel(GPT2Config(**sizes, **none, bos_token_id=END, eos_token_id=END)))


def cnn() -> nn.Module:
    return TextCNN(VOCABULARY, 6, (1, 2), (4, 4), dropout=0.0)


def likelihood(tokens: Tokens) -> Update:
    return lambda engine, learner: engine.update(
        learner, lambda part: likelihood_loss(learner.module, rows(tokens, part)), size(tokens)
    )


def policy(tokens: Tokens, estimator: Any) -> Update:
    def update(engine: Engine, learner: Learner) -> object:
        player = token_policy(
            engine, learner, size(tokens), LENGTH, END, torch.sigmoid, Terminal(learner.network, LENGTH, END),
            estimator=estimator,
        )  # fmt: skip
        return player.update(tokens, tokens, total)

    return update


def value(engine: Engine, learner: Learner) -> object:
    features = torch.randn(*REPLIES.mask.shape, 8, generator=torch.Generator().manual_seed(0))
    return Critic(engine, learner).update(features, features.sum(2), REPLIES.mask)


def discriminator(real: Tokens, fake: Tokens, objective: objectives.Objective) -> Update:
    return lambda engine, learner: Discriminator(engine, learner, size(real), objective, call).update(real, fake)


LEARNERS: dict[str, tuple[Callable[[], nn.Module], Update]] = {
    "likelihood, lstm": (lstm, likelihood(plain(REPLIES))),
    "likelihood, seq2seq": (seq2seq, likelihood(REPLIES)),
    "likelihood, gpt2": (gpt2, likelihood(REPLIES)),
    "reinforce": (lstm, policy(plain(REPLIES), estimators.reinforce)),
    "ppo": (seq2seq, policy(REPLIES, estimators.ppo)),
    "value": (lambda: ValueHead(8), value),
    "classes": (
        lambda: ClassHead(cnn(), 2),
        discriminator(labelled(REPLIES), labelled(OTHERS), objectives.with_classes(objectives.seqgan(), 1.0, 0.5)),
    ),
    "replies": (
        lambda: HierarchicalDiscriminator(VOCABULARY, 6, 6, dropout=0.0),
        discriminator(REPLIES, OTHERS, objectives.seqgan()),
    ),
    **{
        f"discriminator, {name}": (cnn, discriminator(plain(REPLIES), plain(OTHERS), build()))
        for name, build in OBJECTIVES.items()
    },
}


@pytest.mark.parametrize("name", LEARNERS)
def test_the_gradient_of_a_batch_in_parts_is_that_of_the_batch(name: str, engine: Engine) -> None:
    """Of 5 rows in 2, 3 and 5 parts, to 1e-6 of its largest number."""
    make, update = LEARNERS[name]
    found: dict[int, list[Tensor]] = {}
    for parts in (1, 2, 3, 5):
        torch.manual_seed(1)
        learner = engine.learner(
            f"{name} {parts}", far_from_uniform(make()), OptimizerConfig(lr=0.0, clip=0.0, accumulate=parts)
        )
        seen = found.setdefault(parts, [])
        learner.optimizer.register_step_pre_hook(
            lambda *_, learner=learner, seen=seen: seen.extend(p.grad.clone() for p in learner.parameters)
        )
        update(engine, learner)
    largest = max(float(gradient.abs().max()) for gradient in found[1])
    assert largest > 1e-3
    for parts in (2, 3, 5):
        for whole, cut in zip(found[1], found[parts], strict=True):
            torch.testing.assert_close(cut, whole, rtol=0, atol=2e-6 * max(1.0, largest))


# -- where a batch can't be cut ------------------------------------------------------------------------------------


def test_what_compares_the_rows_of_a_batch_is_refused_in_parts() -> None:
    """It would compare within the parts alone; with one part it is taken."""
    cut, whole = OptimizerConfig(accumulate=2), OptimizerConfig()
    with pytest.raises(UserError, match=r"--a.accumulate 2: .* over a whole batch, give 1 and a smaller --b"):
        whole_batch("--a", cut, "rows are compared", "--b")
    with pytest.raises(UserError, match=r"--joint.optimizer.accumulate 2: pictures and captions are compared over a"):
        check_joint(JointConfig(steps=3, optimizer=cut), 0)
    check_joint(JointConfig(steps=3, optimizer=whole), 0)
    check_joint(JointConfig(steps=0, optimizer=cut), 0)
    compares = TextCNN(VOCABULARY, kernels=4)
    for network, optimizer, refused in ((compares, cut, True), (compares, whole, False), (cnn(), cut, False)):
        config = configs.TextConfig(discriminator=configs.DiscriminatorConfig(optimizer=optimizer))
        if refused:
            with pytest.raises(UserError, match=r"--discriminator.optimizer.accumulate 2: the discriminator compares"):
                check_judge(config, network)
        else:
            check_judge(config, network)
