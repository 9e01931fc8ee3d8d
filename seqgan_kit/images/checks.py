"""What a run of text to image refuses before anything is written."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from seqgan_kit.bounds import Bound
from seqgan_kit.engine import checks, devices
from seqgan_kit.errors import UserError, name_of
from seqgan_kit.game.rewards import evaluate_pictures
from seqgan_kit.images.caption_embedding import JointConfig
from seqgan_kit.images.config import ImagesConfig
from seqgan_kit.images.players import objective_of
from seqgan_kit.images.sources import Source
from seqgan_kit.networks.pictures.generator import doublings
from seqgan_kit.networks.pictures.joint_embedding import SHORTEST
from seqgan_kit.samples import Images

NEIGHBOURS = 3  # that precision and recall look at


def check_numbers(config: ImagesConfig) -> None:
    """Raises UserError, before anything is read, where an option's number makes no sense."""
    critic, adversarial = config.discriminator, config.adversarial
    checks.not_sharded(config.run.shard, "networks of pictures are whole on each process")
    Bound(1).check("--adversarial.turns.generator", adversarial.turns.generator)
    check_joint(config.joint, 0)
    checks.rewarded(adversarial.discriminator_weight, adversarial.rewards)
    if critic.near > critic.wrong:
        raise UserError(f"--discriminator.near {critic.near}: give at most --discriminator.wrong {critic.wrong}")
    _check_sides(config)
    if checks.objective(critic.objective).distance is not None and (
        critic.mismatched or critic.matching or adversarial.interpolation
    ):
        raise UserError(
            "--discriminator.objective: one that compares pictures in pairs needs --discriminator.mismatched 0, "
            "--discriminator.matching 0 and --adversarial.interpolation 0"
        )
    try:
        objective_of(critic)
    except ValueError as error:
        raise UserError(f"--discriminator.smoothing: {error}") from error


def check_joint(config: JointConfig, steps: int) -> None:
    """Raises UserError for a joint embedding that can't be built, or trained for `steps` or more."""
    Bound(steps).check("--joint.steps", config.steps)
    Bound(SHORTEST).check("--joint.length", config.length)
    if len(config.widths) != 3:
        raise UserError(f"--joint.widths {config.widths}: give three, as [64, 128, 128]")
    if not config.alphabet.strip():
        raise UserError("--joint.alphabet is empty: give paper, data or the characters themselves")
    if config.steps:  # the pairs of a batch would be told apart within its parts alone
        what, size = "pictures and captions are compared", "--joint.batch_size"
        checks.whole_batch("--joint.optimizer", config.optimizer, what, size)


def _check_sides(config: ImagesConfig) -> None:
    """Raises UserError for a size of pictures, or of feature maps, that the networks do not have."""
    side, second = config.data.side, config.second.side
    maps = [4 * 2**i for i in range(16) if 4 * 2**i < side]
    if config.generator.attention and config.generator.attention not in maps:
        raise UserError(f"--generator.attention {config.generator.attention}: give 0, or one of {maps}")
    for option, value, start in [
        ("--data.side", side, 4),
        *([("--second.side", second, side // 4)] if second else []),
    ]:
        try:
            doublings(value, start)
        except ValueError:
            raise UserError(f"{option} {value}: give {start} times a power of 2, at least {2 * start}") from None
    if second and second <= side:
        raise UserError(f"--second.side {second}: give more than --data.side {side}")


def check_batches(config: ImagesConfig, source: Source) -> None:
    """Raises UserError where a phase, however late, could not fill a batch."""
    sizes = [("--adversarial.batch_size", config.adversarial.batch_size)]
    if config.joint.steps:
        sizes.append(("--joint.batch_size", config.joint.batch_size))
    if config.second.side:
        sizes.append(("--second.batch_size", config.second.batch_size))
    if config.style.steps:
        sizes.append(("--style.batch_size", max(2, config.style.batch_size)))
    checks.batches(source.name, len(source.train.pixels), "pictures", *sizes)


def check_parts(config: ImagesConfig, dim: int) -> None:
    """Raises UserError where a discriminator's network can't be built, or, of a user's own, a network or a reward gives
    something else than it should. dim: of a caption's vector."""
    critic, second = config.discriminator, config.second
    networks = [("--discriminator.network", critic.network, config.data.side)]
    if second.side:
        networks.append(("--second.discriminator", second.discriminator, second.side))
    device = devices.chosen(config.run.device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for option, make, side in networks:
            _check_network(option, make, side, dim, device)
        pixels = (torch.rand(2, 3, config.data.side, config.data.side) * 2 - 1).to(device).requires_grad_()
        some = Images(pixels, torch.zeros(2, dim, device=device))
        for reward in config.adversarial.rewards:
            checks.before_a_run(evaluate_pictures, reward, some)


def _check_network(
    option: str, make: Callable[[int, int], nn.Module], side: int, dim: int, device: torch.device
) -> None:
    wanted = "a class that is built with (side, width of a caption's vector)"
    network = checks.built(option, make, side, dim, wanted=wanted)
    if type(network).__module__.startswith("seqgan_kit."):  # ours cost time, and are known
        return
    pair = torch.zeros(2, 3, side, side, device=device), [torch.zeros(2, dim, device=device)]
    wanted = "forward(*pairs) -> for each pair (pixels, captions' vectors) a list of logits (batch,), one a caption"
    found = checks.tried(option, network.to(device), pair, wanted=wanted)
    logits = found[0] if isinstance(found, list | tuple) and len(found) == 1 else None
    if not isinstance(logits, list | tuple) or not logits or any(checks.kind(x) != "the shape (2,)" for x in logits):
        raise UserError(f"{option}: {name_of(network)} gives {checks.kind(found)} for one pair: give {wanted}")
