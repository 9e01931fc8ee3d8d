"""What test_dialogue_processes.py runs in pairs: `two_talkers.py steps OUT`, `two_talkers.py train OUT WORDS...`.

Each process writes what it found to OUT/rank-R-of-N.safetensors or OUT/rank-R.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from policies import token_policy
from seqgan_kit.algorithms import credit, estimators, objectives
from seqgan_kit.dialogue import train as dialogue
from seqgan_kit.dialogue.comparison import compare
from seqgan_kit.dialogue.template import EncodedHistory, to_replies
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.players import Discriminator
from seqgan_kit.networks.text.generator_discriminator import GeneratorDiscriminator
from seqgan_kit.networks.text.hierarchical import HierarchicalDiscriminator
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.reply_encoder import ReplyEncoder
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.networks.text.value_head import ValueHead
from seqgan_kit.samples import Replies, rows, trimmed
from seqgan_kit.tokens.credit import Prefixes
from seqgan_kit.tokens.discriminator import call
from seqgan_kit.tokens.policy import Anchor, Critic, likelihood_loss
from tiny_models import BERT, model

VOCABULARY, END, LENGTH, ROWS, REPEATS = 9, 1, 5, 8, 2
CASES = ("lstm", "gpt2", "t5", "judge", "encoder")


def batch(seed: int) -> Replies:
    """The joined batch: replies to histories of several turns, all of several lengths; each history twice in a row."""
    rng = random.Random(seed)
    found = []
    for _ in range(ROWS // REPEATS):
        told = [[*rng.choices(range(2, VOCABULARY), k=rng.randint(1, 3)), END] for _ in range(rng.randint(1, 3))]
        turns = [turn for turn, utterance in enumerate(told) for _ in utterance]
        history = EncodedHistory([token for utterance in told for token in utterance], turns, cut=False)
        for _ in range(REPEATS):
            found.append((history, [*rng.choices(range(2, VOCABULARY), k=rng.randint(0, LENGTH - 1)), END]))
    return to_replies(found, END)


def share(replies: Replies, engine: Engine) -> Replies:
    """This process's histories, with all replies to each, cut to its own longest ones."""
    history = torch.arange(ROWS) // REPEATS
    return trimmed(rows(replies, history % engine.processes == engine.rank))


def without_dropout(network: nn.Module) -> nn.Module:
    """So that halves of a batch and the whole have the same gradient."""
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0  # type: ignore[assignment]
    return network


def networks(name: str) -> tuple[Any, nn.Module]:
    """A generator and a discriminator; the same on every process."""
    torch.manual_seed(3)
    generator: Any
    if name in ("gpt2", "t5"):
        generator = LanguageModel(without_dropout(model(name, VOCABULARY, END)))
    else:
        config = Seq2SeqConfig(VOCABULARY, embedding=6, hidden=6, layers=2, start=END, end=END)
        generator = Seq2SeqGenerator(config)
    judge: Any = HierarchicalDiscriminator(VOCABULARY, 5, 6)
    if name == "judge":
        judge = GeneratorDiscriminator(generator, 6)
        nn.init.normal_(judge.output.weight)
    if name == "encoder":
        given = {"vocab_size": VOCABULARY, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        judge = ReplyEncoder(AutoModel.from_config(AutoConfig.for_model(**{**json.loads(BERT), **given})))
    judge.output.weight.data *= 10  # so that rewards differ
    return generator, judge


def watch(learner: Learner) -> list[tuple[str, Tensor]]:
    """Filled with what the learner's optimiser gets at its next steps."""
    seen: list[tuple[str, Tensor]] = []
    names = {parameter: name for name, parameter in learner.network.named_parameters()}

    def look(*_: Any) -> None:
        seen.extend((names[p], p.grad.clone()) for p in learner.parameters if p.grad is not None)

    learner.optimizer.register_step_pre_hook(look)
    return seen


def steps(engine: Engine, name: str) -> Iterator[tuple[str, Tensor]]:
    """The gradients of one update of each player and the critic, and all weights after it."""
    generator, judge = networks(name)
    frozen = deepcopy(generator).requires_grad_(False)
    for parameter in frozen.parameters():
        parameter.mul_(0.9)  # so that there is a divergence
    config = OptimizerConfig(lr=1e-3, clip=0.0)
    likelihood = engine.learner(f"{name} generator", generator, config)
    policy = engine.learner(f"{name} policy", generator, config, dropout=False)
    critic = engine.learner(f"{name} critic", ValueHead(6 if name not in ("gpt2", "t5") else 8), config)
    scorer = engine.learner(f"{name} discriminator", judge, config)
    nn.init.normal_(critic.network.output.weight)  # type: ignore[union-attr, arg-type]
    objective = objectives.seqgan()
    discriminator: Discriminator[Any] = Discriminator(
        engine, scorer, ROWS, objective, call, compare=partial(compare, prefixes=False)
    )
    player = token_policy(
        engine, policy, ROWS, LENGTH, END, objective.reward, Prefixes(generator, LENGTH, END),
        baseline=partial(credit.leave_one_out, group=REPEATS), estimator=estimators.ppo, passes=2,
        critic=Critic(engine, critic), anchor=Anchor(frozen, 0.3), teacher_forcing=1,
    )  # fmt: skip
    real, fake = share(batch(0), engine), share(batch(1), engine)
    seen = {learner.name.partition(" ")[2]: watch(learner) for learner in (likelihood, policy, critic, scorer)}
    engine.update(likelihood, lambda part: likelihood_loss(likelihood.module, rows(real, part)), len(real.ids))
    player.update(real, fake, discriminator.score)
    discriminator.update(real, fake)
    for learner in (likelihood, policy, critic, scorer):
        short = learner.name.partition(" ")[2]
        yield f"count {short}", torch.tensor(len(seen[short]))
        for i, (key, gradient) in enumerate(seen[short]):
            yield f"gradient {short} {i} {key}", gradient
        if learner is not likelihood:
            for key, tensor in learner.network.state_dict().items():
                yield f"weight {short} {key}", tensor.clone()


def find_steps(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    processes = os.environ.get("WORLD_SIZE", "1")
    with Engine(RunConfig(folder=str(out / f"run-{processes}"), device="cpu", threads=1), "dialogue") as engine:
        found = {f"{name}: {key}": value for name in CASES for key, value in steps(engine, name)}
        save_file(found, out / f"rank-{engine.rank}-of-{engine.processes}.safetensors")


def train(out: Path, words: list[str]) -> int:
    """The command line, with every process telling at the end what its weights are, and what it drew last."""
    original = dialogue.DialogueTask.play

    def play(task: dialogue.DialogueTask) -> None:
        original(task)
        engine = task.engine
        networks = {
            name: network.state_dict()
            for name, network in engine.parts.networks.items()
            if isinstance(network, nn.Module)  # not what is set aside
        }
        if task.anchor is not None:
            networks["anchor"] = task.anchor.network.state_dict()
        networks["credit"] = task.policy.credit.state_dict().get("network", {})
        sums = {
            name: hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in state.values())).hexdigest()
            for name, state in networks.items()
        }
        real = task.training.real.take(8)
        drawn = {"real": real.ids.tolist(), "fake": task.policy.sample(real).ids.tolist()}
        (out / f"rank-{engine.rank}.json").write_text(json.dumps({"sums": sums, **drawn}))

    dialogue.DialogueTask.play = play  # type: ignore[method-assign]
    from seqgan_kit.cli import main

    return main(words)


def main(words: list[str]) -> int:
    if words[0] == "train":
        return train(Path(words[1]), words[2:])
    find_steps(Path(words[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
