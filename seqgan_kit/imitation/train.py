"""GAIL (Ho and Ermon 2016), algorithm 1: behaviour cloning, then the game against a discriminator; then a control."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.provenance import config_yaml
from seqgan_kit.engine.stream import Stream
from seqgan_kit.errors import UserError
from seqgan_kit.files import write_json
from seqgan_kit.game.trainer import Hook, Turns, fit, play
from seqgan_kit.imitation import demonstrations as demos
from seqgan_kit.imitation import formats
from seqgan_kit.imitation.config import ImitationConfig
from seqgan_kit.imitation.demonstrations import Demonstrations
from seqgan_kit.imitation.environments import make
from seqgan_kit.imitation.evaluation import Returns, at_random, evaluate, returns, run
from seqgan_kit.imitation.experts import balancing
from seqgan_kit.imitation.game import Game, shared_batch
from seqgan_kit.imitation.video import write_video
from seqgan_kit.networks.policies.actor import Actor
from seqgan_kit.report import write_report
from seqgan_kit.samples import Transitions, rows, size

CLONING, ADVERSARIAL, FROZEN, REINFORCEMENT = "behaviour_cloning", "adversarial", "frozen_control", "reinforcement"
BASELINES = "baselines.json"


def train(config: ImitationConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it.

    config_text: the YAML that `config` was read from, if it was; it is kept in the folder, for `resume`.
    Raises UserError for a user's mistake, Stopped after Ctrl-C or SIGTERM.
    """
    example = make(config.environment)
    expert = _expert(config, example)
    _check(config, expert)
    summary = _summary(expert, config) if expert is not None else ""  # it checks what is chosen of them
    with Engine(config.run, "imitation", config_text or config_yaml(config), resume) as engine:
        if engine.is_main and summary:
            print(summary, flush=True)
        if config.discriminator.absorbing and expert is not None and not any(e.terminated for e in expert.episodes):
            engine.say(
                f"{expert.name} marks no episode as terminated (`terminal` of an .npz), so that after the end only the "
                "policy is ever seen: fine where the task has no end of its own"
            )
        parts = _Parts(engine, config, example, expert)
        engine.restore()
        _run(engine, config, parts)
        engine.finish()
        if engine.is_main:
            if config.evaluation.video:
                settings = config.evaluation
                write_video(
                    engine.folder, config.environment, parts.game.actor, settings.video, settings.seed, engine.say
                )
            write_report(engine.folder)
    return engine.folder


def _expert(config: ImitationConfig, example: Any) -> Demonstrations | None:
    if config.reward == "environment":
        return None
    given = config.demonstrations
    if given.path is None and given.minari is None and "CartPole" in config.environment.id:
        expert = balancing(config.environment.id, max(given.trajectories or 0, 10))
    else:
        expert = formats.load(given)
    demos.check_spaces(expert, example.observation_space, example.action_space)
    return expert


