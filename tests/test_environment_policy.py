"""The policy of imitation against slow loops: what it samples, what its steps are worth, and what it reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

import toys
from seqgan_kit.engine.checkpoints import pack, unpack
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics, OptimizerConfig
from seqgan_kit.errors import Stopped
from seqgan_kit.game.rewards import StepReward, evaluate_steps
from seqgan_kit.imitation import improvement as improvements
from seqgan_kit.imitation.copies import Environments, build
from seqgan_kit.imitation.discriminator_inputs import Features
from seqgan_kit.imitation.environments import EnvironmentConfig, make
from seqgan_kit.imitation.improvement import PPO, TRPO, Experience, Improvement
from seqgan_kit.imitation.policy import EnvironmentPolicy
from seqgan_kit.networks.policies.actor import Actor, ActorConfig, ActorCritic, Valuer
from seqgan_kit.networks.policies.normaliser import Normaliser
from seqgan_kit.networks.policies.transition import TransitionNetwork
from seqgan_kit.samples import Rollout, Transitions, actions, rows, size, steps

CARTPOLE = EnvironmentConfig("CartPole-v1", {"max_episode_steps": 15}, copies=3, vectorised=False)
VECTORISED = replace(CARTPOLE, vectorised=True)
PENDULUM = EnvironmentConfig("Pendulum-v1", {"max_episode_steps": 9}, copies=2)
WALK = EnvironmentConfig("toys/Walk-v0", {}, copies=3)
BREAKING = EnvironmentConfig("toys/Walk-v0", {"trouble": "raises"}, copies=4)
assert toys.SEEDS is not None  # it registers them
NONE = Transitions(*[torch.zeros(1, 1)] * 7)


@dataclass(frozen=True)
class Watch(Improvement):
    """Improves nothing; keeps what it was given."""

    causal_entropy: float = 0.0
    seen: list[Experience] = field(default_factory=list)

    def learner(self, engine: Engine, prefix: str, actor: Actor, valuer: Valuer) -> Learner:
        return engine.learner(f"{prefix}policy", actor, OptimizerConfig())

    def __call__(
        self, engine: Engine, learner: Learner, actor: Actor, valuer: Valuer, experience: Experience
    ) -> Metrics:
        self.seen.append(experience)
        return {}


def policy(
    engine: Engine,
    config: EnvironmentConfig,
    steps: int = 20,
    recurrent: int = 0,
    environments: Environments | None = None,
    **options: Any,
) -> EnvironmentPolicy:
    """A random one, far from uniform, with a value that is not about 0."""
    torch.manual_seed(0)
    environments = environments or build(config, 0)
    shape, space = tuple(environments.observation_space.shape), environments.action_space
    kind = (
        {"sizes": [int(space.n)]}
        if isinstance(space, gym.spaces.Discrete)
        else {"low": space.low.tolist(), "high": space.high.tolist(), "action": list(space.shape)}
    )
    normaliser = Normaliser(shape)
    normaliser.update(normaliser.moments(torch.randn(50, *shape)))
    actor = Actor(ActorConfig(list(shape), hidden=[8], recurrent=recurrent, **kind), normaliser).eval()
    valuer = Valuer(shape, recurrent, [8], normaliser).eval()
    with torch.no_grad():
        actor.output.weight.mul_(300)
    valuer.returns.update(valuer.returns.moments(3 + 2 * torch.randn(50)))
    options = {"reward": lambda logits: logits, "improvement": Watch(), "normaliser": normaliser} | options
    return EnvironmentPolicy(engine, actor, valuer, environments=environments, steps=steps, **options)


def score(sample: Transitions) -> Tensor:
    """Some logit of each step."""
    acted = sample.actions.float() if sample.actions.dim() == 2 else sample.actions[..., 0]
    return (sample.observations.sum(-1) + 2 * acted - sample.next_observations[..., 0]).sin()


def watched(player: EnvironmentPolicy, rollouts: int) -> tuple[list[Rollout], list[list[list[int]]]]:
    """Rollouts, and the seeds of the copies before each of their steps: [rollout][step][copy]."""
    environments: Any = player.environments
    inner, seeds = environments.step, []

    def step(given: np.ndarray) -> Any:
        seeds[-1].append(environments.state_dict()["seeds"])
        return inner(given)

    environments.step = step
    found = []
    for _ in range(rollouts):
        seeds.append([])
        found.append(player.sample(NONE))
    return found, seeds


# -- what it samples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [CARTPOLE, PENDULUM, WALK, BREAKING], ids=["cartpole", "pendulum", "walk", "breaking"]
)
def test_rollouts_equal_single_environments(config: EnvironmentConfig, engine: Engine) -> None:
    """Reset with the same seeds and given the recorded actions, over two rollouts through which episodes go on.

    An episode that breaks counts from its first step in the rollout on; what was sampled before is gone.
    """
    player = policy(engine, config)
    sampled, seeds = watched(player, 2)
    ends = broken = through = 0
    for i in range(config.copies):
        single, elapsed, last = make(config), 0, None
        for rollout, before in zip(sampled, seeds, strict=True):
            begun = 0
            counts = np.ones(20, bool)
            for t in range(20):
                if before[t][i] != last:
                    last, elapsed, begun = before[t][i], 0, t
                    observation = single.reset(seed=last)[0]
                elif t == 0:
                    through += 1
                np.testing.assert_array_equal(rollout.observations[i, t].numpy(), observation)
                action = rollout.actions[i, t].numpy()
                elapsed += 1
                assert rollout.elapsed[i, t] == elapsed
                try:
                    observation, reward, terminated, truncated, _ = single.step(action if action.ndim else int(action))
                except ZeroDivisionError:
                    counts[begun : t + 1] = False
                    broken += 1
                    assert (rollout.terminated[i, t], rollout.ended[i, t]) == (False, True)
                    continue
                np.testing.assert_array_equal(rollout.next_observations[i, t].numpy(), observation)
                assert rollout.rewards[i, t].item() == np.float32(reward)
                assert rollout.terminated[i, t] == terminated
                assert rollout.ended[i, t] == (terminated or truncated)
                ends += terminated or truncated
            assert rollout.mask[i].tolist() == counts.tolist()
    assert ends > 2
    assert through > 0
    assert (broken > 2) == (config is BREAKING)
    for rollout in sampled:
        assert rollout.actions.equal(player.actor.actions.execute(rollout.drawn))
        assert rollout.observations.dtype == rollout.rewards.dtype == torch.float32
        assert (size(rollout), actions(rollout)) == (config.copies, rollout.mask.sum())


def test_a_rollout_is_not_empty(engine: Engine) -> None:
    """Where all episodes broke, sampling goes on until some step counts, and a return then counts its own episode."""
    player = policy(engine, EnvironmentConfig("toys/Walk-v0", {"trouble": "raises", "every": 2}, copies=1), steps=2)
    returns: list[float] = []
    for _ in range(30):
        rollout = player.sample(NONE)
        assert rollout.mask.any()
        metrics = player.update(NONE, rollout, score)
        assert all(np.isfinite(value) for value in metrics.values())
        returns += [metrics["return"]] if "return" in metrics else []
    assert len(returns) > 3


@pytest.mark.parametrize("improvement", [PPO(epochs=1, minibatch=2), TRPO(epochs=1, minibatch=2)])
@pytest.mark.parametrize("recurrent", [0, 6])
def test_copies_whose_steps_are_all_left_out(improvement: Improvement, recurrent: int, engine: Engine) -> None:
    """Teach nothing, and harm nothing: all weights stay finite."""
    breaking = EnvironmentConfig("toys/Walk-v0", {"trouble": "raises", "every": 2}, copies=4)
    player, lost = policy(engine, breaking, steps=2, recurrent=recurrent, improvement=improvement), 0
    for _ in range(10):
        rollout = player.sample(NONE)
        lost += (~rollout.mask.any(1)).sum().item()
        assert all(np.isfinite(value) for value in player.update(NONE, rollout, score).values())
    assert lost > 5
    assert all(p.isfinite().all() for network in (player.actor, player.valuer) for p in network.parameters())


@pytest.mark.parametrize("config", [CARTPOLE, VECTORISED, PENDULUM], ids=["cartpole", "vectorised", "pendulum"])
def test_memory_of_a_recurrent_policy(config: EnvironmentConfig, engine: Engine) -> None:
    """It is empty where an episode begins and only there, and goes on from rollout to rollout.

    One forward over a row gives what single steps from the stored memories give: its log-probabilities are right.
    """
    player = policy(engine, config, recurrent=6)
    first, second = (player.sample(NONE) for _ in range(2))
    actor, begins = player.actor, torch.cat([first.elapsed, second.elapsed], dim=1) == 1
    acted = torch.cat([first.mask, second.mask], dim=1)
    before = torch.cat([first.memory, second.memory], dim=1)
    after = torch.cat([first.next_memory, second.next_memory], dim=1)
    assert before[:, 0].abs().max() == 0
    assert (before[begins] == 0).all()
    goes_on = (acted & ~begins)[:, 1:]
    assert before[:, 1:][goes_on].equal(after[:, :-1][goes_on])
    assert (after.abs().amax(-1) > 0).all()
    assert len(begins) < begins[:, :20].sum() < begins.sum()
    assert not begins[:, 20].all()
    for rollout in (first, second):
        with torch.no_grad():
            whole = actor(rollout.observations, rollout.memory[:, 0], rollout.ended | ~rollout.mask)
            single = [actor.step(rollout.observations[:, t], rollout.memory[:, t]) for t in range(20)]
        parameters, memories = (torch.stack(list(column), dim=1) for column in zip(*single, strict=True))
        torch.testing.assert_close(memories, rollout.next_memory, rtol=0, atol=1e-6)
        found, expected = (actor.actions.log_prob(p, rollout.drawn) for p in (whole, parameters))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if config is PENDULUM else 1e-6)
    assert (actor(first.observations, first.memory[:, 0], first.ended & False) - whole).abs().max() > 1e-3


def test_sampled_actions_follow_the_policy(engine: Engine) -> None:
    """Over many steps, actions are as frequent as their probabilities say: within 5 standard errors."""
    player = policy(engine, CARTPOLE, steps=1500)
    rollout = player.sample(NONE)
    with torch.no_grad():
        parameters = player.actor(rollout.observations, rollout.memory[:, 0], rollout.ended)
    chance = parameters.softmax(-1)[..., 1]
    assert chance.std() > 0.05
    for some in (chance < chance.median(), chance >= chance.median()):
        surprise = (rollout.actions - chance)[some]
        assert abs(surprise.mean()) < 5 * (chance * (1 - chance))[some].mean().sqrt() / some.sum() ** 0.5


@pytest.mark.parametrize("recurrent", [0, 6])
def test_policy_goes_on_from_its_state(recurrent: int, engine: Engine) -> None:
    """Environments, memory and the returns of unfinished episodes, bit for bit, through a checkpoint."""
    player = policy(engine, CARTPOLE, recurrent=recurrent)
    other = policy(engine, CARTPOLE, recurrent=recurrent, prefix="other_", environments=build(CARTPOLE, 0))
    player.update(NONE, player.sample(NONE), score)
    tensors: dict[str, Any] = {}
    state = unpack(json.loads(json.dumps(pack(player.state_dict(), tensors))), tensors)
    other.load_state_dict(state)
    other.actor.load_state_dict(player.actor.state_dict())
    found = []
    for one in (player, other):
        torch.manual_seed(5)
        rollout = one.sample(NONE)
        found.append((vars(rollout), one._episodes(rollout)))
    assert all(tensor.equal(found[1][0][name]) for name, tensor in found[0][0].items())
    assert found[0][1] == found[1][1]
    assert found[0][1]["return"] > 0


# -- what its steps are worth -----------------------------------------------------------------------------------------


def slow_values(player: EnvironmentPolicy, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """V before and after every step, from what the rollout holds of that very step."""
    values, following = torch.zeros(2, *rollout.mask.shape)
    with torch.no_grad():
        for i in range(len(rollout.mask)):
            for t in range(rollout.mask.shape[1]):
                here = rollout.observations[i : i + 1, t : t + 1], rollout.memory[i : i + 1, t : t + 1]
                there = rollout.next_observations[i : i + 1, t : t + 1], rollout.next_memory[i : i + 1, t : t + 1]
                values[i, t], following[i, t] = (player.valuer.value(*pair).item() for pair in (here, there))
    return values, following


def slow_advantages(player: EnvironmentPolicy, rollout: Rollout, earned: Tensor) -> tuple[Tensor, Tensor]:
    """Advantages and values; the sum over (discount * decay)^l residuals, to the end of each episode or of its row."""
    values, following = slow_values(player, rollout)
    advantages = torch.zeros_like(values)
    for i in range(len(values)):
        for t in range(values.shape[1]):
            for k in range(t, values.shape[1]):
                worth = 0.0 if rollout.terminated[i, k] else player.discount * following[i, k]
                residual = earned[i, k] + worth - values[i, k]
                advantages[i, t] += (player.discount * player.decay) ** (k - t) * residual
                if rollout.ended[i, k]:
                    break
    return advantages, values


@pytest.mark.parametrize(
    "config",
    [CARTPOLE, VECTORISED, PENDULUM, WALK, BREAKING],
    ids=["cartpole", "vectorised", "pendulum", "walk", "breaking"],
)
@pytest.mark.parametrize("recurrent", [0, 6])
def test_advantages_and_returns(config: EnvironmentConfig, recurrent: int, engine: Engine) -> None:
    """Against their definition, with bootstraps where a time limit or the rollout cuts; whitened over what counts.

    Targets are the returns, normalised by what was seen of them with these; explained variance is as they were.
    """
    watch = Watch()
    options = {"discount": 0.9, "decay": 0.8, "improvement": watch}
    player = policy(engine, config, recurrent=recurrent, **options)
    player.sample(NONE)
    rollout = player.sample(NONE)
    mask = rollout.mask
    advantages, values = slow_advantages(player, rollout, score(rollout))
    with torch.no_grad():
        parameters = player.actor.step(rollout.observations[mask], rollout.memory[mask])[0]
    log_probs = player.actor.actions.log_prob(parameters, rollout.drawn[mask])
    seen = player.valuer.returns.count.item()
    metrics = player.update(NONE, rollout, score)
    (experience,) = watch.seen
    counted = advantages[mask]
    whitened = (advantages - counted.mean()) / counted.std(correction=0)
    returns = advantages + values
    assert player.valuer.returns.count.item() == seen + mask.sum()
    targets = player.valuer.returns(returns)
    if recurrent:
        found = experience.advantages[mask], experience.targets[mask], experience.log_probs[mask]
        assert experience.memory.equal(rollout.memory[:, 0])
        assert experience.mask.equal(mask)
    else:
        assert experience.mask.shape == (mask.sum(), 1)
        assert experience.mask.all()
        found = tuple(part.squeeze(1) for part in (experience.advantages, experience.targets, experience.log_probs))
        assert experience.observations.squeeze(1).equal(rollout.observations[mask])
        assert experience.drawn.squeeze(1).equal(rollout.drawn[mask])
    torch.testing.assert_close(found[0], whitened[mask], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], targets[mask], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], log_probs, rtol=0, atol=1e-5)
    explained = 1 - counted.var(correction=0) / returns[mask].var(correction=0)
    assert metrics["explained_variance"] == pytest.approx(explained.item(), rel=1e-3, abs=1e-3)


def distance(observations: np.ndarray, actions: np.ndarray, next_observations: np.ndarray) -> list[float]:
    return np.abs(next_observations - observations).sum(1).tolist()


def own(
    observations: np.ndarray, actions: np.ndarray, next_observations: np.ndarray, **columns: np.ndarray
) -> np.ndarray:
    assert set(columns) == {"terminated", "rewards"}
    return columns["rewards"] - 5 * columns["terminated"] + actions


def test_rewards_are_added_by_weight(engine: Engine) -> None:
    """The discriminator's, the environment's own, the users' and the causal entropy's, step by step."""
    watch = Watch(causal_entropy=0.3)
    player = policy(
        engine,
        WALK,
        improvement=watch,
        reward=lambda logits: logits.exp(),
        discriminator_weight=2.0,
        environment_weight=0.5,
        user_rewards=[StepReward(distance, 0.7), StepReward(own, -1.5)],
        discount=0.9,
        decay=0.8,
    )
    rollout = player.sample(NONE)
    total = torch.zeros_like(rollout.rewards)
    logits = score(rollout)
    for i in range(3):
        for t in range(20):
            moved = (rollout.next_observations[i, t] - rollout.observations[i, t]).abs().sum()
            mine = rollout.rewards[i, t] - 5 * rollout.terminated[i, t].float() + rollout.actions[i, t]
            total[i, t] = 2 * logits[i, t].exp() + 0.5 * rollout.rewards[i, t] + 0.7 * moved - 1.5 * mine
    with torch.no_grad():
        parameters = player.actor(rollout.observations, rollout.memory[:, 0], rollout.ended)
    surprise = -torch.distributions.Categorical(logits=parameters).log_prob(rollout.drawn)
    advantages, _ = slow_advantages(player, rollout, total + 0.3 * surprise)
    metrics = player.update(NONE, rollout, score)
    assert metrics["reward"] == pytest.approx(total.mean().item(), rel=1e-4)
    whitened = (advantages - advantages.mean()) / advantages.std(correction=0)
    torch.testing.assert_close(watch.seen[0].advantages.view(3, 20), whitened, rtol=1e-4, atol=1e-4)


def test_a_discriminator_of_no_weight_is_not_asked(engine: Engine) -> None:
    """As where an expert is trained by the environment's own reward."""

    def refuse(sample: Transitions) -> Tensor:
        raise AssertionError("it was asked")

    player = policy(engine, WALK, discriminator_weight=0.0, environment_weight=1.0)
    rollout = player.sample(NONE)
    assert player.update(NONE, rollout, refuse)["reward"] == pytest.approx(rollout.rewards.mean().item(), rel=1e-5)


