"""Networks of an environment's policy: what acts, kept as an ordinary Hugging Face model, and what values states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from seqgan_kit.networks.policies.actions import UNBOUNDED, Actions, Choices, Continuous
from seqgan_kit.networks.policies.layers import Activation, Layers, linear
from seqgan_kit.networks.policies.normaliser import Normaliser

CELLS = 4  # side of the grid that pictures of any size are pooled to


class Pictures(nn.Module):
    """(rows, height, width, channels) float32, 0 to 1, -> (rows, width): a small convolutional network."""

    def __init__(self, shape: tuple[int, ...], width: int = 128) -> None:
        super().__init__()
        self.channels_first = shape[0] < shape[-1]
        channels = shape[0] if self.channels_first else shape[-1]
        self.convolutions = nn.Sequential(
            *(nn.Conv2d(channels, 16, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(CELLS), nn.Flatten()),
            *(linear(32 * CELLS**2, width, 2**0.5), nn.ReLU()),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return self.convolutions(pictures if self.channels_first else pictures.permute(0, 3, 1, 2))


class Reader(nn.Module):
    """Observations -> a flat input: vectors normalised, pictures scaled and through a convolutional network.

    scale: see `scaled`. The normaliser is only read here: whoever owns the game updates it.
    """

    def __init__(self, shape: tuple[int, ...], normaliser: Normaliser | None, scale: float | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.dimensions = len(shape)
        pictures = is_picture(shape)
        self.pictures = Pictures(shape) if pictures else None
        self.normaliser = None if pictures else normaliser
        self.width = 128 if pictures else int(torch.Size(shape).numel())

    def forward(self, observations: Tensor) -> Tensor:
        """(..., *shape) -> (..., width)."""
        if self.pictures is not None:
            flat = observations.flatten(0, -4)
            return self.pictures(scaled(flat, self.scale)).unflatten(0, observations.shape[:-3])
        observations = observations.float()
        if self.normaliser is not None:
            observations = self.normaliser(observations)
        return observations if self.dimensions == 1 else observations.flatten(-self.dimensions)


def is_picture(shape: Sequence[int]) -> bool:
    return len(shape) == 3


def picture_scale(space: Any) -> float:
    """What the numbers of pictures of this Box are divided by to lie within 1: the greatest bound, or 1 without one."""
    greatest = float(max(abs(space.low.astype(float)).max(), abs(space.high.astype(float)).max()))
    return greatest if 1 < greatest < UNBOUNDED else 1.0


def scaled(pictures: Tensor, scale: float | None) -> Tensor:
    """Pictures as float32, divided by `scale`. None: bytes by 255 and nothing else, as earlier versions do."""
    if scale is None:
        scale = 255 if pictures.dtype == torch.uint8 else 1
    return pictures.float() / scale if scale != 1 else pictures.float()


class ActorConfig(PretrainedConfig):
    """What an `Actor` needs to be built.

    observation: shape of an observation, without the batch.
    scale: what the numbers of a picture are divided by; None: 255 where they are bytes.
    sizes, single, start: of the choices, as in `Choices`; sizes are empty for a Box.
    low, high, middle, half: of a Box of actions, as in `Continuous`.
    action: shape of an action; of choices empty for one row.
    squash: into the bounds by tanh, rather than clip.
    hidden: widths of the layers.
    activation: of the layers.
    recurrent: width of a GRU before them; 0 has none.
    log_std: logarithm of the initial standard deviation of a Gaussian.
    normalise: vectors are normalised, by statistics that are among the weights.
    environment: the id that it acts in.
    """

    model_type = "seqgan_actor"

    def __init__(
        self,
        observation: Sequence[int] = (1,),
        sizes: Sequence[int] = (),
        single: bool = True,
        low: Sequence[float] = (),
        high: Sequence[float] = (),
        action: Sequence[int] = (),
        squash: bool = False,
        hidden: Sequence[int] = (100, 100),
        activation: Activation = "tanh",
        recurrent: int = 0,
        log_std: float = 0.0,
        normalise: bool = True,
        environment: str | None = None,
        scale: float | None = None,
        start: Sequence[int] = (),
        middle: Sequence[float] = (),
        half: Sequence[float] = (),
        **others: Any,
    ) -> None:
        self.observation, self.sizes, self.single = list(observation), list(sizes), single
        self.low, self.high, self.action, self.squash = list(low), list(high), list(action), squash
        self.hidden, self.activation, self.recurrent = list(hidden), activation, recurrent
        self.log_std, self.normalise, self.environment = log_std, normalise, environment
        self.scale, self.start, self.middle, self.half = scale, list(start), list(middle), list(half)
        super().__init__(**others)

    def actions(self) -> Actions:
        if self.sizes:
            return Choices(tuple(self.sizes), self.single, tuple(self.start), tuple(self.action))
        bounds, unit = (tuple(self.low), tuple(self.high)), (tuple(self.middle), tuple(self.half))
        return Continuous(*bounds, tuple(self.action), self.squash, *unit)


class Actor(PreTrainedModel):
    """pi(action | observation), and what it remembers, if it is recurrent. `forward` gives what is differentiated."""

    config_class = ActorConfig
    base_model_prefix = "actor"

    def __init__(self, config: ActorConfig, normaliser: Normaliser | None = None) -> None:
        super().__init__(config)
        shape = tuple(config.observation)
        self.actions = config.actions()
        self.reader = Reader(shape, (normaliser or Normaliser(shape)) if config.normalise else None, config.scale)
        width = self.reader.width
        self.memory = nn.GRUCell(width, config.recurrent) if config.recurrent else None
        self.body = Layers([config.recurrent or width, *config.hidden], config.activation)
        self.log_std: nn.Parameter | None = None
        outputs = self.actions.size
        if isinstance(self.actions, Continuous):
            outputs //= 2
            self.log_std = nn.Parameter(torch.full((outputs,), float(config.log_std)))
        # near zero: at first all actions are as likely, and the reward's scale does not matter yet
        self.output = linear([config.recurrent or width, *config.hidden][-1], outputs, 0.01)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """All layers are initialised where they are made."""

    def start(self, rows: int) -> Tensor:
        """What is remembered at the start of an episode: (rows, dim)."""
        return self.output.weight.new_zeros(rows, self.config.recurrent)

    def forward(self, observations: Tensor, memory: Tensor, ended: Tensor) -> Tensor:
        """Parameters of the distribution of each action, (batch, time, size).

        observations: (batch, time, ...). memory: (batch, dim) before the first step. ended: (batch, time) bool, the
        episode ended with this step, so nothing of it is remembered at the next.
        """
        return self.from_features(self.reader(observations), memory, ended)

    def from_features(self, features: Tensor, memory: Tensor, ended: Tensor, fused: bool = False) -> Tensor:
        """`forward` on what the reader has read; fused: see `Layers.fused`."""
        if self.memory is not None:
            found = []
            for t in range(features.shape[1]):
                memory = self.memory(features[:, t], memory)
                found.append(memory)
                memory = memory * ~ended[:, t : t + 1]
            features = torch.stack(found, dim=1)
        fused = fused and self.memory is None and self.reader.pictures is None
        parameters = self.body.fused(features, self.output) if fused else self.output(self.body(features))
        return self._with_deviation(parameters)

    def step(self, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One step without a gradient: (rows, ...), (rows, dim) -> parameters (rows, size), memory (rows, dim)."""
        features = self.reader(observations)
        if self.memory is not None:
            features = memory = self.memory(features, memory)
        return self._with_deviation(self.body.inferred(features, self.output)), memory

    def _with_deviation(self, found: Tensor) -> Tensor:
        return found if self.log_std is None else torch.cat([found, self.log_std.expand_as(found)], dim=-1)


