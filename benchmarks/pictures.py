"""The picture games against the straightforward PyTorch step, in one process, with steps taken in turns.

  OMP_NUM_THREADS=1 python benchmarks/pictures.py [--threads 1] [--repeats 3] [--only gan_cls stage_one ...] [--quick]

Straightforward: the same networks in float32, laid out as PyTorch does by itself; pictures made anew for each player's
update; a forward of the discriminator for each of its three kinds of pairs; gradients for all weights in both updates;
Adam as it comes. `undetached` also differentiates the generator in the discriminator's update, as a widely used
implementation of GAN-CLS does; `detached` does not; `shared` makes the pictures once and the features of the real ones
once, as StackGAN's authors do. They read tensors that lie ready, and log nothing; ours is `trainer.play` on
`PictureBatches`, with metrics, moving average and data, less the checkpoints, which are measured apart (one a minute).

Times are CPU seconds of a step; on a machine that does nothing else, wall seconds are CPU seconds divided by threads.
Prints lines `name ours baseline ratio`; a whole run (neither --only nor --quick) writes results/pictures.json.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.state import AcceleratorState
from measuring import machine
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.trainer import Turns, play
from seqgan_kit.images.config import AdversarialConfig, DiscriminatorConfig, PictureGeneratorConfig, SecondStageConfig
from seqgan_kit.images.data import PictureBatches, captioned
from seqgan_kit.images.players import Game
from seqgan_kit.networks.pictures.discriminator import PictureDiscriminator
from seqgan_kit.networks.pictures.generator import PictureConfig, PictureGenerator, StackedGenerator
from seqgan_kit.networks.pictures.upsampling import Doubled, Transposed

HERE = Path(__file__).parent
MARGIN, CAPTIONS = 0.1875, 4
Style = Literal["undetached", "detached", "shared"]
Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """Networks, pictures and batch of a comparison.

    condition: width of a caption's embedding. second: of StackGAN's second stage; its side 0 has none.
    """

    generator: PictureGeneratorConfig
    discriminator: DiscriminatorConfig
    batch: int = 64
    side: int = 64
    condition: int = 1024
    second: SecondStageConfig = field(default_factory=SecondStageConfig)

    @property
    def shown(self) -> int:
        return self.second.side or self.side

    def networks(self) -> tuple[Any, nn.Module]:
        """Untrained, always the same ones."""
        torch.manual_seed(0)
        made, second = self.generator, self.second
        config = PictureConfig(
            condition=self.condition, noise=made.noise, side=self.side, width=made.width, text=made.text,
            augmentation=made.augmentation, upsampling=made.upsampling, residual=made.residual,
            second_side=second.side, second_width=second.width, second_blocks=second.blocks,
        )  # fmt: skip
        network = StackedGenerator(config) if second.side else PictureGenerator(config)
        if isinstance(network, StackedGenerator):
            network.freeze(True)
        return network, self.discriminator.network(self.shown, self.condition)


ADAM = OptimizerConfig(lr=2e-4, betas=(0.5, 0.999), clip=0.0)


def players(
    generator: dict[str, Any], discriminator: dict[str, Any]
) -> tuple[PictureGeneratorConfig, DiscriminatorConfig]:
    """Those of the papers, whatever our defaults are."""
    made = PictureGeneratorConfig(
        noise=100, text=128, modulation=False, average=0.999, norm="batch", optimizer=ADAM, **generator
    )
    critic = partial(PictureDiscriminator, width=64, text=128, modulation=False, norm="batch", **discriminator)
    return made, DiscriminatorConfig(critic, wrong=1, near=0, gradient_square=0.0, penalty=0.0, optimizer=ADAM)


def gan_cls(width: int, residual: bool) -> Case:
    return Case(*players({"width": width, "residual": residual}, {"residual": residual, "join": 1}))


def stack(second: SecondStageConfig, batch: int) -> Case:
    generator = {"width": 128, "augmentation": True, "upsampling": "nearest", "residual": False}
    discriminator = {"residual": False, "join": 3, "unconditional": second.side > 0}
    return Case(*players(generator, discriminator), batch, second=second)


CASES = {
    "gan_cls": {"paper": gan_cls(128, True), "small": gan_cls(64, False)},
    "stage_one": {"paper": stack(SecondStageConfig(), 64)},
    "stage_two": {"paper": stack(SecondStageConfig(side=256, width=128, blocks=4), 4)},
}
STYLES: dict[str, tuple[Style, ...]] = {
    "gan_cls": ("undetached", "detached"),
    "stage_one": ("undetached", "shared"),
    "stage_two": ("undetached", "shared"),
}
SECTIONS = [*CASES, "convolutions", "data"]


def smaller(case: Case) -> Case:
    """Of the same structure, for a smoke run."""
    critic = case.discriminator.network
    assert isinstance(critic, partial)
    second = replace(case.second, side=32, width=8, blocks=1) if case.second.side else case.second
    return replace(
        case,
        generator=replace(case.generator, width=8),
        discriminator=replace(case.discriminator, network=partial(critic, width=8)),
        batch=4,
        side=16,
        condition=32,
        second=second,
    )


# -- the contestants ---------------------------------------------------------------------------------------------------


def contiguous(network: nn.Module) -> None:
    """Undoes channels_last, of weights, and of feature maps where they enter convolutions (that is 1 in 1000 of a
    step), and the quicker ways to double a side."""

    def plain(module: nn.Module, words: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(word.contiguous() for word in words)

    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()
    for module in network.modules():
        if isinstance(module, Doubled | Transposed):
            module.forward = module.plain  # type: ignore[method-assign]
    for name, module in network.named_modules():
        if name.split(".")[-1] in ("start", "encoder", "trunk"):
            module.register_forward_pre_hook(plain)


class Straightforward:
    """A D and a G step in plain PyTorch, as the head of this file says."""

    def __init__(self, case: Case, style: Style) -> None:
        self.case, self.style = case, style
        self.network, self.critic = case.networks()
        contiguous(self.network)
        contiguous(self.critic)
        own = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(own, lr=ADAM.lr, betas=ADAM.betas)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=ADAM.lr, betas=ADAM.betas)
        self.real = torch.rand(case.batch, 3, case.shown, case.shown) * 2 - 1
        self.right, self.wrong = torch.randn(2, case.batch, case.condition)

    def __call__(self) -> None:
        made = self._made()
        losses = self._critic_loss(made[0].detach() if self.style != "undetached" else made[0])
        self.critic_optimizer.zero_grad()
        losses.backward()
        self.critic_optimizer.step()
        fake, cost = made if self.style == "shared" else self._made()
        judged = self.critic((fake, [self.right]))[0]
        loss = sum((binary(logits, 1.0) for logits in judged), 2.0 * cost.mean())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.told = losses.item(), loss.item()

    def _made(self) -> tuple[Tensor, Tensor]:
        return self.network(torch.randn(self.case.batch, self.case.generator.noise), self.right)

    def _critic_loss(self, fake: Tensor) -> Tensor:
        critic, right, wrong = self.critic, self.right, self.wrong
        if self.style == "shared":
            real, mismatched, *alone = critic((self.real, [right, wrong]))[0]
        else:
            real, *alone = critic((self.real, [right]))[0]
            mismatched = critic((self.real, [wrong]))[0][0]
        found, *found_alone = critic((fake, [right]))[0]
        loss = binary(real, 1.0) + (binary(mismatched, 0.0) + binary(found, 0.0)) / 2
        for logits, value in [(alone, 1.0), (found_alone, 0.0)]:
            loss = sum((binary(one, value) for one in logits), loss)
        return loss


def binary(logits: Tensor, value: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, value))


class Ours:
    """The loop that `train images` runs; a call is one round of it."""

    def __init__(
        self, case: Case, precision: Precision, channels_last: bool, threads: int, runs: contextlib.ExitStack
    ) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)  # the contestants differ in precision
        folder = Path(runs.enter_context(tempfile.TemporaryDirectory())) / "run"
        config = RunConfig(str(folder), device="cpu", precision=precision, threads=threads)
        self.engine = runs.enter_context(Engine(config, "images"))
        network, critic = case.networks()
        if not channels_last:
            contiguous(network)
            contiguous(critic)
        self.batches = synthetic(case)
        adversarial = AdversarialConfig(batch_size=case.batch)
        optimizers = case.generator.optimizer, case.discriminator.optimizer
        self.game = Game(self.engine, "", network, critic, case.generator, case.discriminator, adversarial, optimizers)
        self.engine.keep("real", self.batches)
        self.engine.restore()
        self.engine.phases._save_or_stop = lambda *_: None  # type: ignore[method-assign]
        self.done = 0

    def __call__(self) -> None:
        self.done += 1
        with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):  # a progress bar for each call
            play(
                self.engine, "adversarial", self.done, self.game.generator, self.game.discriminator, self.batches,
                Turns(), self.game.follow(), self.game.replay,
            )  # fmt: skip


def synthetic(case: Case) -> PictureBatches:
    """Random pictures, larger than needed by the margin, with random embeddings of captions of their own."""
    pictures = max(2 * case.batch, 16)
    kept = round(case.shown * (1 + MARGIN))
    made = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (pictures, 3, kept, kept), dtype=torch.uint8, generator=made)
    data = captioned(pixels, [[f"{i} {j}" for j in range(CAPTIONS)] for i in range(pictures)])
    embeddings = torch.randn(len(data.captions), case.condition, generator=made)
    return PictureBatches(data, embeddings, case.shown, 0, flip=True)


# -- measuring ---------------------------------------------------------------------------------------------------------


@dataclass
class Times:
    """Of the steps of one contestant, in seconds; a step has `gflop` of convolutions and products."""

    gflop: float = 0.0
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def add(self, step: Callable[[], object]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)

    def told(self) -> dict[str, Any]:
        return {
            "cpu": statistics.median(self.cpu),
            "wall": statistics.median(self.wall),
            "cpu_least": min(self.cpu),
            "cpu_most": max(self.cpu),
            "steps": len(self.cpu),
            "gflop": self.gflop,
            "gflop_per_cpu_second": self.gflop / statistics.median(self.cpu),
        }


def in_turns(contestants: dict[str, Step], repeats: int) -> dict[str, Times]:
    """A warm-up step of each, whose work is counted, then `repeats` rounds of one step each, in turns."""
    found = {}
    for name, step in contestants.items():
        with FlopCounterMode(display=False) as counter:
            step()
        found[name] = Times(counter.get_total_flops() / 1e9)
    names = list(contestants)
    for i in range(repeats):
        first = i % len(names)  # every round begins with another one
        for name in names[first:] + names[:first]:
            found[name].add(contestants[name])
    return found


def compare(section: str, name: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds a step of all contestants, and the ratios of the baselines to ours."""
    layouts = (True, False) if section == "gan_cls" else (True,)
    with contextlib.ExitStack() as runs:
        runners = {
            (f"ours {precision}" if last else f"ours {precision} contiguous"): Ours(
                case, precision, last, options.threads, runs
            )
            for last, precision in itertools.product(layouts, PRECISIONS)
        }
        torch.set_num_threads(options.threads)
        plain: dict[str, Step] = {style: Straightforward(case, style) for style in STYLES[section]}
        contestants: dict[str, Step] = {**plain, **runners}
        times = in_turns(contestants, options.repeats)
        checkpoint = Times()
        checkpoint.add(runners["ours fp32"].engine.save)
    steps = {each: found.told() for each, found in times.items()}
    for each, found in steps.items():
        found["pictures_per_cpu_second"] = case.batch / found["cpu"]
        for style in plain if each not in plain else ():
            found[f"ratio_{style}"] = steps[style]["cpu"] / found["cpu"]
            print(f"{section}/{name} {each} {found['cpu']:.3f} {style} {steps[style]['cpu']:.3f} "
                  f"{found[f'ratio_{style}']:.2f}", flush=True)  # fmt: skip
    network, critic = case.networks()
    return {
        "batch": case.batch,
        "parameters": {
            "generator_trained": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "generator": sum(p.numel() for p in network.parameters()),
            "discriminator": sum(p.numel() for p in critic.parameters()),
        },
        "steps": steps,
        "checkpoint_seconds": checkpoint.wall[0],
    }


