"""The game of pictures with captions: losses against hand-written ones, and what each player may and may not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.errors import UserError
from seqgan_kit.game.rewards import PictureReward
from seqgan_kit.game.trainer import Turns, play
from seqgan_kit.images.augmentation import FUNCTIONS, augmented, colour, cutout, translation
from seqgan_kit.images.config import AdversarialConfig, DiscriminatorConfig, PictureGeneratorConfig
from seqgan_kit.images.data import PictureBatches, captioned
from seqgan_kit.images.evaluation import make
from seqgan_kit.images.players import Game, between
from seqgan_kit.images.train import style_loss
from seqgan_kit.networks.pictures.discriminator import PictureDiscriminator
from seqgan_kit.networks.pictures.generator import PictureConfig, PictureGenerator
from seqgan_kit.samples import Images, size

NOISE, DIM, SIDE, ROWS = 3, 4, 8, 8
OBJECTIVES = [
    objectives.seqgan, objectives.minimax, objectives.non_saturating, objectives.airl, objectives.wasserstein,
    objectives.hinge, objectives.least_squares,
]  # fmt: skip
PLAIN = DiscriminatorConfig(gradient_square=0.0, penalised=1.0)
GAME, AVERAGED = AdversarialConfig(), PictureGeneratorConfig()
Seen = list[tuple[Tensor, list[Tensor]]]


class Critic(nn.Module):
    """A logit that is linear in pixels and caption, and of the same weights squared in pixels where it is `curved`.

    heads: 2 judges the picture alone, too. seen: everything that it was asked about.
    """

    def __init__(self, heads: int = 1, curved: bool = False) -> None:
        super().__init__()
        self.pixels = nn.Linear(3 * SIDE**2, 1)
        self.alone = nn.Linear(3 * SIDE**2, 1) if heads == 2 else None
        self.caption = nn.Linear(DIM, 1)
        self.curved, self.seen = curved, Seen()

    def forward(self, *batches: tuple[Tensor, Sequence[Tensor]]) -> list[list[Tensor]]:
        found = []
        for pixels, captions in batches:
            self.seen.append((pixels.detach().clone(), [caption.clone() for caption in captions]))
            flat = pixels.flatten(1).square() / 2 if self.curved else pixels.flatten(1)
            logits = [(self.pixels(flat) + self.caption(caption)).squeeze(1) for caption in captions]
            found.append(logits if self.alone is None else [*logits, self.alone(flat).squeeze(1)])
        return found


class Painter(nn.Module):
    """Noise and caption to pixels by one layer; a picture costs the square of its first caption number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(NOISE + DIM, 3 * SIDE**2)

    def forward(self, noise: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        flat = self.layer(torch.cat([noise, condition], dim=1)).tanh()
        return flat.unflatten(1, (3, SIDE, SIDE)), (condition[:, 0] * self.layer.bias[0]).square()


def real(rows: int = ROWS, seed: int = 0) -> Images:
    random = torch.Generator().manual_seed(seed)
    captions = torch.randn(rows, 3, DIM, generator=random)
    return Images(torch.rand(rows, 3, SIDE, SIDE, generator=random) * 2 - 1, captions[:, 0], captions[:, 1:])


def game(
    engine: Engine,
    discriminator: DiscriminatorConfig = PLAIN,
    adversarial: AdversarialConfig = GAME,
    generator: PictureGeneratorConfig = AVERAGED,
    accumulate: int = 1,
    network: Callable[[], nn.Module] = Painter,
    critic: Callable[[], nn.Module] = Critic,
    name: str = "",
    lr: float = 1e-2,
) -> Game:
    """Always the same initial weights."""
    torch.manual_seed(1)
    config = OptimizerConfig(lr=lr, betas=(0.5, 0.99), clip=0.0, accumulate=accumulate)
    generator = replace(generator, noise=NOISE)
    adversarial = replace(adversarial, batch_size=ROWS)
    return Game(engine, name, network(), critic(), generator, discriminator, adversarial, (config, config))


def gradients(learner: Learner, update: Callable[[], Any]) -> list[Tensor]:
    """What the optimiser gets, instead of a step."""
    found: list[Tensor] = []

    def capture() -> None:
        found.extend(torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in learner.parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner.optimizer, "step", capture)
        update()
    return found


def expected(learner: Learner, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, learner.parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(learner.parameters, found, strict=True)]


def close(one: list[Tensor], other: list[Tensor]) -> None:
    assert max(gradient.abs().max().item() for gradient in other) > 1e-3, "there is a gradient to compare"
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


# -- the discriminator --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mismatched", [0.5, 0.2, 0.0])
@pytest.mark.parametrize("smoothing", [1.0, 0.9])
def test_loss_of_matching_aware_comparisons(engine: Engine, mismatched: float, smoothing: float) -> None:
    """GAN-CLS: 1 of real and fitting, the shares of made and of mismatched; against binary cross entropy."""
    found = game(engine, replace(PLAIN, mismatched=mismatched, smoothing=smoothing))
    batch, learner = real(), found.discriminator.learner
    fake = found.generator.sample(real(seed=5))
    critic: Any = learner.network
    ((fitting, *some),) = critic((batch.pixels, [batch.condition, *batch.wrong.unbind(1)]))
    wrong = torch.cat(some)
    ((made,),) = critic((fake.pixels.detach(), [fake.condition]))

    def entropy(logits: Tensor, target: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    loss = entropy(fitting, smoothing) + (1 - mismatched) * entropy(made, 0) + mismatched * entropy(wrong, 0)
    metrics: dict[str, float] = {}
    got = gradients(learner, lambda: metrics.update(found.discriminator.update(batch, fake)))
    close(got, expected(learner, loss))
    assert metrics["discriminator_loss"] == pytest.approx(loss.item(), rel=1e-5)
    right = ((fitting > 0).float().mean() + (made <= 0).float().mean()).item() / 2
    assert metrics["discriminator_accuracy"] == pytest.approx(right)
    assert ("discriminator_mismatched" in metrics) == (mismatched > 0)


@pytest.mark.parametrize("mismatched", [0.5, 0.0])
def test_loss_with_a_logit_of_the_picture_alone(engine: Engine, mismatched: float) -> None:
    """StackGAN's stage II: halves of the two real terms; thirds of made, alone and mismatched ones, or halves."""
    found = game(engine, replace(PLAIN, mismatched=mismatched), critic=lambda: Critic(heads=2))
    batch, learner = real(), found.discriminator.learner
    fake = found.generator.sample(real(seed=5))
    critic: Any = learner.network
    ((fitting, *some, alone),) = critic((batch.pixels, [batch.condition, *batch.wrong.unbind(1)]))
    wrong = torch.cat(some)
    ((made, made_alone),) = critic((fake.pixels.detach(), [fake.condition]))
    others = [made, made_alone] + ([wrong] if mismatched else [])
    loss = (F.softplus(-fitting).mean() + F.softplus(-alone).mean()) / 2
    loss = loss + sum(F.softplus(logits).mean() for logits in others) / len(others)
    close(gradients(learner, lambda: found.discriminator.update(batch, fake)), expected(learner, loss))
    # the generator's reward is the sum over both
    players = found.generator
    again = players.sample(batch)
    ((one, two),) = critic((again.pixels, [again.condition]))
    reward = (F.logsigmoid(one) + F.logsigmoid(two)).mean()
    wanted = expected(players.learner, -reward)
    again = players._make(again.noise, again.condition)
    close(gradients(players.learner, lambda: players.update(batch, again, found.discriminator.score)), wanted)


def test_real_pictures_are_never_shown_with_captions_in_between(engine: Engine) -> None:
    """Under interpolation the critic sees real pictures with the batch's own captions or wrong ones, and no others."""
    adversarial = AdversarialConfig(interpolation=1.0)
    found = game(engine, replace(PLAIN, gradient_square=1.0, penalty=1.0), adversarial)
    critic: Any = found.discriminator.learner.network
    batch = real()
    fake = found.generator.sample(batch)
    assert size(fake) == ROWS + ROWS // 2
    critic.seen.clear()
    found.discriminator.update(batch, fake)
    shown = [(pixels, captions) for pixels, captions in critic.seen if torch.equal(pixels, batch.pixels)]
    assert len(shown) == 2, "in the comparison, and by R1"
    for _, captions in shown:
        known = [batch.condition, *batch.wrong.unbind(1)]
        assert all(any(torch.equal(c, each) for each in known) for c in captions)
    made = [captions for pixels, captions in critic.seen if len(pixels) == ROWS + ROWS // 2]
    assert [torch.equal(captions[0], fake.condition) for captions in made] == [True]


@pytest.mark.parametrize("heads", [1, 2])
def test_regularisers_of_a_linear_critic(engine: Engine, heads: int) -> None:
    """Its gradient is its weight everywhere: R1 is gamma / 2 |w|^2, WGAN-GP weight (|w| - 1)^2; two heads' sum."""
    kinds = {"r1": (3.0, 0.0), "gp": (0.0, 7.0), "both": (3.0, 7.0)}
    batch, losses = real(), {}
    for kind, (square, penalty) in {"none": (0.0, 0.0), **kinds}.items():
        config = replace(PLAIN, gradient_square=square, penalty=penalty)
        found = game(engine, config, AdversarialConfig(interpolation=0.5), critic=lambda: Critic(heads), name=kind)
        critic: Any = found.discriminator.learner.network
        with torch.no_grad():
            critic.pixels.weight.mul_(20)
        weight = critic.pixels.weight + (critic.alone.weight if heads == 2 else 0)
        norm = weight.detach().norm().item()
        torch.manual_seed(2)
        losses[kind] = found.discriminator.update(batch, found.generator.sample(batch))["discriminator_loss"]
    assert norm > 2
    assert losses["r1"] - losses["none"] == pytest.approx(1.5 * norm**2, rel=1e-4)
    assert losses["gp"] - losses["none"] == pytest.approx(7 * (norm - 1) ** 2, rel=1e-4)
    assert losses["both"] - losses["none"] == pytest.approx(1.5 * norm**2 + 7 * (norm - 1) ** 2, rel=1e-4)


def test_r1_looks_at_real_pictures(engine: Engine) -> None:
    """A curved critic's gradient at x is w x: the penalty is that of the real ones, or of a share of them."""
    batch = real()
    for share, rows in ((1.0, ROWS), (0.4, 4)):
        config = replace(PLAIN, gradient_square=2.0, penalised=share)
        found = game(engine, config, critic=lambda: Critic(curved=True), name=f"share {share}")
        critic: Any = found.discriminator.learner.network
        value = found.discriminator.regulariser(critic, batch, found.generator.sample(batch))  # type: ignore[misc]
        at = critic.pixels.weight * batch.pixels.flatten(1)[:rows]
        torch.testing.assert_close(value, at.square().sum(1).mean())


def test_accumulated_discriminator_gradients_equal_the_batch_s(engine: Engine) -> None:
    """In two or three parts, the made pictures under captions in between included."""
    adversarial, config = AdversarialConfig(interpolation=1.0), replace(PLAIN, gradient_square=1.0)
    batch, found = real(), []
    for parts in (1, 2, 4):
        one = game(engine, config, adversarial, accumulate=parts, name=f"{parts}", network=Painter)
        fake = Images(*(t[: ROWS + ROWS // 2] for t in vars(real(ROWS * 2, 7)).values()))
        found.append(gradients(one.discriminator.learner, lambda: one.discriminator.update(batch, fake)))  # noqa: B023
    close(found[1], found[0])
    close(found[2], found[0])


@pytest.mark.parametrize(("norm", "statistics"), [("batch", True), ("none", False)])
def test_a_critic_scores_as_the_papers_do(engine: Engine, norm: Any, statistics: bool) -> None:
    """With batch normalisation by the statistics of what is scored; without it, in evaluation."""
    found = game(engine, critic=lambda: PictureDiscriminator(SIDE, DIM, 4, text=4, norm=norm))
    batch = real()
    alone = found.discriminator.score(batch)
    critic: Any = found.discriminator.learner.network
    assert critic.training == statistics
    torch.testing.assert_close(alone, critic.train(statistics)((batch.pixels, [batch.condition]))[0][0])
    half = found.discriminator.score(Images(batch.pixels[:4], batch.condition[:4]))
    assert torch.allclose(half, alone[:4]) != statistics


# -- the generator ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_generator_s_gradient_is_that_of_its_reward(engine: Engine, objective: Any, weight: float) -> None:
    """-E reward of the batch - weight * E reward under captions in between, through pictures; by hand."""
    found = game(engine, replace(PLAIN, objective=objective), AdversarialConfig(interpolation=weight, beta=0.3))
    batch, player = real(), found.generator
    fake = player.sample(batch)
    critic: Any = found.discriminator.learner.network
    rows = torch.cat([batch.condition, 0.3 * batch.condition[:4] + 0.7 * batch.condition[4:]])
    assert torch.allclose(fake.condition, rows if weight else batch.condition)
    pixels, _ = player.learner.network(fake.noise, fake.condition)
    ((logits,),) = critic((pixels, [fake.condition]))
    reward = {
        "seqgan": torch.sigmoid, "minimax": lambda x: -torch.log(1 - torch.sigmoid(x)), "airl": lambda x: x,
        "non_saturating": lambda x: torch.log(torch.sigmoid(x)), "wasserstein": lambda x: x, "hinge": lambda x: x,
        "least_squares": lambda x: -((x - 1) ** 2) / 2,
    }[objective.__name__](logits)  # fmt: skip
    value = reward[:ROWS].mean() + (weight * reward[ROWS:].mean() if weight else 0)
    wanted = expected(player.learner, -value)
    metrics: dict[str, float] = {}
    score = found.discriminator.score
    close(gradients(player.learner, lambda: metrics.update(player.update(batch, fake, score))), wanted)
    assert metrics["reward"] == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("beta", [0.5, 0.2, 1.0, 0.0])
def test_captions_in_between(beta: float) -> None:
    """Each of the first half of a batch with one of the second half; what has no partner is left out."""
    condition = torch.randn(7, DIM)
    found = between(condition, beta)
    assert found.shape == (3, DIM)
    for i in range(3):
        torch.testing.assert_close(found[i], torch.lerp(condition[3 + i], condition[i], beta))


@pytest.mark.parametrize("augmentation", [True, False])
def test_what_drawing_a_caption_costs_is_added(engine: Engine, augmentation: bool) -> None:
    """Its mean over the batch times its weight, with its gradient; nothing without augmentation."""
    generator = PictureGeneratorConfig(augmentation=augmentation, divergence=3.0)
    found = game(engine, generator=generator, adversarial=AdversarialConfig(discriminator_weight=0.0))
    batch, player = real(), found.generator
    fake = player.sample(batch)
    pixels, cost = player.learner.network(fake.noise, fake.condition)
    wanted = expected(player.learner, 3 * cost.mean() + 0 * pixels.sum())
    got = gradients(player.learner, lambda: player.update(batch, fake, found.discriminator.score))
    if augmentation:
        assert max(gradient.abs().max() for gradient in wanted) > 1e-4
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other)
    else:
        assert all(gradient.eq(0).all() for gradient in got)


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulated_gradients_equal_the_batch_s(engine: Engine, parts: int) -> None:
    """Pictures are made again, part by part, from the noise that they were made of; with unequal parts, too."""
    adversarial = AdversarialConfig(interpolation=0.5, rewards=[PictureReward(bright, 0.5)])
    config, found = PictureGeneratorConfig(augmentation=True), []
    batch = real()
    for count in (1, parts):
        one = game(engine, PLAIN, adversarial, config, accumulate=count, name=f"{count}")
        torch.manual_seed(4)
        fake = one.generator.sample(batch)
        assert fake.pixels.requires_grad == (count == 1)
        score = one.discriminator.score
        found.append(gradients(one.generator.learner, lambda: one.generator.update(batch, fake, score)))  # noqa: B023
    close(found[1], found[0])


def test_no_gradient_reaches_the_other_player(engine: Engine) -> None:
    """After each update, the other's weights are as before and hold no gradient; its own have moved."""
    found = game(engine, replace(PLAIN, gradient_square=1.0), AdversarialConfig(interpolation=0.5))
    learners = found.generator.learner, found.discriminator.learner
    batch = real()

    def moved(update: Callable[[], Any]) -> list[bool]:
        before = [[p.clone() for p in learner.parameters] for learner in learners]
        update()
        assert all(p.grad is None for learner in learners for p in learner.parameters)
        return [
            not all(map(torch.equal, learner.parameters, old)) for learner, old in zip(learners, before, strict=True)
        ]

    fake = found.generator.sample(batch)
    assert moved(lambda: found.generator.update(batch, fake, found.discriminator.score)) == [True, False]
    assert moved(lambda: found.discriminator.update(batch, found.generator.sample(batch))) == [False, True]


@pytest.mark.parametrize("fresh", [False, True])
def test_which_pictures_a_discriminator_sees(engine: Engine, fresh: bool) -> None:
    """Those that the generator has just learnt from, bit for bit; with `fresh`, others that it made after its step."""
    found = game(engine, adversarial=AdversarialConfig(fresh=fresh))
    assert (found.replay is None) == fresh
    learnt, shown = [], []
    update, judge = found.generator.update, found.discriminator.update

    def watch(real: Images, fake: Images, score: Any) -> Any:
        learnt.append(fake.pixels.detach().clone())
        return update(real, fake, score)

    def see(real: Images, fake: Images) -> Any:
        assert not fake.pixels.requires_grad
        shown.append(fake.pixels.clone())
        made, _ = found.generator.learner.network(fake.noise, fake.condition)
        assert torch.equal(made, fake.pixels) == fresh, "made by the weights before or after the generator's step"
        return judge(real, fake)

    found.generator.update = watch  # type: ignore[method-assign]
    found.discriminator.update = see  # type: ignore[method-assign,assignment]
    engine.restore()
    source = toy()
    play(engine, "game", 3, found.generator, found.discriminator, source, Turns(), [], found.replay)
    assert [torch.equal(a, b) for a, b in zip(learnt, shown, strict=True)] == [not fresh] * 3


# -- rewards of users ---------------------------------------------------------------------------------------------


def bright(made: Tensor) -> Tensor:
    return made.mean((1, 2, 3))


def like_caption(made: Tensor, condition: Tensor) -> Tensor:
    return made[:, :, 0, 0].sum(1) * condition[:, 1]


def test_rewards_of_users_are_added_by_weight(engine: Engine) -> None:
    """Beside the discriminator's by its own weight; a function that takes the captions' embeddings is given them."""
    rewards = [PictureReward(bright, 2.0), PictureReward(like_caption, -0.5)]
    found = game(engine, adversarial=AdversarialConfig(rewards=rewards, discriminator_weight=0.25))
    batch, player = real(), found.generator
    fake = player.sample(batch)
    critic: Any = found.discriminator.learner.network
    pixels, _ = player.learner.network(fake.noise, fake.condition)
    ((logits,),) = critic((pixels, [fake.condition]))
    value = 0.25 * F.logsigmoid(logits) + 2 * bright(pixels) - 0.5 * like_caption(pixels, batch.condition)
    wanted = expected(player.learner, -value.mean())
    close(gradients(player.learner, lambda: player.update(batch, fake, found.discriminator.score)), wanted)


def counts(made: Tensor) -> Tensor:
    return (made > 0).float().mean((1, 2, 3))


def detached(made: Tensor) -> Tensor:
    return made.detach().mean((1, 2, 3))


def one_number(made: Tensor) -> Tensor:
    return made.mean()


def too_many(made: Tensor) -> Tensor:
    return made.mean((2, 3))


def numbers(made: Tensor) -> list[float]:
    return made.mean((1, 2, 3)).tolist()


def raises(made: Tensor) -> Tensor:
    return made @ torch.zeros(99, 99)


def not_a_number(made: Tensor) -> Tensor:
    return made.mean((1, 2, 3)) / 0 * 0


def needs_more(made: Tensor, scenes: Any) -> Tensor:
    return made.mean((1, 2, 3))


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (counts, "does not depend on the pixels"),
        (detached, "does not depend on the pixels"),
        (one_number, r"returned the shape \(\) for 8 pictures: return a tensor of the shape \(8,\)"),
        (too_many, r"returned the shape \(8, 3\) for 8 pictures"),
        (numbers, "returned list for 8 pictures"),
        (raises, r"raised RuntimeError: .* \(.*, line \d+\); it is called with \(pixels\) and condition"),
        (not_a_number, "not finite"),
        (needs_more, "raised TypeError: .*scenes"),
    ],
)
def test_what_users_are_told_of_a_reward(engine: Engine, function: Callable[..., Any], told: str) -> None:
    """One line that names the function and what is wrong; nothing has been learnt from it."""
    found = game(engine, adversarial=AdversarialConfig(rewards=[PictureReward(function)]))
    batch, player = real(), found.generator
    before = [p.clone() for p in player.learner.parameters]
    with pytest.raises(UserError, match=told) as error:
        player.update(batch, player.sample(batch), found.discriminator.score)
    assert f"test_picture_game.{function.__name__}" in str(error.value)
    assert "\n" not in str(error.value)
    assert all(map(torch.equal, player.learner.parameters, before))


@pytest.mark.parametrize("columns", [False, True])
def test_a_reward_may_call_its_pictures_pixels(engine: Engine, columns: bool) -> None:
    """As the documentation does, with or without **columns beside them."""

    def documented(pixels: Tensor) -> Tensor:
        return pixels.mean((1, 2, 3))

    def everything(pixels: Tensor, **columns: Any) -> Tensor:
        assert columns["condition"].shape == (ROWS, DIM)
        return documented(pixels)

    found = game(engine, adversarial=AdversarialConfig(rewards=[PictureReward(everything if columns else documented)]))
    batch = real()
    assert "reward" in found.generator.update(batch, found.generator.sample(batch), found.discriminator.score)


# -- differentiable augmentation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_augmentations_are_differentiable_and_by_picture(kind: Any) -> None:
    """The same shape, a gradient at most places, and other chances for each picture and each time."""
    torch.manual_seed(0)
    pixels = (torch.rand(1, 3, 16, 16) * 2 - 1).expand(64, -1, -1, -1).clone().requires_grad_()
    found = augmented(pixels, [kind])
    assert found.shape == pixels.shape
    (gradient,) = torch.autograd.grad(found.square().sum(), pixels)
    assert (gradient.abs().sum(1) > 0).float().mean() > 0.5
    assert len({tuple(row.flatten().tolist()) for row in found.detach()}) > 18
    assert not torch.equal(augmented(pixels, [kind]), found)


def test_no_augmentation_is_nothing() -> None:
    """The tensor itself, even where it is not a picture."""
    pixels = torch.randn(2, 3, 8, 8) * 9
    assert augmented(pixels, []) is pixels


def test_translation_moves_pixels() -> None:
    """By at most an eighth of the side in each direction, all of which come up; what comes in is the edge's."""
    torch.manual_seed(0)
    picture = (
        torch.arange(256.0).view(1, 1, 16, 16).expand(400, 3, -1, -1) + torch.tensor([0.0, 0.2, 0.4])[:, None, None]
    )
    found = translation(picture)
    moves = set()
    padded = F.pad(picture[:1], (2, 2, 2, 2), mode="replicate")[0]
    windows = {(i - 2, j - 2): padded[:, i : i + 16, j : j + 16] for i in range(5) for j in range(5)}
    for row in found:
        (move,) = [move for move, window in windows.items() if torch.equal(window, row)]
        moves.add(move)
    assert moves == windows.keys()


def test_cutout_hides_a_square() -> None:
    """Half the side where it lies inside, less at the edges, 0 within and untouched without; it gets everywhere."""
    torch.manual_seed(0)
    picture = torch.rand(600, 3, 8, 8) + 1
    found = cutout(picture)
    hidden = (found == 0).all(1)
    assert torch.equal(found[~hidden.unsqueeze(1).expand_as(found)], picture[~hidden.unsqueeze(1).expand_as(found)])
    for mask in hidden:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None, :])
        assert 2 <= rows.sum() <= 4
        assert 2 <= columns.sum() <= 4
    areas = hidden.sum((1, 2))
    assert areas.max() == 16
    assert areas.float().mean() > 10
    assert hidden.float().mean(0).min() > 0.05


def test_colours_change_within_their_bounds() -> None:
    """A grey picture stays grey and moves by at most 1/2; a coloured one keeps its hue, up to no saturation at all."""
    torch.manual_seed(0)
    grey = torch.full((500, 3, 4, 4), 0.1)
    found = colour(grey)
    assert (found - found.mean(1, keepdim=True)).abs().max() < 1e-6
    moved = (found - grey)[:, 0, 0, 0]
    assert moved.abs().max() <= 0.5 + 1e-6
    assert (moved.min() < -0.45, moved.max() > 0.45) == (True, True)
    red = torch.tensor([0.8, -0.4, -0.4])[:, None, None].expand(500, 3, 4, 4)
    offsets = colour(red)[:, :, 0, 0]
    offsets = offsets - offsets.mean(1, keepdim=True)
    shares = offsets[:, 0] / 0.8
    torch.testing.assert_close(offsets, shares[:, None] * torch.tensor([0.8, -0.4, -0.4]), rtol=1e-4, atol=1e-5)
    assert shares.min() >= -1e-6
    assert shares.max() <= 3.0
    assert abs(shares.mean().item() - 1) < 0.15


def test_both_kinds_of_pictures_are_augmented(engine: Engine) -> None:
    """A discriminator never sees a picture as it is: not real ones, not made ones, nor a generator's reward."""
    found = game(engine, replace(PLAIN, augmentations=["colour", "translation", "cutout"]))
    critic: Any = found.discriminator.learner.network
    batch = real()
    fake = found.generator.sample(batch)
    found.discriminator.update(batch, fake)
    found.discriminator.score(fake)
    assert len(critic.seen) == 3
    for pixels, _ in critic.seen:
        assert pixels.shape == batch.pixels.shape
        assert (pixels == 0).float().mean() > 0.05, "cut out"
        for whole in (batch.pixels, fake.pixels):
            assert not (pixels == whole).flatten(1).all(1).any()
    (score,) = [found.discriminator.score(fake)]
    assert torch.autograd.grad(score.sum(), fake.pixels)[0].abs().sum() > 0


# -- whole games --------------------------------------------------------------------------------------------------


def toy(count: int = 64, side: int = SIDE, dim: int = DIM, seed: int = 0) -> PictureBatches:
    """Red and blue pictures, each a little off, with the captions "red" and "blue"."""
    random = np.random.default_rng(0)
    colours = np.array([[220, 40, 40], [40, 40, 220]])[np.arange(count) % 2]
    pixels = np.clip(colours[:, :, None, None] + random.integers(-20, 20, (count, 3, side, side)), 0, 255)
    data = captioned(
        torch.from_numpy(pixels.astype(np.uint8)), [["red", "blue"][i % 2 : i % 2 + 1] for i in range(count)]
    )
    return PictureBatches(data, torch.eye(2, dim), side, seed, name="two colours")


def painter(**options: Any) -> PictureGenerator:
    sizes = {"condition": DIM, "noise": NOISE, "side": SIDE, "width": 8, "text": 4}
    return PictureGenerator(PictureConfig(**(sizes | options)))


def test_a_resumed_optimiser_makes_the_same_step(tmp_path: Path) -> None:
    """Of convolutions too: the third step after two, a checkpoint and a restore is that of a run without them."""
    batches = [toy().take(ROWS), toy(seed=1).take(ROWS)]

    def run(folder: str, resume: bool, steps: int, save: bool) -> list[Tensor]:
        config = RunConfig(folder=str(tmp_path / folder), device="cpu", threads=1)
        with Engine(config, "test", resume=resume) as engine:
            found = game(engine, network=painter, generator=PictureGeneratorConfig(average=0.0))
            engine.restore()
            learner = found.generator.learner

            def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
                noise = torch.linspace(-1, 1, ROWS * NOISE).view(ROWS, NOISE)
                pixels, _ = learner.module(noise, batches[0].condition)
                return F.mse_loss(pixels, batches[1].pixels), {}

            for _ in engine.steps("steps", steps):
                engine.update(learner, loss, ROWS)
            if save:
                engine.save()
            return [parameter.detach().clone() for parameter in learner.parameters]

    whole = run("whole", False, 3, False)
    run("resumed", False, 2, True)
    resumed = run("resumed", True, 3, False)
    assert all(map(torch.equal, whole, resumed)), max((a - b).abs().max() for a, b in zip(whole, resumed, strict=True))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_can_be_played(engine: Engine, objective: Any) -> None:
    """Some rounds with finite numbers, both players moving."""
    found = game(
        engine,
        DiscriminatorConfig(objective=objective, gradient_square=0.1),
        AdversarialConfig(interpolation=0.5),
        network=painter,
        critic=lambda: PictureDiscriminator(SIDE, DIM, 4, text=4, norm="none"),
        lr=1e-3,
    )
    engine.restore()
    before = [p.clone() for p in (*found.network.parameters(), *found.discriminator.learner.parameters)]
    logged: list[dict[str, float]] = []
    log = engine.log
    engine.log = lambda metrics, samples=0: (logged.append(metrics), log(metrics, samples))[1]  # type: ignore[assignment,func-returns-value]
    play(engine, "game", 4, found.generator, found.discriminator, toy(), Turns(1, 2), found.follow(), found.replay)
    assert len(logged) == 4 * 4, "the average logs nothing"
    assert all(np.isfinite(list(metrics.values())).all() for metrics in logged)
    after = [*found.network.parameters(), *found.discriminator.learner.parameters]
    assert not any(map(torch.equal, before, after))


@pytest.mark.parametrize(
    ("critic", "discriminator", "adversarial", "generator"),
    [
        ({"unconditional": True, "join": 3}, {"mismatched": 0.0}, {"fresh": True}, {"augmentation": True}),
        ({"norm": "group", "attention": 4}, {"augmentations": ["colour"]}, {"interpolation": 1.0}, {"average": 0.0}),
        ({"spectral": True, "norm": "none"}, {"penalty": 10.0, "objective": objectives.wasserstein}, {}, {}),
        ({"norm": "batch"}, {"smoothing": 0.9, "mismatched": 1.0, "gradient_square": 0.1}, {}, {"synchronised": True}),
    ],
)
def test_combinations_can_be_played(
    engine: Engine,
    critic: dict[str, Any],
    discriminator: dict[str, Any],
    adversarial: dict[str, Any],
    generator: dict[str, Any],
) -> None:
    """Options that meet nowhere else, some rounds with parts of batches, with an evaluation in between."""
    found = game(
        engine,
        DiscriminatorConfig(**discriminator),
        AdversarialConfig(**adversarial),
        PictureGeneratorConfig(**generator),
        accumulate=2,
        network=lambda: painter(augmentation=generator.get("augmentation", False), upsampling="nearest"),
        critic=lambda: PictureDiscriminator(SIDE, DIM, 4, text=4, **critic),
        lr=1e-3,
    )
    engine.restore()
    for rounds in (2, 4):
        play(
            engine,
            "game",
            rounds,
            found.generator,
            found.discriminator,
            toy(),
            Turns(2, 2),
            found.follow(),
            found.replay,
        )
        pictures = make(found.shown, torch.eye(2, DIM))
        assert pictures.shape == (2, 3, SIDE, SIDE)
    assert found.network.state_dict().keys() == found.shown.state_dict().keys()


def test_evaluated_pictures_are_of_the_average_and_of_no_batch(engine: Engine) -> None:
    """`shown` follows and is no player; a picture depends on its own noise and caption alone, and training goes on."""
    found = game(engine, network=painter, generator=PictureGeneratorConfig(average=0.9))
    batch = toy().take(ROWS)
    assert found.shown is not found.network
    (hook,) = found.follow()
    for _ in range(3):
        found.generator.update(batch, found.generator.sample(batch), found.discriminator.score)
        hook.run("game", 1)
    weights = list(found.shown.parameters())
    assert not any(map(torch.equal, weights, found.network.parameters()))
    assert not any(any(p is q for q in found.generator.learner.parameters) for p in weights)
    noise, condition = torch.randn(150, NOISE), torch.randn(150, DIM)
    for network in (found.shown, found.network):
        whole = make(network, condition, noise)
        assert torch.equal(whole[:2], make(network, condition[:2], noise[:2]))
        assert torch.equal(whole[149:], make(network, condition[149:], noise[149:]))
    assert game(engine, generator=PictureGeneratorConfig(average=0.0), name="other").shown is not None


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_training_goes_on_after_an_evaluation(engine: Engine, average: float) -> None:
    """Batch normalisation takes the batch's statistics again, also where what was evaluated is what learns."""
    found = game(engine, network=painter, generator=PictureGeneratorConfig(average=average))
    make(found.shown, torch.eye(2, DIM))
    batch = toy().take(ROWS)
    before = [buffer.clone() for buffer in found.network.buffers()]
    found.generator.sample(batch)
    assert found.network.training
    assert not any(map(torch.equal, before, found.network.buffers()))


def test_style_is_the_noise(engine: Engine) -> None:
    """The loss is the mean square of what an encoder misses of the noise: 0 for the right answer, 1 for none."""
    network = painter().eval()
    batch = toy().take(ROWS)
    torch.manual_seed(3)
    noise = torch.randn(ROWS, NOISE)

    class Answer(nn.Module):
        def __init__(self, answer: Tensor) -> None:
            super().__init__()
            self.answer = answer

        def forward(self, pixels: Tensor) -> Tensor:
            with torch.no_grad():
                assert torch.equal(pixels, network(noise, batch.condition)[0])
            assert not pixels.requires_grad
            return self.answer

    for answer in (noise, torch.zeros_like(noise), noise + 0.5):
        torch.manual_seed(3)
        value, _ = style_loss(network, Answer(answer), batch)
        torch.testing.assert_close(value, (answer - noise).square().mean())


@pytest.mark.learns
@pytest.mark.slow
def test_pictures_learn_their_captions(engine: Engine) -> None:
    """Of two colours, the one that is asked for: the mean colour comes close to the data's, from far away."""
    found = game(
        engine,
        replace(PLAIN, gradient_square=1.0),
        network=lambda: painter(side=16),
        critic=lambda: PictureDiscriminator(16, DIM, 8, text=4, norm="none"),
        lr=2e-3,
    )
    engine.restore()
    wanted = torch.tensor([[220.0, 40, 40], [40, 40, 220]])

    def error() -> float:
        torch.manual_seed(0)
        pictures = make(found.shown, torch.eye(2, DIM).repeat_interleave(32, 0)).float().mean((2, 3))
        return (pictures.view(2, 32, 3).mean(1) - wanted).abs().max().item()

    before = error()
    play(engine, "game", 400, found.generator, found.discriminator, toy(side=16), Turns(), found.follow(), found.replay)
    print(f"greatest error of a colour: {before:.0f}, then {error():.0f}")
    assert before > 60
    assert error() < 45, "a quarter of the way from one to the other"