def test_reward_after_the_end(engine: Engine) -> None:
    """A terminated episode earns at its last step what the absorbing state would earn for ever, discounted."""
    player = policy(engine, WALK, absorbing=40, discount=0.9, reward=torch.nn.functional.softplus)
    features = Features(
        player.environments.observation_space,
        player.actor.actions,
        player.normaliser,
        ["state", "action", "next_state", "ended"],
        absorbing=True,
    )
    network = TransitionNetwork(features.layout, (8,)).eval()
    rollout = player.sample(NONE)

    def logits(sample: Transitions) -> Tensor:
        with torch.no_grad():
            return network(features(sample))

    nowhere = torch.zeros(features.layout.size)
    nowhere[[features.layout.state.stop - 1, features.layout.next_state.stop - 1, features.layout.ended.start]] = 1
    with torch.no_grad():
        each = torch.nn.functional.softplus(network(nowhere)).item()
    expected = torch.nn.functional.softplus(logits(rollout))
    for i, t in rollout.terminated.nonzero().tolist():
        expected[i, t] += sum(0.9**k * each for k in range(1, 300))
    assert rollout.terminated.sum() > 3
    assert rollout.terminated.sum() < rollout.ended.sum()
    torch.testing.assert_close(player._earned(rollout, logits), expected)


