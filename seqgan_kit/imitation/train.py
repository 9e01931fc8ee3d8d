"""GAIL (Ho and Ermon 2016), algorithm 1: behaviour cloning, then the game against a discriminator; then a control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqgan_kit import bounds
from seqgan_kit.engine import devices
from seqgan_kit.engine.budget import Part, budgeted
from seqgan_kit.engine.choice import Choice, Roles, check_best, with_weights
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.memory import within_memory
from seqgan_kit.engine.provenance import fingerprint
from seqgan_kit.engine.run import run
from seqgan_kit.engine.run_folder import GAME, MODEL, Exports
from seqgan_kit.engine.verdict import Score
from seqgan_kit.errors import Interrupted, Stopped, UserError
from seqgan_kit.files import write_json
from seqgan_kit.game.replay import Replay
from seqgan_kit.game.trainer import Hook, Turns, evaluated, fit, play
from seqgan_kit.imitation import demonstrations as demos
from seqgan_kit.imitation import formats, recorded
from seqgan_kit.imitation.alarms import of_game, of_policy
from seqgan_kit.imitation.checks import (
    check_environment,
    check_numbers,
    check_parts,
    check_shares,
    seen_in_demonstrations,
)
from seqgan_kit.imitation.config import ImitationConfig
from seqgan_kit.imitation.demonstrations import Demonstrations
from seqgan_kit.imitation.environments import RECORDED, make
from seqgan_kit.imitation.evaluation import (
    NAMES,
    Returns,
    at_random,
    balancing,
    cuts_told_once,
    evaluate,
    returns,
    scores,
)
from seqgan_kit.imitation.evaluation import run as run_episodes
from seqgan_kit.imitation.fitting import fitted, summary
from seqgan_kit.imitation.players import Game, shared_batch
from seqgan_kit.imitation.video import write_video
from seqgan_kit.networks.policies.actor import Actor, is_picture
from seqgan_kit.samples import Transitions, rows, size

CLONING, ADVERSARIAL, FROZEN, REINFORCEMENT = "behaviour_cloning", "adversarial", "frozen_control", "reinforcement"
SHORTER = {
    CLONING: "--cloning.steps",
    ADVERSARIAL: "--adversarial.environment_steps",
    FROZEN: "--control.frozen false",
    REINFORCEMENT: "--adversarial.environment_steps",
}
BASELINES = "baselines.json"
LARGE = 1024  # the widest layer of a policy that a CPU computes in about the time in which a GPU is asked
ON_CPU = "device: the CPU, as a GPU would make so small a policy slower; --run.device cuda takes it all the same"


def train(config: ImitationConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it; see `engine.run.run`."""
    bounds.check_numbers(config)
    config, config_text, record = budgeted(config, config_text, resume, parts(config), train)
    with within_memory():
        task = ImitationTask(config)
    return run(task, config_text, resume, record)


def parts(config: ImitationConfig) -> list[Part]:
    """What --run.budget sizes."""
    settings, option, steps = config.evaluation, "adversarial.environment_steps", config.adversarial.environment_steps
    per_round = config.policy.steps * config.environment.copies
    often: dict[str, Any] = {"every": settings.every, "between": settings.episodes / max(1, settings.final)}
    if config.reward == "environment":
        return [Part(REINFORCEMENT, option, steps, per_round, **often)]
    found = [Part(CLONING, "cloning.steps", config.cloning.steps)] if config.cloning.steps else []
    found.append(Part(ADVERSARIAL, option, steps, per_round, **often))
    return [*found, Part(FROZEN, same=ADVERSARIAL, **often)] if config.control.frozen else found


