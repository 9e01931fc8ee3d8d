"""What test_images_processes.py runs in pairs: `two_painters.py steps OUT`, `two_painters.py train OUT WORDS...`.

Each process writes what it found to OUT/rank-R-of-N.safetensors or OUT/rank-R.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.images import train as images
from seqgan_kit.images.config import AdversarialConfig, DiscriminatorConfig, PictureGeneratorConfig
from seqgan_kit.images.data import PictureBatches
from seqgan_kit.images.evaluation import make
from seqgan_kit.images.players import Game
from seqgan_kit.networks.pictures.discriminator import PictureDiscriminator
from seqgan_kit.networks.pictures.generator import PictureConfig, PictureGenerator
from seqgan_kit.networks.synchronised import synchronised
from seqgan_kit.samples import Images, map_tensors

ROWS, SIDE, DIM, NOISE = 8, 8, 4, 3
WHOLE = {"gradient_square": 0.0, "penalised": 1.0}  # what a share of a batch would be is another matter
CASES: dict[str, dict[str, Any]] = {
    "none": {"norm": "none", "critic": {"gradient_square": 1.0}, "interpolation": 0.5},
    "spectral": {"norm": "none", "spectral": True},
    "group": {"norm": "group", "unconditional": True},
    "synchronised": {"norm": "batch", "synchronised": True},
    "synchronised, R1": {"norm": "batch", "synchronised": True, "critic": {"gradient_square": 10.0}},
    "batch": {"norm": "batch", "critic": {"gradient_square": 1.0}},
}
EXACT = [name for name in CASES if name != "batch"]  # what equals one process on the joined batch


def batch(seed: int) -> tuple[Images, Tensor]:
    """The joined batch, and the noise for its captions and for those in between."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand(ROWS, 3, SIDE, SIDE, generator=random) * 2 - 1
    captions = torch.randn(3, ROWS, DIM, generator=random)
    return Images(pixels, captions[0], captions[1:].transpose(0, 1)), torch.randn(
        ROWS + ROWS // 2, NOISE, generator=random
    )


def gradients(learner: Learner, name: str) -> list[tuple[str, Tensor]]:
    """Filled with what the learner's optimiser gets at its next steps."""
    found: list[tuple[str, Tensor]] = []
    step = learner.optimizer.step
    names = {parameter: key for key, parameter in learner.network.named_parameters()}

    def watched(*arguments: Any, **options: Any) -> Any:
        found.extend((f"{name} {names[p]}", p.grad.clone()) for p in learner.parameters if p.grad is not None)
        return step(*arguments, **options)

    learner.optimizer.step = watched  # type: ignore[method-assign]
    return found


def steps(engine: Engine, name: str) -> Iterator[tuple[str, Tensor]]:
    """Each player's gradients, and its weights and running statistics after two rounds, on this process's half."""
    case = CASES[name]
    torch.manual_seed(2)
    network = PictureGenerator(
        PictureConfig(DIM, NOISE, SIDE, 8, 4, upsampling="nearest", modulation=True, norm=case["norm"])
    )
    critic = PictureDiscriminator(
        SIDE, DIM, 8, text=4, norm=case["norm"], spectral=case.get("spectral", False),
        unconditional=case.get("unconditional", False),
    )  # fmt: skip
    for module in (*network.modules(), *critic.modules()):
        if isinstance(module, nn.Conv2d) and not case.get("spectral"):
            module.weight.data.mul_(5)  # so that there are gradients to compare
    config = OptimizerConfig(lr=1e-6, clip=0.0)  # Adam makes whole steps of rounding errors, too
    game = Game(
        engine, f"{name} ", network, critic,
        PictureGeneratorConfig(noise=NOISE, average=0.0, synchronised=case.get("synchronised", False)),
        DiscriminatorConfig(**(WHOLE | case.get("critic", {}))),
        AdversarialConfig(batch_size=ROWS, interpolation=case.get("interpolation", 0.0)), (config, config),
    )  # fmt: skip
    player, judge = game.generator, game.discriminator
    of_player, of_judge = gradients(player.learner, "generator"), gradients(judge.learner, "discriminator")
    trained: list[bool] = []
    mine = slice(engine.rank, None, engine.processes)
    for i in range(2):
        whole, noise = batch(i)
        real, drawn, condition = map_tensors(whole, lambda t: t[mine]), noise[:ROWS][mine], whole.condition[mine]
        if player.interpolate is not None:
            condition = torch.cat([condition, player.interpolate(condition)])
            drawn = torch.cat([drawn, noise[ROWS:][mine]])
        if engine.is_main:  # an evaluation, which only one process makes
            make(game.shown, torch.zeros(2, DIM), torch.zeros(2, NOISE))
        fake = player._make(drawn, condition)
        yield f"trained generator {i}", torch.tensor(float(network.training))
        player.update(real, fake, judge.score)
        hook = judge.learner.module.register_forward_pre_hook(lambda *_: trained.append(critic.training))
        judge.update(real, map_tensors(fake, torch.Tensor.detach))
        hook.remove()
        if i == 0:
            for key, gradient in (*of_player, *of_judge):
                yield f"gradient {key}", gradient
    yield "trained discriminator", torch.tensor(float(all(trained)))
    for which, part in (("generator", network), ("discriminator", critic)):
        for key, tensor in part.state_dict().items():
            yield f"{which} {key}", tensor.clone().float()