# -- what it reports --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [CARTPOLE, WALK, BREAKING], ids=["cartpole", "walk", "breaking"])
@pytest.mark.parametrize("length", [3, 20])
def test_returns_and_lengths_of_episodes(config: EnvironmentConfig, length: int, engine: Engine) -> None:
    """Of those that ended in a rollout, with what they earned in the rollouts before; broken ones are left out."""
    player = policy(engine, config, steps=length)
    sums, lengths, unreported = np.zeros(config.copies), np.zeros(config.copies, int), 0
    for _ in range(10):
        rollout = player.sample(NONE)
        returns, counts = [], []
        for t in range(length):
            for i in range(config.copies):
                sums[i] += rollout.rewards[i, t].item()
                lengths[i] += 1
                if rollout.ended[i, t]:
                    if rollout.mask[i, t]:
                        returns.append(sums[i])
                        counts.append(lengths[i])
                    sums[i] = lengths[i] = 0
        metrics = player.update(NONE, rollout, score)
        if returns:
            assert metrics["return"] == pytest.approx(np.mean(returns), rel=1e-5)
            assert metrics["episode_length"] == pytest.approx(np.mean(counts))
        else:
            unreported += 1
            assert "return" not in metrics
    assert unreported > 0 or length > 3 or config is not CARTPOLE