class _Parts:
    """The games, the demonstrations and the evaluation of one run."""

    def __init__(self, engine: Engine, config: ImitationConfig, example: Any, expert: Demonstrations | None) -> None:
        self.engine, self.config, self.expert = engine, config, expert
        pairs = demos.transitions(expert, config.demonstrations) if expert is not None else None
        self.game = Game(engine, config, example, pairs, "")
        self.frozen = Game(engine, config, example, pairs, "frozen_")
        self.cloning = engine.learner("cloning", self.game.actor, config.cloning.optimizer)
        # where there is nothing to imitate, the loop still asks for a batch of it
        real = pairs if pairs is not None else _nothing(example)
        if config.discriminator.absorbing and expert is not None and pairs is not None:
            limit = self.game.policy.absorbing or 0
            left = sum(max(0, limit - len(e.actions)) for e in expert.episodes if e.terminated)
            real = _with_absorbing(pairs, left // max(1, config.demonstrations.subsample))
        name = expert.name if expert is not None else "the environment"
        self.real = self._stream("real", real, config.run.seed, name)
        whole = (
            pairs if not config.policy.recurrent or expert is None else demos.sequences(expert, config.demonstrations)
        )
        self.cloned = self._stream("cloned", whole if whole is not None else real, config.run.seed + 1, name)
        self.initial = {name: tensor.clone() for name, tensor in self.game.actor.state_dict().items()}
        engine.export = self.game.actor.save_pretrained

    def _stream(self, name: str, data: Transitions, seed: int, source: str) -> Stream[Transitions]:
        engine = self.engine
        stream = Stream(
            data, seed, engine.rank, engine.processes, engine.device, name=source, unit="demonstrated steps"
        )
        engine.keep(name, stream)
        return stream

    def hook(self, game: Game, total: int) -> Hook:
        def measure(phase: str, done: int) -> Metrics:
            config = self.config.evaluation
            episodes = config.final if done == total else config.episodes
            found: Metrics = {}
            lines = []
            for kind in ("greedy", "sampled"):
                with self.engine.fixed_random(config.seed):
                    measured = evaluate(
                        self.config.environment, game.actor, kind == "greedy", episodes, config.seed, self.engine.say
                    )
                found[f"eval/return_{kind}"] = measured.mean
                found[f"eval/return_{kind}_interval"] = measured.interval
                lines += [f"{kind}: {r:g} in {n} steps" for r, n in zip(*measured, strict=True)]
            self.engine.save_text(f"{phase}-{done:06d}", lines)
            return found

        return Hook(self.config.evaluation.every, measure)


def _run(engine: Engine, config: ImitationConfig, parts: _Parts) -> None:
    _baselines(engine, config, parts.expert)
    game, cloning = parts.game, config.cloning
    per_round = config.policy.steps * config.environment.copies * engine.processes
    rounds = -(-config.adversarial.environment_steps // per_round)
    if config.reward == "environment":
        play(
            engine,
            REINFORCEMENT,
            rounds,
            game.policy,
            game.discriminator,
            parts.real,
            Turns(1, 0),
            [parts.hook(game, rounds)],
        )
        return
    if cloning.steps:
        loss, batch = partial(cloning_loss, game.actor), min(cloning.batch_size, parts.cloned.size)
        hook = Hook(0, parts.hook(game, cloning.steps).run)
        batch = shared_batch(batch, engine.processes)
        fit(engine, CLONING, cloning.steps, parts.cloning, loss, parts.cloned, batch, [hook])
    if not cloning.warm_up and not engine.started(ADVERSARIAL):
        game.actor.load_state_dict(parts.initial)
    for phase, players, turns in [
        (ADVERSARIAL, game, Turns(1, config.discriminator.updates)),
        *([(FROZEN, parts.frozen, Turns(1, 0))] if config.control.frozen else []),
    ]:
        hook = parts.hook(players, rounds)
        play(engine, phase, rounds, players.policy, players.discriminator, parts.real, turns, [hook], players.replay)


def cloning_loss(actor: Actor, module: nn.Module, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
    """-log pi(expert's action) in nats per step, on whole trajectories or single steps."""
    parameters = module(batch.observations, actor.start(size(batch)), batch.ended)
    log_probs = actor.actions.log_prob(parameters, actor.actions.recover(batch.actions))
    loss = -(log_probs * batch.mask).sum() / batch.mask.sum()
    return loss, {"nll": loss.detach()}


def _baselines(engine: Engine, config: ImitationConfig, expert: Demonstrations | None) -> None:
    """What uniform actions and the expert earn, in a file of its own: every result stands between them."""
    path = engine.folder / BASELINES
    if not engine.is_main or path.exists():
        return
    settings = config.evaluation
    found = {
        "random": returns(
            run(
                config.environment,
                at_random(config.environment, settings.seed),
                settings.final,
                settings.seed,
                say=engine.say,
            )
        )
    }
    known = expert.returns() if expert is not None else None
    if known is not None:
        found["expert"] = Returns(known, np.array([len(e.actions) for e in expert.episodes]))  # type: ignore[union-attr]
    write_json(
        path,
        {
            name: {
                "mean": item.mean,
                "interval": item.interval,
                "deviation": float(item.returns.std()),
                "episodes": len(item.returns),
            }
            for name, item in found.items()
        },
    )


def _with_absorbing(pairs: Transitions, count: int) -> Transitions:
    index = torch.cat([torch.arange(size(pairs)), torch.zeros(count, dtype=torch.int64)])
    mask = torch.arange(len(index)).unsqueeze(1) < size(pairs)
    return Transitions(**{**vars(rows(pairs, index)), "mask": mask})


def _nothing(example: Any) -> Transitions:
    seen = torch.zeros(1, 1, *example.observation_space.shape)
    no = torch.zeros(1, 1, dtype=torch.bool)
    actions = torch.from_numpy(np.asarray(example.action_space.sample())).view(1, 1, *example.action_space.shape)
    return Transitions(seen, actions, seen, torch.zeros(1, 1), no, ~no, ~no)


def _summary(expert: Demonstrations, config: ImitationConfig) -> str:
    chosen = size(demos.transitions(expert, config.demonstrations))
    known = expert.returns()
    earned = "" if known is None else f", mean return {known.mean():.1f}"
    used = config.demonstrations.trajectories or len(expert.episodes)
    return f"{expert.name}: {len(expert.episodes)} trajectories{earned}; {used} of them used, {chosen} steps"


def _check(config: ImitationConfig, expert: Demonstrations | None) -> None:
    """Before anything is written: every number makes sense."""
    policy, critic = config.policy, config.discriminator
    for option, value, least in [
        ("--environment.copies", config.environment.copies, 1),
        ("--policy.steps", policy.steps, 1),
        ("--policy.recurrent", policy.recurrent, 0),
        ("--cloning.steps", config.cloning.steps, 0),
        ("--cloning.batch_size", config.cloning.batch_size, 1),
        ("--discriminator.updates", critic.updates, 0),
        ("--discriminator.batch_size", critic.batch_size or 1, 1),
        ("--discriminator.replay", critic.replay, 1),
        ("--adversarial.environment_steps", config.adversarial.environment_steps, 0),
        ("--evaluation.episodes", config.evaluation.episodes, 1),
        ("--evaluation.final", config.evaluation.final, 2),
        ("--run.log_every", config.run.log_every, 1),
    ]:
        if value < least:
            raise UserError(f"{option} {value}: give at least {least}")
    for option, number in [("--policy.discount", policy.discount), ("--policy.decay", policy.decay)]:
        if not 0 <= number <= 1 or (option == "--policy.discount" and number == 1 and critic.absorbing):
            raise UserError(f"{option} {number:g}: give a number between 0 and 1")
    if policy.recurrent and expert is not None and config.demonstrations.subsample > 1 and config.cloning.steps:
        raise UserError(
            "a recurrent policy is cloned from whole trajectories: "
            "give --demonstrations.subsample 1, or --cloning.steps 0"
        )
    if critic.objective().distance is not None:
        raise UserError("--discriminator.objective: one that compares samples in pairs knows no distance of steps")
    if critic.log_prob and policy.recurrent:
        raise UserError("--discriminator.log_prob: a recurrent policy's probability of a single step is not known")