# -- what the convolutions allow ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A convolution, forward, or its gradient with respect to input and weight, of one shape."""

    inputs: tuple[int, ...]
    weight: tuple[int, ...]
    output: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    transposed: bool
    mask: tuple[bool, bool] | None  # of the gradient, to input and to weight; None is forward

    @property
    def kind(self) -> str:
        if self.mask is None:
            return "forward"
        return {(True, True): "both gradients", (True, False): "gradient of inputs"}.get(
            self.mask, "gradient of weights"
        )

    @property
    def gflop(self) -> float:
        places = self.inputs if self.transposed else self.output
        one = 2 * self.inputs[0] * torch.Size(self.weight).numel() * torch.Size(places[2:]).numel() / 1e9
        return one * (1 if self.mask is None else sum(self.mask))

    def ready(self, precision: Precision, channels_last: bool) -> Step:
        """The bare call on random tensors."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        x, weight, slope = (
            torch.randn(shape).to(kind).contiguous(memory_format=layout)
            for shape in (self.inputs, self.weight, self.output)
        )
        rest = (self.stride, self.padding, (1, 1), self.transposed, (0, 0), 1)
        if self.mask is None:
            return lambda: torch.ops.aten.convolution(x, weight, None, *rest)
        mask = [*self.mask, False]
        return lambda: torch.ops.aten.convolution_backward(slope, x, weight, None, *rest, mask)


class Recorder(TorchDispatchMode):
    """Counts the convolutions of what is run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[Call] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding, _, transposed = args[:7]
            self._count(x, weight, found, stride, padding, transposed, None)
        elif func is torch.ops.aten.convolution_backward.default:
            slope, x, weight, _, stride, padding, _, transposed = args[:8]
            self._count(x, weight, slope, stride, padding, transposed, tuple(args[-1][:2]))
        return found

    def _count(self, x: Tensor, weight: Tensor, output: Tensor, *rest: Any) -> None:
        stride, padding, transposed, mask = rest
        shapes = tuple(x.shape), tuple(weight.shape), tuple(output.shape)
        self.calls[Call(*shapes, tuple(stride), tuple(padding), transposed, mask)] += 1


