"""What benchmarks/gpu.py measures: how fast a device is, beside what it could do."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dialogue_peers as peers
import torch
from gpu_checks import PRECISIONS, Where, guarded, language, ready
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.players import Discriminator
from seqgan_kit.game.rewards import Reward
from seqgan_kit.networks.pictures.discriminator import PictureDiscriminator
from seqgan_kit.networks.pictures.generator import PictureConfig, PictureGenerator
from seqgan_kit.networks.policies.actor import Actor, ActorConfig
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.language_models import LanguageModel, Unprompted
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.samples import Replies, Tokens, sent, to
from seqgan_kit.tokens.credit import MonteCarlo, Terminal
from seqgan_kit.tokens.discriminator import call, scored_at_once
from seqgan_kit.tokens.policy import PolicyGradient, TokenPolicy, likelihood_loss
from seqgan_kit.tokens.rewards import Rewards

PEER = Path(__file__).with_name("dialogue_peers.py")


def seconds(function: Callable[[], object], device: torch.device, most: float = 6.0) -> float:
    """The median of up to 5 calls, of fewer where they take longer than `most` together; after one to warm up, which
    counts where it takes so long alone."""
    taken: list[float] = []
    while len(taken) < 6 and sum(taken) < most:
        ready(device)
        began = time.perf_counter()
        function()
        ready(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:] or taken)


def launches(function: Callable[[], object], device: torch.device) -> dict[str, int]:
    """Kernels and copies of a call, by torch's profiler."""
    if device.type != "cuda":
        return {}
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        function()
        ready(device)
    on_device = [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    copies = sum(name.startswith(("Memcpy", "Memset")) for name in on_device)
    waits = sum(event.name.startswith(("cudaStreamSync", "cudaDeviceSync")) for event in profile.events())
    return {"kernels": len(on_device) - copies, "copies": copies, "waits": waits}


def measured(function: Callable[[], object], where: Where, work: int, unit: str, reads: int = 0) -> dict[str, Any]:
    """Of a call that does so much work: its time, rate, launches, peak memory and the products' arithmetic.

    reads: bytes of weights that it has to read at least.
    """
    device = where.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with FlopCounterMode(display=False) as counter:
        function()
    taken = seconds(function, device)
    found: dict[str, Any] = {"seconds": taken, f"{unit}_per_second": work / taken, **launches(function, device)}
    found["tflop_per_second"] = counter.get_total_flops() / taken / 1e12
    if device.type == "cuda":
        found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return found | ({"gb_per_second": reads / taken / 1e9} if reads else {})


def limits(where: Where) -> dict[str, Any]:
    """What the device can do: products and copies, the best of some."""
    side, device = where.size(8192, 256), where.device
    found: dict[str, Any] = {}
    for name, kind, tf32 in (
        ("bf16", torch.bfloat16, True),
        ("tf32", torch.float32, True),
        ("fp32", torch.float32, False),
    ):
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        first, second = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
        found[f"{name}_tflop_per_second"] = 2 * side**3 / seconds(lambda a=first, b=second: a @ b, device) / 1e12
    torch.set_float32_matmul_precision("highest")
    much = torch.zeros(where.size(1 << 30, 1 << 20), dtype=torch.uint8, device=device)
    found["gb_per_second"] = 2 * len(much) / seconds(much.clone, device) / 1e9
    one = torch.zeros(1, device=device)
    found["launch_microseconds"] = seconds(lambda: [one.add_(1) for _ in range(1000)], device) * 1e3
    return found


# -- text --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def engine_on(where: Where, precision: str) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {"device": where.kind, "precision": precision, "threads": None}
        with Engine(RunConfig(f"{folder}/run", **given), "benchmark") as engine:
            yield engine


def in_each(where: Where, part: Callable[[Engine], Any]) -> dict[str, Any]:
    """What a part measures in each precision, by a new engine."""
    found: dict[str, Any] = {}
    for precision in PRECISIONS:
        with guarded(found, precision), engine_on(where, precision) as engine:
            found[precision] = part(engine)
    return found


def of_text(
    where: Where, make: Callable[[], tuple[Any, nn.Module]], real: Tokens, roll_outs: int, engine: Engine
) -> dict[str, Any]:
    """Likelihood, sampling, and a whole round with its credit. make: generator and discriminator."""
    rows, length = real.ids.shape
    network, judge = make()
    learner = engine.learner("generator", network, OptimizerConfig(lr=1e-4), dropout=False)
    rival = engine.learner("discriminator", judge, OptimizerConfig(lr=1e-4))
    objective, there = objectives.seqgan(), to(real, where.device)
    discriminator: Any = Discriminator(engine, rival, rows, objective, call)
    policy = TokenPolicy(
        engine=engine,
        learner=learner,
        batch_size=rows,
        length=length,
        end=None,
        rewards=Rewards(objective.reward, scored_at_once=scored_at_once(judge)),
        credit=MonteCarlo(network, length, None, roll_outs),
    )

    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())

    def game() -> None:
        policy.update(there, policy.sample(there), discriminator.score)
        discriminator.update(there, policy.sample(there))

    def step() -> None:
        engine.update(learner, lambda part: likelihood_loss(learner.module, there), rows)

    return {
        "likelihood": measured(step, where, rows * length, "tokens"),
        "sampling": measured(lambda: policy.sample(there), where, rows * length, "tokens", length * weights),
        "round": measured(game, where, rows, "texts"),
    }


