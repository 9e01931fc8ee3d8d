"""The generator of imitation: a policy in environments, whose steps the discriminator scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.game.players import Score
from seqgan_kit.game.rewards import StepReward, evaluate_steps
from seqgan_kit.imitation.copies import Environments, Step
from seqgan_kit.imitation.improvement import Experience, Improvement, whiten
from seqgan_kit.networks.policies.actor import Actor, Valuer
from seqgan_kit.networks.policies.normaliser import Normaliser
from seqgan_kit.samples import Rollout, Transitions, map_tensors, sent


@dataclass
class EnvironmentPolicy:
    """A policy that acts in environments and is improved by the reward of each of its steps.

    actor, valuer: what acts, and what values states.
    normaliser: of observations, which sees every rollout after the policy has learnt from it; None: it stays as it is.
    steps: of each copy of the environment in a rollout.
    reward: what a discriminator's logit is worth, `Objective.reward`.
    improvement: PPO or TRPO.
    discount, decay: gamma and lambda of the generalised advantage estimation.
    user_rewards: plain functions of transitions, added by weight.
    discriminator_weight, environment_weight: of the discriminator's reward and of the environment's own.
    prefix: of the names under which the engine keeps the learners.
    absorbing: the time limit in steps, if what follows a termination shall have a reward too (Kostrikov et al. 2019,
        sec. 4.2); None leaves it without.
    """

    engine: Engine
    actor: Actor
    valuer: Valuer
    normaliser: Normaliser | None
    environments: Environments
    steps: int
    reward: Callable[[Tensor], Tensor]
    improvement: Improvement
    discount: float = 0.995
    decay: float = 0.97
    user_rewards: Sequence[StepReward] = ()
    discriminator_weight: float = 1.0
    environment_weight: float = 0.0
    absorbing: int | None = None
    prefix: str = ""
    batch_size: int = 1  # of demonstrations at each turn: a policy looks at none

    def __post_init__(self) -> None:
        self.batch_size = self.engine.processes
        self.learner = self.improvement.learner(self.engine, self.prefix, self.actor, self.valuer)
        self._memory = self.actor.start(self.environments.copies)
        self._returns = np.zeros(self.environments.copies)

    @torch.no_grad()
    def sample(self, real: Transitions) -> Rollout:
        """The next `steps` steps of every copy: (copies, steps, ...). Episodes go on from rollout to rollout."""
        rollout, counted = self._rollout()
        while not counted:  # every episode broke, so that there is nothing to learn from
            self._returns[:] = 0
            rollout, counted = self._rollout()
        return rollout

    def _rollout(self) -> tuple[Rollout, bool]:
        """And whether any step of it counts."""
        environments, device = self.environments, self.engine.device
        network, memory = self.actor.eval(), self._memory
        seen: list[np.ndarray] = []
        acted: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        made: list[Step] = []
        starts = np.zeros(environments.copies, np.int64)  # of the episode that each copy is in
        noise = sent(network.actions.noise(self.steps, environments.copies), device)
        for t in range(self.steps):
            seen.append(environments.observations.copy())
            with torch.inference_mode():  # not around the environments, which may differentiate something themselves
                parameters, after = network.step(sent(torch.from_numpy(seen[t]), device), memory)
                drawn = network.actions.draw(parameters, noise[t])
                executed = network.actions.execute(drawn)
            acted.append((executed, drawn, memory, after))
            step = environments.step(executed.cpu().numpy())
            made.append(step)
            memory = after
            over = step.ended | ~step.counts  # what does not count is of no episode
            if over.any():
                if memory.shape[1]:
                    memory = after * sent(torch.from_numpy(~over), device).unsqueeze(1)
                for i in np.flatnonzero(step.broken):
                    for lost in made[starts[i] :]:
                        lost.counts[i] = False
                    self.engine.save_soon()
                starts[step.ended] = t + 1
        self._memory = memory.clone()
        return _rollout(seen, acted, made, device), any(step.counts.any() for step in made)

    def update(self, real: Transitions, fake: Transitions, score: Score[Transitions]) -> Metrics:
        if not isinstance(fake, Rollout):
            raise TypeError("a policy learns from its own rollouts")
        with torch.no_grad():
            counted = fake.mask.flatten().nonzero().squeeze(1)  # a GPU is waited for here once, and not at each use
            earned = self._earned(fake, score)
            experience, metrics, reward = self._experience(fake, earned, counted)
        metrics |= self.improvement(self.engine, self.learner, self.actor, self.valuer, experience)
        if self.normaliser is not None:
            seen = fake.observations.flatten(0, 1)[counted]
            self.normaliser.update(self.engine.sum(self.normaliser.moments(seen)))
        return metrics | self._episodes(fake) | {"reward": reward}

    def _earned(self, fake: Rollout, score: Score[Transitions]) -> Tensor:
        """The reward of each step, (copies, steps)."""
        total = self.environment_weight * fake.rewards
        if self.discriminator_weight:
            found = self.reward(score(fake))
            if self.absorbing is not None:
                found = found + self._after_the_end(fake, score)
            total = total + self.discriminator_weight * found
        for reward in self.user_rewards:
            total = total + sent(evaluate_steps(reward, fake), total.device)
        return total

    def _after_the_end(self, fake: Rollout, score: Score[Transitions]) -> Tensor:
        """What a terminated episode goes on to earn, discounted, at its last step (Kostrikov et al. 2019, sec. 4.2)."""
        assert self.absorbing is not None
        one = map_tensors(fake, lambda tensor: tensor[:1, :1])
        nothing = replace(one, mask=torch.zeros_like(one.mask))
        each = self.reward(score(nothing)).squeeze()
        # for ever, as the value of an episode's last observation counts when a time limit ends it
        return fake.terminated * each * self.discount / (1 - self.discount)

    def _experience(self, fake: Rollout, earned: Tensor, counted: Tensor) -> tuple[Experience, Metrics, float]:
        """And the mean reward. counted: (steps,), which of the flattened ones are."""
        reward = earned.flatten()[counted].mean()
        network, valuer = self.actor, self.valuer
        memory = fake.memory[:, 0]
        # where steps are left out, nothing may be remembered or summed across them
        ended = fake.ended | ~fake.mask
        parameters = network(fake.observations, memory, ended)
        log_probs = network.actions.log_prob(parameters, fake.drawn)
        if self.improvement.causal_entropy:
            earned = earned - self.improvement.causal_entropy * log_probs
        values = valuer.value(fake.observations, fake.memory)
        next_values = self._next_values(fake, values)
        advantages = credits.gae(earned, values, next_values, fake.terminated, ended, self.discount, self.decay)
        returns = advantages + values
        of_counted = [part.flatten()[counted] for part in (returns - values, returns)]
        told = torch.stack([*(part.var(correction=0) for part in of_counted), reward]).tolist()
        valuer.returns.update(self.engine.sum(valuer.returns.moments(of_counted[1])))
        experience = Experience(
            fake.observations,
            fake.memory,
            fake.drawn,
            ended,
            fake.mask,
            parameters,
            log_probs,
            whiten(advantages, fake.mask, self.engine),
            valuer.returns(returns),
        )
        if not memory.shape[1]:  # every step is a row of its own
            experience = _each_step(experience, counted)
        return experience, {"explained_variance": 1 - told[0] / max(told[1], 1e-8)}, told[2]

    def _next_values(self, fake: Rollout, values: Tensor) -> Tensor:
        """V of what followed each step: that of the next step, but where an episode or the rollout ends, its own."""
        found = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
        own = fake.ended.clone()
        own[:, -1] = True
        own &= ~fake.terminated
        chosen = own.nonzero(as_tuple=True)
        seen, memory = fake.next_observations[chosen].unsqueeze(1), fake.next_memory[chosen].unsqueeze(1)
        found[chosen] = self.valuer.value(seen, memory).squeeze(1)
        return found

    def _episodes(self, fake: Rollout) -> Metrics:
        """Mean return and length, by the environment's own reward, of the episodes that ended in this rollout."""
        read = torch.stack([fake.rewards, fake.ended.float(), fake.mask.float(), fake.elapsed.float()]).cpu()
        earned, ended, counts = read[0].numpy(), read[1].numpy() > 0, read[2].numpy() > 0
        finished: list[float] = []
        for i in np.flatnonzero(ended.any(1)):
            bounds = np.flatnonzero(ended[i]) + 1
            sums = np.add.reduceat(earned[i, : bounds[-1]], np.concatenate([[0], bounds[:-1]]))
            sums[0] += self._returns[i]
            finished += sums[counts[i, bounds - 1]].tolist()
            self._returns[i] = earned[i, bounds[-1] :].sum()
        rest = np.flatnonzero(~ended.any(1))
        self._returns[rest] += earned[rest].sum(1)
        steps = read[3].numpy()[ended & counts].astype(np.int64).sum()
        mine = torch.tensor([sum(finished), steps, len(finished)], dtype=torch.float64)
        if self.engine.processes > 1:
            mine = self.engine.sum(sent(mine, self.engine.device))
        earnings, lengths, count = mine.tolist()  # all processes must log the same names
        return {"return": earnings / count, "episode_length": lengths / count} if count else {}

    def state_dict(self) -> dict[str, object]:
        return {
            "environments": self.environments.state_dict(),
            "memory": self._memory,
            "returns": torch.from_numpy(self._returns.copy()),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.environments.load_state_dict(state["environments"])  # type: ignore[arg-type]
        self._memory = state["memory"].to(self.engine.device)  # type: ignore[attr-defined]
        self._returns = state["returns"].numpy().copy()  # type: ignore[attr-defined]


def _rollout(
    seen: list[np.ndarray],
    acted: list[tuple[Tensor, Tensor, Tensor, Tensor]],
    made: list[Step],
    device: torch.device,
) -> Rollout:
    """From each step's (copies, ...) to (copies, steps, ...).

    acted: the actions as they were executed and as drawn, the memory before them and after.
    """

    def turned(values: list[np.ndarray]) -> Tensor:
        return sent(torch.from_numpy(np.stack(values, axis=1)), device)

    executed, drawn, memory, after = (torch.stack(tensors, dim=1) for tensors in zip(*acted, strict=True))
    return Rollout(
        observations=turned(seen),
        actions=executed,
        next_observations=turned([step.observations for step in made]),
        rewards=turned([step.rewards for step in made]),
        terminated=turned([step.terminated for step in made]),
        ended=turned([step.ended for step in made]),
        mask=turned([step.counts for step in made]),
        drawn=drawn,
        memory=memory,
        next_memory=after,
        elapsed=turned([step.elapsed for step in made]),
    )


def _each_step(experience: Experience, chosen: Tensor) -> Experience:
    """Each counted step, (steps,) of the flattened ones, as a row of its own, as `samples.steps`."""
    flat = Experience(**{name: tensor.flatten(0, 1).unsqueeze(1) for name, tensor in vars(experience).items()})
    return flat if len(chosen) == len(flat.mask) else flat.rows(chosen)