KINDS: list[tuple[Precision, bool]] = [("fp32", False), ("fp32", True), ("bf16", False), ("bf16", True)]


def convolutions(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """The rate of the bare convolutions of a step of ours, by kind, and what the step makes of it."""
    with contextlib.ExitStack() as runs:
        runners = {kind: Ours(case, *kind, options.threads, runs) for kind in KINDS[1::2]}
        for player in runners.values():
            player()
        with Recorder() as recorder:
            runners["fp32", True]()
        bare: dict[Call, dict[str, float]] = {}
        for call in recorder.calls:
            bare[call] = {_title(*kind): bare_seconds(call.ready(*kind), options.repeats) for kind in KINDS}
        found: dict[str, Any] = {"rates": _rates(recorder.calls, bare), "calls": _calls(recorder.calls, bare)}
        found["matrices_gflop_per_cpu_second"] = {each: matrices(each, options) for each in ("fp32", "bf16")}
        for kind, player in runners.items():
            times = in_turns({"ours": player}, options.repeats)["ours"].told()
            alone = sum(count * bare[call][_title(*kind)] for call, count in recorder.calls.items())
            found[f"ours {kind[0]}"] = {
                "step_cpu": times["cpu"],
                "bare_convolutions_cpu": alone,
                "share_of_attainable": alone / times["cpu"],
                "shares": profile(player),
            }
    for each, rates in found["rates"].items():
        line = "  ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
        print(f"convolutions/{each}, GFLOP per CPU second:  {line}", flush=True)
    for kind in runners:
        told = found[f"ours {kind[0]}"]
        print(f"convolutions/step {kind[0]} {told['step_cpu']:.3f} bare {told['bare_convolutions_cpu']:.3f} "
              f"{told['share_of_attainable']:.2f}  "
              f"({', '.join(f'{k} {v:.1%}' for k, v in told['shares'].items())})", flush=True)  # fmt: skip
    return found


def _title(precision: Precision, channels_last: bool) -> str:
    return f"{precision} {'channels_last' if channels_last else 'contiguous'}"


def bare_seconds(step: Step, repeats: int) -> float:
    """CPU seconds of a call: the median of up to 3 runs, each of enough calls to last a few milliseconds."""
    begun = time.process_time()
    step()
    once = max(time.process_time() - begun, 1e-6)
    inner = max(1, min(50, round(0.005 / once)))
    times = Times()
    for _ in range(min(repeats, 3)):
        times.add(lambda: [step() for _ in range(inner)])
    return statistics.median(times.cpu) / inner


def matrices(precision: str, options: argparse.Namespace) -> float:
    """The rate of a product of two square matrices: what this processor can do at all."""
    side = 128 if options.quick else 2048
    a = torch.randn(side, side, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * side**3 / 1e9 / bare_seconds(lambda: a @ a, options.repeats)


def _rates(calls: Counter[Call], bare: dict[Call, dict[str, float]]) -> dict[str, dict[str, float]]:
    """GFLOP per CPU second of the step's convolutions, by what they compute."""
    found = {}
    for kind in sorted({call.kind for call in calls}):
        some = [(call, count) for call, count in calls.items() if call.kind == kind]
        work = sum(call.gflop * count for call, count in some)
        found[kind] = {
            name: work / sum(bare[call][name] * count for call, count in some) for name in (_title(*k) for k in KINDS)
        }
    return found


def _calls(calls: Counter[Call], bare: dict[Call, dict[str, float]]) -> list[dict[str, Any]]:
    """The calls that take most of our step in bf16, the dearest first."""
    order = sorted(calls, key=lambda call: -calls[call] * bare[call][_title("bf16", True)])[:15]
    return [
        {
            **{name: value for name, value in asdict(call).items() if name != "mask"},
            "kind": call.kind,
            "count": calls[call],
            "gflop": call.gflop,
            "gflop_per_cpu_second": {name: call.gflop / seconds for name, seconds in bare[call].items()},
        }
        for call in order
    ]


PARTS = {  # of a profile: words in the names of operators, the first that fit
    "convolution backward": ("convolution_backward",),
    "convolution forward": ("convolution", "conv_transpose", "conv2d"),
    "linear": ("addmm", "aten::mm", "mkldnn_linear", "aten::linear"),
    "batch norm": ("batch_norm",),
    "optimiser": ("_fused_adam", "Optimizer."),
    "moving average and norm": ("_foreach", "lerp", "linalg_vector_norm"),
    "copies and casts": ("copy_", "_to_copy", "contiguous", "aten::to", "clone", "aten::cat"),
    "rectifiers": ("relu", "threshold", "tanh"),
    "data": ("index",),
    "sums and fills": ("aten::add", "aten::sum", "fill_", "zero_"),
}


def profile(step: Step) -> dict[str, float]:
    """Shares of a step's wall time by kind of operator: of use on a machine that does nothing else."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step()
    spent: Counter[str] = Counter()
    for event in profiler.key_averages():
        part = next((k for k, words in PARTS.items() if any(word in event.key for word in words)), "everything else")
        spent[part] += event.self_cpu_time_total
    return {name: seconds / spent.total() for name, seconds in spent.most_common()}


# -- the data ----------------------------------------------------------------------------------------------------------


def data(case: Case, options: argparse.Namespace) -> dict[str, float]:
    """How fast batches come: cut out of a margin, mirrored, with mismatched captions."""
    batches = synthetic(case)
    seconds = bare_seconds(partial(batches.take, case.batch), 3)
    print(f"data/take {seconds * 1e3:.2f} ms a batch of {case.batch}: {case.batch / seconds:.0f} pictures a CPU second")
    return {"cpu": seconds, "batches_per_cpu_second": 1 / seconds, "pictures_per_cpu_second": case.batch / seconds}


# -- the record --------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="steps of each, after a first one")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--quick", action="store_true", help="tiny networks, two steps: does it run at all?")
    options = parser.parse_args()
    if options.quick:
        options.repeats = 2
    torch.set_num_threads(options.threads)
    begun = time.perf_counter()
    record: dict[str, Any] = {"machine": machine(options.threads)}
    cases = {
        section: {name: smaller(case) if options.quick else case for name, case in some.items()}
        for section, some in CASES.items()
    }
    for section in options.only:
        if section in CASES:
            record[section] = {name: compare(section, name, case, options) for name, case in cases[section].items()}
        elif section == "convolutions":
            record[section] = {name: convolutions(case, options) for name, case in cases["gan_cls"].items()}
        else:
            record[section] = {name: data(some["paper"], options) for name, some in cases.items()}
    record["machine"] |= {"load_after": os.getloadavg(), "seconds": time.perf_counter() - begun}
    if not options.quick and set(options.only) == set(SECTIONS):
        path = HERE / "results" / "pictures.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
