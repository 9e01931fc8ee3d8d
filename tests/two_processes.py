"""What test_processes.py runs in pairs: `two_processes.py gradients OUT`, `two_processes.py train OUT WORDS...`.

Each process writes what it found to OUT/rank-R.safetensors or OUT/rank-R.json.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from policies import token_policy
from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.players import Discriminator
from seqgan_kit.networks.text.class_head import ClassHead
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.samples import LabelledTokens, Tokens, rows
from seqgan_kit.text import train as text
from seqgan_kit.tokens.credit import Credit, LikelihoodRatio
from seqgan_kit.tokens.discriminator import call
from seqgan_kit.tokens.policy import TokenPolicy, WithLikelihood, likelihood_loss
from seqgan_kit.tokens.rewards import Earned

VOCABULARY, TIME, ROWS, END, CLASSES = 7, 5, 8, 6, 3


class ByPlace(Credit):
    """Credit that differs from token to token and from row to row, and has no random numbers in it."""

    def __call__(self, sampled: Tokens, earned: Tensor, reward: Earned) -> Tensor:
        return earned.unsqueeze(1) * torch.arange(1, sampled.ids.shape[1] + 1) * sampled.mask


def batch(seed: int) -> Tokens:
    """The joined batch: rows of several lengths, which processes share unevenly."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(END, (ROWS, TIME), generator=random)
    lengths = torch.tensor([5, 2, 3, 1, 5, 4, 2, 3])
    return Tokens(ids, torch.arange(TIME) < lengths.unsqueeze(1))


def share(tokens: Tokens, engine: Engine) -> Tokens:
    """This process's rows, cut to its own longest one, as its own samples are."""
    mine = rows(tokens, slice(engine.rank, None, engine.processes))
    longest = int(mine.mask.sum(1).max())
    return replace(mine, ids=mine.ids[:, :longest], mask=mine.mask[:, :longest])


def labelled(tokens: Tokens) -> LabelledTokens:
    """The same rows, each of a class."""
    return LabelledTokens(tokens.ids, tokens.mask, torch.arange(len(tokens.ids)) % CLASSES)


class Parts:
    """A generator and a discriminator with the same initial weights on every process."""

    def __init__(self, engine: Engine, name: str, accumulate: int = 1, classes: int = 0) -> None:
        torch.manual_seed(3)
        config = OptimizerConfig(lr=1e-2, clip=0.0, accumulate=accumulate)
        network = LSTMGenerator(
            LSTMConfig(VOCABULARY, 6, 6, start=END, end=END, length=TIME, deviation=0.5, classes=classes)
        )
        critic = TextCNN(VOCABULARY, 6, (1, 2), (4, 4), dropout=0.0)
        critic.output.weight.data *= 10  # so that rewards differ
        judge = ClassHead(critic, classes) if classes else critic
        self.generator = engine.learner(f"generator {name}", network, config)
        self.critic = engine.learner(f"discriminator {name}", judge, config)
        objective = objectives.with_classes(objectives.seqgan(), fake=0.5) if classes else objectives.seqgan()
        self.policy = token_policy(engine, self.generator, ROWS, TIME, END, objective.reward, ByPlace())
        self.discriminator: Discriminator[Tokens] = Discriminator(engine, self.critic, ROWS, objective, call)