def normalisation(engine: Engine) -> Iterator[tuple[str, Tensor]]:
    """Synchronised batch normalisation alone: numbers, statistics, gradients; of far-off numbers, too."""
    random = torch.Generator().manual_seed(0)
    mine = slice(engine.rank, None, engine.processes)
    for name, mean in (("near", 0.5), ("far", 100.0)):
        x = torch.randn(ROWS, 3, 4, 4, generator=random) * torch.tensor([0.1, 1.0, 3.0])[:, None, None] + mean
        layer = nn.BatchNorm2d(3)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
            layer.bias.copy_(torch.tensor([0.1, 0.0, -0.3]))
        network = nn.Sequential(layer)
        synchronised(network)
        given = x[mine].clone().requires_grad_()
        found = network(given)
        (F.mse_loss(found, (x[mine] - mean).sin(), reduction="sum")).backward()
        yield f"{name} output", found.detach()
        yield f"{name} gradient of input", given.grad  # type: ignore[misc]
        for key, parameter in layer.named_parameters():
            yield f"{name} gradient of {key}", engine.sum(parameter.grad)  # type: ignore[arg-type]
        for key, tensor in layer.state_dict().items():
            yield f"{name} {key}", tensor.float()


def find_steps(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    processes = os.environ.get("WORLD_SIZE", "1")
    with Engine(RunConfig(folder=str(out / f"run-{processes}"), device="cpu", threads=1), "images") as engine:
        found = {f"normalisation {key}": value for key, value in normalisation(engine)}
        for name in CASES:
            try:
                found |= {f"{name}: {key}": value.contiguous() for key, value in steps(engine, name)}
            except RuntimeError as error:
                print(f"{name}: {error}", file=sys.stderr)
                found[f"{name}: failed"] = torch.ones(1)
        save_file(found, out / f"rank-{engine.rank}-of-{engine.processes}.safetensors")


def train(out: Path, words: list[str]) -> int:
    """The command line, with every process telling at the end what its networks are and what it had seen first."""
    original = images.ImagesTask.play
    seen: list[list[float]] = []
    take = PictureBatches.take

    def watched(self: PictureBatches, batch_size: int) -> Images:
        found = take(self, batch_size)
        seen.append(found.pixels.mean((1, 2, 3)).tolist())
        return found

    def play(task: images.ImagesTask) -> None:
        original(task)
        engine = task.engine
        networks = dict(engine.parts.networks)
        networks |= {name: kept.network for name, kept in engine.parts.copies.items() if name.endswith("average")}  # type: ignore[attr-defined]
        sums = {
            name: hashlib.sha256(
                b"".join(tensor.contiguous().numpy().tobytes() for tensor in network.state_dict().values())
            ).hexdigest()
            for name, network in networks.items()
        }
        (out / f"rank-{engine.rank}.json").write_text(json.dumps({"sums": sums, "seen": seen}))

    images.ImagesTask.play = play  # type: ignore[method-assign]
    PictureBatches.take = watched  # type: ignore[method-assign]
    from seqgan_kit.cli import main

    return main(words)


def main(words: list[str]) -> int:
    if words[0] == "train":
        return train(Path(words[1]), words[2:])
    find_steps(Path(words[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