def a_text(where: Where, vocabulary: int, rows: int, length: int) -> tuple[Tokens, Callable[[], nn.Module]]:
    """Real texts, and what makes a discriminator of them."""
    torch.manual_seed(0)
    ids = torch.randint(vocabulary, (rows, length))
    sizes: dict[str, Any] = {"windows": (1, 2), "filters": (4, 4)} if where.tiny else {}
    return Tokens(ids, torch.ones_like(ids, dtype=torch.bool)), lambda: TextCNN(vocabulary, **sizes)


def lstm(where: Where) -> dict[str, Any]:
    """The sizes of the SeqGAN paper."""
    vocabulary, length = where.size(5000, 20), where.size(20, 6)
    real, judge = a_text(where, vocabulary, where.size(64, 4), length)
    config = LSTMConfig(vocabulary=vocabulary, length=length)
    make = lambda: (LSTMGenerator(config), judge())  # noqa: E731
    return in_each(where, partial(of_text, where, make, real, where.size(16, 2)))


def gpt2(where: Where) -> dict[str, Any]:
    """GPT-2 of 6 layers, 256 wide, texts of 128 tokens."""
    vocabulary, length = where.size(5000, 20), where.size(128, 6)
    real, judge = a_text(where, vocabulary, where.size(16, 4), length)
    sizes = where.size(6, 1), where.size(256, 8), vocabulary, 2 * length
    make = lambda: (Unprompted(language("gpt2", *sizes), 0), judge())  # noqa: E731
    return in_each(where, partial(of_text, where, make, real, where.size(4, 2)))


# -- dialogue ----------------------------------------------------------------------------------------------------------


def dialogue(where: Where) -> dict[str, Any]:
    """A step of policy gradient by a plain function as reward, 4 replies to each of 8 prompts, with a model of the size
    of GPT-2 small; beside trl's RLOO, which computes the same, in bfloat16."""
    found = in_each(where, partial(_policy_gradient, where))
    with guarded(found, "trl"):
        found["trl"] = rloo(where, peers.PROMPTS * peers.REPLIES)
    return found