def test_returns_of_vectorised_environments(engine: Engine) -> None:
    """Steps that only reset are no part of an episode."""
    player = policy(engine, replace(VECTORISED, arguments={"max_episode_steps": 6}))
    for _ in range(3):
        rollout = player.sample(NONE)
        metrics = player.update(NONE, rollout, score)
        assert metrics["return"] == metrics["episode_length"] == 6
        assert actions(rollout) == rollout.rewards.sum() < 60


def test_normaliser_sees_each_rollout_afterwards(engine: Engine) -> None:
    """Its counted steps, once the policy has learnt; and nothing where it shall stay as it is."""
    player = policy(engine, BREAKING)
    rollout, before = player.sample(NONE), player.normaliser.count.item()
    assert not rollout.mask.all()
    moments = player.normaliser.moments(rollout.observations[rollout.mask])
    expected = Normaliser((2,))
    expected.load_state_dict(player.normaliser.state_dict())
    expected.update(moments)
    player.update(NONE, rollout, score)
    assert player.normaliser.count.item() == before + rollout.mask.sum()
    torch.testing.assert_close(player.normaliser.state_dict(), expected.state_dict())
    still = policy(engine, WALK, normaliser=None, prefix="still_")
    kept = [buffer.clone() for buffer in still.actor.reader.normaliser.buffers()]
    still.update(NONE, still.sample(NONE), score)
    assert all(a.equal(b) for a, b in zip(kept, still.actor.reader.normaliser.buffers(), strict=True))