class Valuer(nn.Module):
    """V(observation, what the policy remembers): the return that a discounted episode still has, (batch, time).

    The network's output is normalised by the running statistics of returns, so rewards may have any scale.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        memory: int,
        hidden: Sequence[int],
        normaliser: Normaliser | None,
        activation: Activation = "tanh",
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.reader = Reader(shape, normaliser, scale)
        sizes = [self.reader.width + memory, *hidden]
        self.body = Layers(sizes, activation)
        self.output = linear(sizes[-1], 1, 1.0)
        self.returns = Normaliser((), limit=float("inf"))

    def forward(self, observations: Tensor, memory: Tensor) -> Tensor:
        """(batch, time, ...), (batch, time, dim) -> (batch, time), normalised."""
        return self.from_features(self.reader(observations), memory)

    def from_features(self, read: Tensor, memory: Tensor, fused: bool = False) -> Tensor:
        """`forward` on what the reader has read; fused: see `Layers.fused`."""
        features = torch.cat([read, memory], dim=-1) if memory.shape[-1] else read
        found = self.body.fused(features, self.output) if fused else self.output(self.body(features))
        return found.squeeze(-1)

    def value(self, observations: Tensor, memory: Tensor) -> Tensor:
        """The same in units of reward."""
        return self.returns.restore(self(observations, memory))


class ActorCritic(nn.Module):
    """A policy and its value as one network, for an estimator that differentiates both at once."""

    def __init__(self, actor: Actor, valuer: Valuer) -> None:
        super().__init__()
        self.actor, self.valuer = actor, valuer

    def forward(self, observations: Tensor, memories: Tensor, ended: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters (batch, time, size) and normalised values (batch, time); memories: before each step."""
        memory = memories[:, 0]
        if self.actor.reader.normaliser is not self.valuer.reader.normaliser or self.actor.reader.pictures is not None:
            return self.actor(observations, memory, ended), self.valuer(observations, memories)
        read = self.actor.reader(observations)  # vectors are read alike by both
        parameters = self.actor.from_features(read, memory, ended, fused=True)
        return parameters, self.valuer.from_features(read, memories, fused=True)


# so that AutoModel knows a saved folder once this module is imported
AutoConfig.register(ActorConfig.model_type, ActorConfig, exist_ok=True)
AutoModel.register(ActorConfig, Actor, exist_ok=True)
