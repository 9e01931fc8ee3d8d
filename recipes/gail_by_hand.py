"""GAIL by hand: algorithm 1 of Ho and Ermon 2016 whole, from torch and the pure functions of seqgan_kit.algorithms.

Source: Ho and Ermon 2016, its TRPO, on Gymnasium's CartPole-v1 from one trajectory of an expert in one line. Expected:
200 of CartPole-v0's 200 (table 2, expert 200); here the limit is 500. Measured: 500 of 500 with seeds 0, 1, 2 (9 to 13
before), 20 CPU seconds; but 500 also with --updates 0, a discriminator that never learns: -log(1 - D) is above 0, which
pays for each step that the pole stands (recipes/README.md, "By hand").
Command: python recipes/gail_by_hand.py --seed 0
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor, nn
from torch.nn import Module
from torch.nn import functional as F
from torch.optim import Adam

from seqgan_kit.algorithms import credit, objectives, trust_region


def layers(inputs: int, outputs: int, hidden: Sequence[int] = (100, 100)) -> nn.Sequential:
    """Linear layers with tanh between them: (..., inputs) -> (..., outputs)."""
    sizes = itertools.pairwise([inputs, *hidden, outputs])
    return nn.Sequential(*[part for a, b in sizes for part in (nn.Linear(a, b), nn.Tanh())][:-1])


def balance(observation: Tensor) -> Tensor:
    """The expert's logits: it pushes to the side that the pole, and less so the cart, leans and moves to."""
    return torch.stack([torch.zeros(()), observation @ torch.tensor([0.1, 0.2, 1.0, 0.3])])


def watch(policy: Callable[[Tensor], Tensor], episodes: int) -> tuple[Tensor, Tensor]:
    """What is seen and done in whole episodes of the likeliest actions: (steps, 4), (steps,). A step earns 1."""
    environment, seen, done = gym.make("CartPole-v1"), [], []
    for episode in range(episodes):
        observation, over = environment.reset(seed=episode)[0], [False]
        while not any(over):
            seen.append(torch.from_numpy(observation))
            done.append(policy(seen[-1]).argmax())
            observation, _, *over, _ = environment.step(done[-1].item())  # over: terminated, or truncated at step 500
    return torch.stack(seen), torch.stack(done)


@torch.no_grad()
def roll_out(policy: Module, copies: SyncVectorEnv, seen: np.ndarray, steps: int) -> tuple[list[Tensor], np.ndarray]:
    """Observations, actions, what followed, terminated, ended, (copies, steps, ...) each, and what is seen now."""
    found, noise = [], -torch.empty(steps, copies.num_envs, 2).exponential_().log()
    for t in range(steps):
        # the greatest of logit + Gumbel noise is a draw from the softmax
        actions = (policy(torch.from_numpy(seen)) + noise[t]).argmax(-1).numpy()
        now, _, terminated, truncated, info = copies.step(actions)
        following, ended = now.copy(), terminated | truncated
        for i in np.flatnonzero(ended):  # there, `now` is where the next episode begins
            following[i] = info["final_obs"][i]
        found.append((seen, actions, following, terminated, ended))
        seen = now
    return [torch.from_numpy(np.stack(values, axis=1)) for values in zip(*found, strict=True)], seen


def pairs(observations: Tensor, actions: Tensor) -> Tensor:
    """What the discriminator sees: (..., 4) and (...) -> (..., 6), with the actions one-hot."""
    return torch.cat([observations, F.one_hot(actions, 2)], dim=-1)