def _policy_gradient(where: Where, engine: Engine) -> dict[str, Any]:
    small, rows = not where.tiny, peers.PROMPTS * peers.REPLIES
    words, network = peers.tokenizer(small), LanguageModel(peers.model(small))
    history = peers.prompts()[: peers.PROMPTS].repeat_interleave(peers.REPLIES, 0)
    ids = torch.zeros(rows, peers.LENGTH, dtype=torch.int64)
    real = Replies(ids, torch.ones_like(ids, dtype=torch.bool), history, torch.zeros_like(history))
    there: Any = to(real, where.device)
    policy = TokenPolicy(
        engine=engine,
        learner=engine.learner("policy", network, OptimizerConfig(lr=peers.LR, clip=peers.CLIP), dropout=False),
        batch_size=rows,
        length=peers.LENGTH,
        end=None,
        rewards=Rewards(
            torch.sigmoid,
            users=[Reward(peers.even)],
            decode=lambda tokens: words.batch_decode(tokens.ids, skip_special_tokens=True),
            discriminator_weight=0.0,
        ),
        credit=Terminal(network, peers.LENGTH, None),
        gradient=PolicyGradient(partial(credits.leave_one_out, group=peers.REPLIES)),
    )

    def nobody(sample: Any) -> Any:
        raise NotImplementedError

    found = measured(lambda: policy.update(there, policy.sample(there), nobody), where, rows, "replies")
    return found | {"parameters": sum(p.numel() for p in network.parameters())}


def rloo(where: Where, rows: int, steps: int = 3) -> dict[str, Any]:
    """Of trl's, in a process of its own."""
    python = where.trl or (sys.executable if importlib.util.find_spec("trl") else None)
    if python is None:
        return {"skipped": "trl is not installed here: give --trl /path/to/its/python"}
    words = [python, str(PEER), *([] if where.tiny or where.kind == "cpu" else ["--gpu"])]
    asked = "".join(f"{steps}\n" for _ in range(3))  # the first is to warm up
    done = subprocess.run(words, input=asked, capture_output=True, text=True, timeout=150, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    if len(told) < 3:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-1500:]}")
    taken = [one["wall"] / steps for one in told[2:]]
    return {
        "seconds": statistics.median(taken),
        "replies_per_second": rows / statistics.median(taken),
        "facts": told[0],
    }


# -- pictures and environments -----------------------------------------------------------------------------------------


def pictures(where: Where) -> dict[str, Any]:
    """A discriminator's step and a generator's, of pictures of 64 pixels."""
    return in_each(where, partial(_picture_game, where))


def _picture_game(where: Where, engine: Engine) -> dict[str, Any]:
    torch.manual_seed(0)
    side, rows, width = where.size(64, 16), where.size(64, 4), where.size(64, 4)
    maker = PictureGenerator(PictureConfig(condition=16, noise=16, side=side, width=width))
    judge = PictureDiscriminator(side, 16, width=width)
    one = engine.learner("generator", maker, OptimizerConfig(lr=2e-4))
    other = engine.learner("discriminator", judge, OptimizerConfig(lr=2e-4))
    real = sent(torch.rand(rows, 3, side, side) * 2 - 1, where.device)
    noise, caption = (sent(torch.randn(rows, 16), where.device) for _ in range(2))

    def score(pixels: Any) -> Any:
        (logits,) = other.module((pixels, [caption]))
        return logits[0]

    def told_apart(part: slice) -> Any:
        fake = one.module(noise, caption)[0].detach()
        return objectives.logistic_loss(score(real), score(fake)), {}

    def taken_for_real(part: slice) -> Any:
        return -score(one.module(noise, caption)[0]).mean(), {}

    def step() -> None:
        engine.update(other, told_apart, rows)
        engine.update(one, taken_for_real, rows)

    return measured(step, where, rows, "pictures")


def environments(where: Where) -> dict[str, Any]:
    """A policy's step in 8 copies of an environment, with both copies: why a small one belongs on the CPU."""
    found: dict[str, Any] = {}
    for name, hidden in (("small", [100, 100]), ("large", [where.size(4096, 32)] * 2)):
        actor = Actor(ActorConfig([17], sizes=[6], hidden=hidden)).to(where.device).eval()
        seen, memory, steps = torch.randn(8, 17), actor.start(8), where.size(200, 5)

        @torch.no_grad()
        def act(actor: Any = actor, seen: Any = seen, memory: Any = memory, steps: int = steps) -> None:
            for _ in range(steps):
                parameters, _ = actor.step(sent(seen, where.device), memory)
                actor.actions.mode(parameters).cpu()

        found[name] = measured(act, where, steps, "steps")
    return found