def gradients(engine: Engine) -> Iterator[tuple[str, Tensor]]:
    """The gradients of every player's update, as its optimiser gets them; and what else must be equal or not."""
    real, fake = share(batch(0), engine), share(batch(1), engine)
    of_classes = [share(labelled(batch(seed)), engine) for seed in range(2)]
    for accumulate in (1, 2):
        updates: dict[str, Callable[[Parts], object]] = {
            "maximum likelihood": lambda parts: engine.update(
                parts.generator,
                lambda part: likelihood_loss(parts.generator.module, rows(real, part)),
                len(real.ids),
            ),
            "reinforce": lambda parts: parts.policy.update(real, fake, parts.discriminator.score),
            "likelihood ratio": lambda parts: replace(
                parts.policy,
                credit=LikelihoodRatio(parts.generator.network, TIME, END),
                likelihood=WithLikelihood(prefix=lambda: 1),
            ).update(real, fake, parts.discriminator.score),
            "discriminator": lambda parts: parts.discriminator.update(real, fake),
            "reinforce of classes": lambda parts: parts.policy.update(*of_classes, parts.discriminator.score),
            "discriminator of classes": lambda parts: parts.discriminator.update(*of_classes),
        }
        for name, update in updates.items():
            parts = Parts(engine, f"{name} {accumulate}", accumulate, CLASSES if "classes" in name else 0)
            learner, other = parts.generator, parts.critic
            if name.startswith("discriminator"):
                learner, other = other, learner
            seen = watch(learner)
            update(parts)
            for i, gradient in enumerate(seen):
                yield f"{name} {accumulate} {i}", gradient
            yield f"leak {name} {accumulate}", torch.tensor(sum(p.grad is not None for p in other.parameters))
            yield f"after {name} {accumulate}", weights(learner.network)
    # a pathwise loss, whose graph holds the other player's parameters too
    parts = Parts(engine, "pathwise")
    embedding, critic = parts.generator, parts.critic.network

    def through_the_other(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        soft = embedding.module(real.ids[part])
        return (soft * critic(real.ids[part], real.mask[part]).unsqueeze(1)).mean(), {}

    engine.update(embedding, through_the_other, len(real.ids))
    yield "leak pathwise", torch.tensor(sum(p.grad is not None for p in parts.critic.parameters))
    # the guard: the same updates through the wrapped and through the bare network
    for name in ("wrapped", "bare"):
        learner = Parts(engine, name).generator
        if name == "bare":
            learner = replace(learner, module=learner.network)
        for step in range(3):
            some = share(batch(step), engine)
            engine.update(learner, partial(likelihood, learner, some), len(some.ids))
        yield name, weights(learner.network)


def likelihood(learner: Learner, some: Tokens, part: slice) -> tuple[Tensor, dict[str, Tensor]]:
    return likelihood_loss(learner.module, rows(some, part))


def watch(learner: Learner) -> list[Tensor]:
    """Collects the gradients that the learner's optimiser sees at its next step."""
    seen: list[Tensor] = []
    learner.optimizer.register_step_pre_hook(
        lambda *_: seen.extend(p.grad.clone() for p in learner.parameters if p.grad is not None)
    )
    return seen


def weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in network.parameters()]).clone()


def find_gradients(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    processes = os.environ.get("WORLD_SIZE", "1")
    with Engine(RunConfig(folder=str(out / f"run-{processes}"), device="cpu", threads=1), "text") as engine:
        save_file(dict(gradients(engine)), out / f"rank-{engine.rank}-of-{engine.processes}.safetensors")


def train(out: Path, words: list[str]) -> int:
    """The command line, with every process telling at the end what its weights are."""
    original = text.TextTask.play

    def play(task: text.TextTask) -> None:
        original(task)
        engine = task.engine
        networks = {
            name: network.state_dict()
            for name, network in engine.parts.networks.items()
            if isinstance(network, nn.Module)  # not what is set aside
        }
        if isinstance(task.policy, TokenPolicy):
            networks["lagging"] = task.policy.credit.state_dict().get("network", {})
        sums = {
            name: hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in state.values())).hexdigest()
            for name, state in networks.items()
        }
        draws = torch.rand(2).tolist()  # of its own random numbers
        (out / f"rank-{engine.rank}.json").write_text(json.dumps({"sums": sums, "draws": draws}))

    text.TextTask.play = play  # type: ignore[method-assign]
    atexit.register(tell_threads, out)  # before the engine's own: called after it
    from seqgan_kit.cli import main

    return main(words)


def tell_threads(out: Path) -> None:
    """Which of gloo's threads are alive when Python ends."""
    names = []
    for each in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that ends meanwhile: its file is gone, or can't be read to its end
            names.append((each / "comm").read_text().strip())
    (out / f"threads-{os.environ['RANK']}.json").write_text(json.dumps([name for name in names if "gloo" in name]))


def main(words: list[str]) -> int:
    if words[0] == "train":
        return train(Path(words[1]), words[2:])
    find_gradients(Path(words[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