def improve(policy: Module, observations: Tensor, actions: Tensor, advantages: Tensor) -> None:
    """One step of TRPO (Schulman et al. 2015, app. C): the natural gradient, as long as KL(old || new) allows."""
    parameters, old = list(policy.parameters()), policy(observations).log_softmax(-1).detach()

    def at(new: Tensor) -> tuple[Tensor, Tensor]:
        """-E new(a | s) / old(a | s) * advantage, and E KL(old || new)."""
        ratio = (new - old).gather(-1, actions.unsqueeze(-1)).squeeze(-1).exp()
        return -(ratio * advantages).mean(), (old.exp() * (old - new)).sum(-1).mean()

    loss, divergence = at(policy(observations).log_softmax(-1))
    start = trust_region.flatten([p.detach() for p in parameters])
    gradient = trust_region.flatten(torch.autograd.grad(loss, parameters, retain_graph=True))
    fisher = trust_region.hessian_product(divergence, parameters, damping=0.1)
    direction = trust_region.natural_step(fisher, gradient, 0.01, iterations=10)

    def move(fraction: float) -> tuple[float, float]:
        trust_region.assign(parameters, start + fraction * direction)
        with torch.no_grad():
            found = at(policy(observations).log_softmax(-1))
        return found[0].item(), found[1].item()

    trust_region.line_search(move, gradient.dot(direction).item(), loss.item(), limit=0.015, halvings=10, share=0.1)


def step(optimizer: Adam, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def play(
    policy: Module, value: Module, d: Module, copies: SyncVectorEnv, real: Iterator[Tensor], rounds: int, updates: int
) -> None:
    """Lines 5 and 4 of algorithm 1 in turn; our D is the paper's 1 - D. real: batches of the expert's `pairs`."""
    objective = objectives.with_entropy(objectives.minimax(), 1e-3)  # as in the authors' code
    judging, valuing = Adam(d.parameters(), 1e-3), Adam(value.parameters(), 1e-3)
    seen, known, mean, deviation = copies.reset()[0], torch.empty(0), 0.0, 1.0
    for _ in range(rounds):
        (observations, actions, following, terminated, ended), seen = roll_out(policy, copies, seen, 512)
        with torch.no_grad():
            rewards = objective.reward(d(pairs(observations, actions)).squeeze(-1))  # -log(1 - D), eq. 18
            values, after = (value(some).squeeze(-1) * deviation + mean for some in (observations, following))
        advantages = credit.gae(rewards, values, after, terminated, ended, 0.995, 0.97)
        returns, states = (advantages + values).flatten(), observations.flatten(0, 1)
        known = torch.cat([known, returns.double()])  # of all rounds: the value is told in their deviations
        mean, deviation = known.mean().item(), known.std(correction=0).item()
        improve(policy, states, actions.flatten(), credit.whiten(advantages, torch.ones_like(ended)).flatten())
        for _ in range(3):
            for rows in torch.randperm(len(states)).split(1024):
                step(valuing, (value(states[rows]).squeeze(-1) - (returns[rows] - mean) / deviation).square().mean())
        for _ in range(updates):  # eq. 17
            true, fake = next(real), pairs(states, actions.flatten())
            logits = d(torch.cat([true, fake])).squeeze(-1)
            step(judging, objective.loss(logits[: len(true)], logits[len(true) :]))


def main(seed: int = 0, rounds: int = 60, updates: int = 5) -> float:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    policy, value, d = layers(4, 2), layers(4, 1), layers(6, 1)
    expert = pairs(*watch(balance, 1))
    real = (expert[torch.randint(len(expert), (512,))] for _ in iter(int, 1))
    copies = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 8, autoreset_mode=AutoresetMode.SAME_STEP)
    copies.reset(seed=seed)
    earned = [len(watch(policy, 20)[1]) / 20]
    play(policy, value, d, copies, real, rounds, updates)
    earned += [len(watch(some, 20)[1]) / 20 for some in (policy, balance)]
    told = "return: policy {:.1f} before the game, {:.1f} after it, expert {:.1f}; {:.0f} CPU seconds"
    print(told.format(*earned, time.process_time()))
    return earned[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, option in inspect.signature(main).parameters.items():
        parser.add_argument(f"--{name}", type=int, default=option.default)
    main(**vars(parser.parse_args()))