class ImitationTask:
    """A run of imitation; see `engine.run.Task`. Raises UserError where data and options do not go together."""

    name = "imitation"
    shorter = SHORTER

    def __init__(self, config: ImitationConfig) -> None:
        example = None if config.environment.id == RECORDED else make(config.environment)  # its mistakes come first
        expert, asked = _expert(config), config.run.device
        self.config = config = replace(config, environment=recorded.settled(config.environment, expert))
        self.example = example or make(config.environment)
        about = check_environment(config, self.example, expert)
        self.config = config = _placed(config, self.example)
        self.expert = None if expert is None else fitted(expert, self.example, config.demonstrations)
        check_numbers(config, self.expert)
        actions = self.example.action_space
        self.alarms = {ADVERSARIAL: of_game(config, actions, CLONING), REINFORCEMENT: of_policy(config, actions)}
        self.best = check_best(config.evaluation, NAMES)
        # it checks what is chosen of them
        self._summary = _unread(config) if self.expert is None else summary(self.expert, config.demonstrations)
        self._summary += about + seen_in_demonstrations(config, self.example, self.expert)
        self._summary += [ON_CPU] if config.run.device != asked and devices.kind_of(asked) == "cuda" else []
        self._other: list[str] = []
        # the built-in expert is played anew, which another version of Gymnasium may do otherwise
        given = config.demonstrations.path or config.demonstrations.minari
        pairs = demos.transitions(self.expert, config.demonstrations) if self.expert else None
        if self.expert is not None and pairs is not None:
            check_shares(config, self.expert, size(pairs))
        check_parts(config, self.example, _nothing(self.example) if pairs is None else rows(pairs, slice(2)))
        self.data = fingerprint({}, pairs) if pairs and given else None

    def parts(self) -> list[Part]:
        return parts(self.config)

    def first_lines(self) -> list[str]:
        if self.expert is None:
            return self._summary
        told, self._other = recorded.compared(self.expert, self.example, self.config.environment)
        return [*self._summary, *told]

    def build(self, engine: Engine) -> None:
        config, expert, self.engine = self.config, self.expert, engine
        pairs = demos.transitions(expert, config.demonstrations) if expert is not None else None
        self.game = Game(engine, config, self.example, pairs, "")
        self.frozen = Game(engine, config, self.example, pairs, "frozen_")
        self.cloning = engine.learner("cloning", self.game.actor, config.cloning.optimizer)
        # where there is nothing to imitate, the loop still asks for a batch of it
        real = cloned = pairs if pairs is not None else _nothing(self.example)
        if expert is not None and pairs is not None:
            if config.discriminator.absorbing:
                real = self._with_absorbing(expert, pairs)
            cloned = demos.sequences(expert, config.demonstrations) if config.policy.recurrent else pairs
        name, unit = expert.name if expert is not None else "the environment", "demonstrated steps"
        self.real = engine.stream("real", real, config.run.seed, name, unit)
        self.cloned = engine.stream("cloned", cloned, config.run.seed + 1, name, unit)
        self.initial = {name: tensor.clone() for name, tensor in self.game.actor.state_dict().items()}
        self.exports: Exports = {MODEL: self.game.actor.save_pretrained}
        if self.best != "none":
            game = REINFORCEMENT if config.reward == "environment" else ADVERSARIAL
            settings, actor = config.evaluation, self.game.actor
            engine.choice = Choice(
                engine, self.best, settings, Roles(CLONING, game, FROZEN), self._measured,
                lambda _, weights: with_weights(actor, weights), lambda _, model, folder: model.save_pretrained(folder),
            )  # fmt: skip

    def play(self) -> None:
        engine, config, game, cloning = self.engine, self.config, self.game, self.config.cloning
        if engine.is_main:
            recorded.write(engine.folder, config.environment, self._other)
        self._say = cuts_told_once(engine.say)
        _baselines(engine, config, self.expert, self._say)
        per_round = config.policy.steps * config.environment.copies * engine.processes
        rounds = -(-config.adversarial.environment_steps // per_round)
        if config.reward == "environment":
            self._play(REINFORCEMENT, rounds, game, Turns(1, 0), GAME)
        else:
            if cloning.steps or engine.started(CLONING):  # which are not forgotten when it is resumed
                self._clone()
            if not cloning.warm_up and not engine.started(ADVERSARIAL):
                game.actor.load_state_dict(self.initial)
            self._play(ADVERSARIAL, rounds, game, Turns(1, config.discriminator.updates), GAME, game.replay)
            if config.control.frozen:
                self._play(FROZEN, rounds, self.frozen, Turns(1, 0), FROZEN, self.frozen.replay)
        if engine.is_main and config.evaluation.video:
            settings = config.evaluation
            actor = game.actor if engine.choice is None else engine.choice.model(game.actor)
            write_video(engine.folder, config.environment, actor, settings.video, settings.seed, engine.say)

    def _clone(self) -> None:
        cloning, engine = self.config.cloning, self.engine
        # of a trajectory that is learnt from, on average
        steps = self.cloned.data.mask.sum().item() / self.cloned.size
        loss = partial(cloning_loss, self.game.actor, steps)
        batch = shared_batch(min(cloning.batch_size, self.cloned.size), engine.processes)
        hook, exports = Hook(0, self._hook(self.game).run), dict(self.exports)
        if not engine.started(ADVERSARIAL):  # then the policy is another one
            exports[CLONING] = self.exports[MODEL]
        fit(engine, CLONING, cloning.steps, self.cloning, loss, self.cloned, batch, [hook], exports)

    def _play(
        self, phase: str, rounds: int, game: Game, turns: Turns, name: str, replay: Replay[Transitions] | None = None
    ) -> None:
        """name: of the folder of its last policy."""
        hooks, exports = [self._hook(game)], {**self.exports, name: game.actor.save_pretrained}
        policy, discriminator = game.policy, game.discriminator
        play(self.engine, phase, rounds, policy, discriminator, self.real, turns, hooks, replay, exports)

    def _measured(self, actor: Actor, seed: int) -> Score:
        """The mean return that policies are compared by, on the episodes from `seed` on."""
        config, engine, kind = self.config.evaluation, self.engine, self.best.removeprefix("return_")
        limits = config.longest, engine.stopping
        given = self.config.environment, actor, config.final, seed, self._say, *limits
        return evaluate(*given, kinds=[kind])[kind].score

    def _hook(self, game: Game) -> Hook:
        config, engine, environment = self.config.evaluation, self.engine, self.config.environment

        def measure(phase: str, done: int) -> Metrics:
            episodes = config.final if engine.phases.ends_at(phase, done) else config.episodes
            limits = config.longest, engine.stopping
            measured = evaluate(environment, game.actor, episodes, config.seed, self._say, *limits)
            lines = [f"{kind}: {r:g} in {n} steps" for kind, of in measured.items() for r, n in zip(*of, strict=True)]
            engine.save_text(f"{phase}-{done:06d}", lines)
            if (choice := engine.choice) is not None:
                score = measured[self.best.removeprefix("return_")].score
                if episodes < config.final and choice.promising(score.value):
                    score = self._measured(game.actor, config.seed)
                choice.offer(phase, done, score, game.actor)
            return scores(measured)

        return evaluated(engine, config.every, config.seed, measure)

    def _with_absorbing(self, expert: Demonstrations, pairs: Transitions) -> Transitions:
        """The demonstrations, and the steps after the end that the time limit would leave."""
        if not any(episode.terminated for episode in expert.episodes):
            self.engine.say(
                f"{expert.name} marks no episode as terminated (`terminal` of an .npz), so that after the end only the "
                "policy is ever seen: fine where the task has no end of its own"
            )
        limit = self.game.policy.absorbing or 0
        left = sum(max(0, limit - len(episode.actions)) for episode in expert.episodes if episode.terminated)
        count = left // max(1, self.config.demonstrations.subsample)
        index = torch.cat([torch.arange(size(pairs)), torch.zeros(count, dtype=torch.int64)])
        mask = torch.arange(len(index)).unsqueeze(1) < size(pairs)
        return replace(rows(pairs, index), mask=mask)


def _placed(config: ImitationConfig, example: Any) -> ImitationConfig:
    """`--run.device auto` as it is meant here: a GPU for what is large alone, as two copies are waited for at each step
    of the environments. Raises UserError for Apple's GPUs."""
    policy, asked = config.policy, config.run.device
    small = not is_picture(example.observation_space.shape) and max([policy.recurrent, *policy.hidden]) <= LARGE
    if asked == "auto" and (small or devices.kind_of(asked) == "mps"):
        return replace(config, run=replace(config.run, device="cpu"))
    if asked == "mps":
        devices.kind_of(asked)
        raise UserError("--run.device mps: imitation counts in float64, which it lacks; use --run.device cpu")
    return config


def _expert(config: ImitationConfig) -> Demonstrations | None:
    if config.reward == "environment":
        return None
    given, environment = config.demonstrations, recorded.settled(config.environment, None)
    if given.path is None and given.minari is None and "CartPole" in environment.id:
        return balancing(environment.id, max(given.trajectories or 0, 10))
    return formats.load(given)


def cloning_loss(actor: Actor, steps: float, module: nn.Module, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
    """-log pi(expert's action) in nats per step, on whole trajectories or single steps.

    steps: of a row, on average over all the data. By the number in this batch the sum is not divided: then the gradient
    would depend on how a batch is cut into parts and processes.
    """
    parameters = module(batch.observations, actor.start(size(batch)), batch.ended)
    log_probs = actor.actions.log_prob(parameters, actor.actions.recover(batch.actions))
    loss = -(log_probs * batch.mask).sum() / (size(batch) * steps)
    return loss, {"nll": loss.detach()}


def _baselines(
    engine: Engine, config: ImitationConfig, expert: Demonstrations | None, say: Callable[[str], None]
) -> None:
    """What uniform actions and the expert earn, in a file of its own: every result stands between them."""
    path = engine.folder / BASELINES
    if not engine.is_main or path.exists():
        return
    count, seed = config.evaluation.final, config.evaluation.seed
    act, limits = at_random(config.environment, seed), (config.evaluation.longest, engine.stopping)
    try:
        found = {"random": returns(run_episodes(config.environment, act, count, seed, 10, say, *limits))}
    except Interrupted:
        raise Stopped(f"stopped. Resume with: seqgan-kit resume {engine.folder}") from None
    if expert is not None and (earned := expert.returns()) is not None:
        found["expert"] = Returns(earned, np.array([len(episode.actions) for episode in expert.episodes]))
    table = {
        name: {
            **{"mean": r.mean, "interval": r.interval, "deviation": float(r.returns.std())},
            **{"episodes": len(r.returns), "length": float(r.lengths.mean())},
        }
        for name, r in found.items()
    }
    write_json(path, table)


def _nothing(example: Any) -> Transitions:
    seen = torch.zeros(1, 1, *example.observation_space.shape)
    no = torch.zeros(1, 1, dtype=torch.bool)
    actions = torch.from_numpy(np.asarray(example.action_space.sample())).view(1, 1, *example.action_space.shape)
    return Transitions(seen, actions, seen, torch.zeros(1, 1), no, ~no, ~no)


def _unread(config: ImitationConfig) -> list[str]:
    given = config.demonstrations.path or config.demonstrations.minari
    return [f"--reward environment learns from rewards: {given} is NOT READ"] if given else []
