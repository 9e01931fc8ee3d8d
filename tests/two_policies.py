"""What test_imitation_processes.py runs in pairs: `two_policies.py steps OUT`, `two_policies.py train OUT WORDS...`.

Each process writes what it found to OUT/rank-R-of-N.safetensors or OUT/rank-R.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import toys
from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.imitation import train as imitation
from seqgan_kit.imitation.copies import build
from seqgan_kit.imitation.environments import EnvironmentConfig
from seqgan_kit.imitation.improvement import PPO, TRPO, Improvement
from seqgan_kit.imitation.policy import EnvironmentPolicy
from seqgan_kit.networks.policies.actions import Choices, from_space
from seqgan_kit.networks.policies.actor import Actor, ActorConfig, Valuer
from seqgan_kit.networks.policies.normaliser import Normaliser
from seqgan_kit.samples import Transitions, rows

COPIES, STEPS = 8, 40
ALL = COPIES * STEPS  # so that what is shuffled makes no difference
NONE = Transitions(*[torch.zeros(1, 1)] * 7)
KINDS: dict[str, Improvement] = {
    "PPO": PPO(epochs=3, minibatch=ALL, entropy=0.01, causal_entropy=0.01, optimizer=OptimizerConfig(lr=3e-3)),
    # after 10 iterations the order of summation alone makes a difference of 5e-5, in one process too
    "TRPO": TRPO(
        epochs=3, minibatch=ALL, share=0.5, iterations=5, causal_entropy=0.01, optimizer=OptimizerConfig(lr=3e-3)
    ),
}
WORLDS = {
    "choices": EnvironmentConfig("CartPole-v1", {"max_episode_steps": 15}, COPIES, vectorised=False),
    "numbers": EnvironmentConfig("Pendulum-v1", {"max_episode_steps": 30}, COPIES),
    # whose broken episodes do not count, so that halves of a rollout have unequal numbers of steps
    "broken": EnvironmentConfig("toys/Walk-v0", {"trouble": "raises"}, COPIES),
    "broken, remembering": EnvironmentConfig("toys/Walk-v0", {"trouble": "raises"}, COPIES),
}
assert toys.SEEDS is not None  # it registers them


def score(sample: Transitions) -> Tensor:
    """Some logits."""
    return sample.observations.sum(-1).sin() - sample.next_observations[..., 0]


def steps(engine: Engine) -> Iterator[tuple[str, Tensor]]:
    """All that an improvement changes, from this process's share of the same rollout."""
    for name in (f"{kind} {world}" for kind in KINDS for world in WORLDS):
        kind, world = name.split(maxsplit=1)
        recurrent = 4 * world.endswith("remembering")
        torch.manual_seed(1)
        environments = build(WORLDS[world], 0)  # the same on all processes, as no run has them
        shape, actions = tuple(environments.observation_space.shape), from_space(environments.action_space)
        normaliser = Normaliser(shape)
        box = {} if isinstance(actions, Choices) else {"low": actions.low, "high": actions.high, "action": [1]}
        sizes = getattr(actions, "sizes", ())
        actor = Actor(ActorConfig(shape, sizes, hidden=[16, 16], recurrent=recurrent, **box), normaliser)
        valuer = Valuer(shape, recurrent, [16, 16], normaliser)
        improvement = KINDS[kind]
        if world.startswith("broken") and isinstance(improvement, TRPO):
            # a share of each half is no share of the whole; fewer iterations, or the order of summation shows in 1e-4
            improvement = replace(improvement, share=1.0, iterations=2)
        policy = EnvironmentPolicy(
            engine,
            actor,
            valuer,
            normaliser,
            environments,
            STEPS,
            objectives.minimax().reward,
            improvement,
            prefix=name,
        )
        before = torch.cat([parameter.detach().flatten() for parameter in actor.parameters()])
        rollout = policy.sample(NONE)
        share = COPIES // engine.processes
        metrics = policy.update(NONE, rows(rollout, slice(engine.rank * share, (engine.rank + 1) * share)), score)
        if kind == "TRPO":
            yield f"{name} divergence", torch.tensor(metrics["divergence"])
        after = torch.cat([parameter.detach().flatten() for parameter in actor.parameters()])
        yield f"{name} moved", (after - before).norm()
        for network, part in (("actor", actor), ("valuer", valuer)):
            for key, tensor in part.state_dict().items():
                yield f"{name} {network} {key}", tensor.clone()
        yield f"{name} rollout", rollout.observations
        yield f"{name} return", torch.tensor(metrics["return"])


def find_steps(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    processes = os.environ.get("WORLD_SIZE", "1")
    with Engine(RunConfig(folder=str(out / f"run-{processes}"), device="cpu", threads=1), "imitation") as engine:
        save_file(dict(steps(engine)), out / f"rank-{engine.rank}-of-{engine.processes}.safetensors")


def train(out: Path, words: list[str]) -> int:
    """The command line, with every process telling at the end what its networks are and where its episodes began."""
    original = imitation.ImitationTask.play
    seen: list[float] = []
    counted: list[int] = []
    sample = EnvironmentPolicy.sample

    def watched(self: EnvironmentPolicy, real: Transitions) -> Transitions:
        if not seen:
            seen.extend(self.environments.observations.flatten().tolist())
        rollout = sample(self, real)
        counted.append(int(rollout.mask.sum()))
        return rollout

    def play(task: imitation.ImitationTask) -> None:
        original(task)
        engine = task.engine
        sums = {
            name: hashlib.sha256(
                b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())
            ).hexdigest()
            for name, network in engine.parts.networks.items()
        }
        normaliser = task.game.normaliser
        steps = 0.0 if normaliser is None else normaliser.count.item()
        found = {"sums": sums, "seen": seen, "counted": counted, "normalised": steps}
        (out / f"rank-{engine.rank}.json").write_text(json.dumps(found))

    imitation.ImitationTask.play = play  # type: ignore[method-assign]
    EnvironmentPolicy.sample = watched  # type: ignore[assignment,method-assign]
    from seqgan_kit.cli import main

    return main(words)


def main(words: list[str]) -> int:
    if words[0] == "train":
        return train(Path(words[1]), words[2:])
    find_steps(Path(words[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