# -- its networks and the user's rewards ------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("recurrent", [0, 6])
def test_actor_and_valuer_as_one(shared: bool, recurrent: int) -> None:
    """They see the same as each by itself, far observations and no normaliser included, and have the same gradient."""
    torch.manual_seed(0)
    normaliser = Normaliser((3,)) if shared else None
    actor = Actor(ActorConfig([3], [4], hidden=[8], recurrent=recurrent), normaliser)
    valuer = Valuer((3,), recurrent, [8], normaliser)
    observations, memories = 30 * torch.randn(4, 5, 3), torch.randn(4, 5, recurrent)
    ended = torch.rand(4, 5) < 0.3
    both = ActorCritic(actor, valuer)
    together = both(observations, memories, ended)
    alone = actor(observations, memories[:, 0], ended), valuer(observations, memories)
    torch.testing.assert_close(together, alone)
    losses = (parameters.square().sum() + values.square().sum() for parameters, values in (together, alone))
    torch.testing.assert_close(*(torch.autograd.grad(loss, list(both.parameters())) for loss in losses))


@pytest.mark.parametrize("improvement", [PPO(epochs=3, minibatch=8), TRPO(epochs=3, minibatch=8)], ids=["ppo", "trpo"])
def test_a_long_update_looks_whether_to_stop(
    improvement: Improvement, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short one is made to its end, and saved; a long one is left, and made anew by the run that is resumed."""
    player = policy(engine, EnvironmentConfig("CartPole-v1", copies=2), improvement=improvement)
    engine.restore()
    monkeypatch.setattr(engine.phases, "_stop_signal", 2)
    player.update(NONE, player.sample(NONE), score)
    monkeypatch.setattr(improvements, "PATIENCE", -1.0)
    with pytest.raises(Stopped, match=r"within an update, which is made anew\. Resume with: seqgan-kit resume"):
        player.update(NONE, player.sample(NONE), score)
    assert not list((engine.folder / "checkpoints").glob("*")), "half an update is never saved"


def transitions(batch: int = 2, time: int = 3) -> Transitions:
    torch.manual_seed(0)
    flags = torch.zeros(batch, time, dtype=torch.bool)
    mask = ~flags
    mask[-1, -1] = False
    seen = torch.randn(2, batch, time, 4)
    return Transitions(seen[0], torch.randint(3, (batch, time)), seen[1], torch.randn(batch, time), flags, flags, mask)


def test_user_rewards_may_be_anything_on_padding() -> None:
    """What does not count earns 0 there, be it NaN or infinite."""
    sample = transitions()
    for nothing in (np.nan, np.inf):
        given = np.array([1, 2, 3, 4, 5, nothing], np.float32)
        found = evaluate_steps(StepReward(lambda *_: given, 0.5), sample)  # noqa: B023
        assert found.tolist() == [[0.5, 1.0, 1.5], [2.0, 2.5, 0.0]]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([1.0] * 5, r"returned the shape \(5,\) for 6 steps"),
        ([[1.0]] * 6, r"returned the shape \(6, 1\) for 6 steps"),
        (None, r"returned the shape \(\) for 6 steps|returned NoneType"),
        ("words", "returned str: return a list of 6 numbers"),
        ([1.0, np.nan, 1.0, 1.0, 1.0, 1.0], "not finite"),
        ([1.0, np.inf, 1.0, 1.0, 1.0, 1.0], "not finite"),
    ],
)
def test_mistakes_in_user_rewards(given: Any, told: str) -> None:
    """Told by the function's name, with what it should have returned."""
    function: Callable[..., Any] = lambda *_: given  # noqa: E731
    with pytest.raises(Exception, match=told) as raised:
        evaluate_steps(StepReward(function), transitions())
    assert raised.type.__name__ == "UserError"
    assert "test_environment_policy" in str(raised.value)


def test_steps_are_rows() -> None:
    """Each counted step by itself, in order, with all that belongs to it."""
    sample = transitions()
    sample = replace(sample, mask=torch.tensor([[True, False, True], [True, True, True]]))
    single = steps(sample)
    assert size(single) == 5
    expected = [
        rows(sample, slice(i, i + 1)).observations[0, t] for i in range(2) for t in range(3) if sample.mask[i, t]
    ]
    assert single.observations.equal(torch.stack(expected).unsqueeze(1))
    assert single.rewards.equal(sample.rewards[sample.mask].unsqueeze(1))
    assert steps(rows(sample, slice(1, 2))).actions.equal(sample.actions[1:].T)
