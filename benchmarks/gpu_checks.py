"""What benchmarks/gpu.py checks: that a device gives what the CPU gives, and that each use trains on it."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from seqgan_kit.cli import main as command
from seqgan_kit.networks.pictures.discriminator import PictureDiscriminator
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.hierarchical import HierarchicalDiscriminator
from seqgan_kit.networks.text.language_models import LanguageModel, Unprompted
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.samples import Replies, Tokens, sent, to
from seqgan_kit.tokens.discriminator import call

BOUNDS = {"fp32": 1e-4, "bf16": 0.15}
"""Of the distance from the CPU's float32 numbers: rounding alone; with bfloat16's 8 bits maxima choose others, too."""
PRECISIONS = tuple(BOUNDS)


@dataclass(frozen=True)
class Where:
    """device: that is measured. tiny: sizes that only show that the script works. trl: Python of an environment that
    has trl, or None."""

    device: torch.device
    tiny: bool = False
    trl: str | None = None

    @property
    def kind(self) -> str:
        """As `--run.device` has it."""
        return self.device.type if self.device.type in ("cpu", "mps") else "cuda"

    def size(self, whole: int, tiny: int) -> int:
        return tiny if self.tiny else whole


def ready(device: torch.device) -> None:
    """Waits for what the device has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()


@contextlib.contextmanager
def guarded(found: dict[str, Any], name: str) -> Iterator[None]:
    """What fails inside is noted, and the next one begins."""
    try:
        yield
    except Exception as error:
        found[name] = {"error": f"{type(error).__name__}: {error}"[:2000]}


# -- agreement with the CPU --------------------------------------------------------------------------------------------


def texts(rows: int, length: int, vocabulary: int) -> Tokens:
    lengths = torch.randint(1, length + 1, (rows, 1))
    return Tokens(torch.randint(1, vocabulary, (rows, length)), torch.arange(length) < lengths)


def replies(rows: int, past: int, length: int, vocabulary: int) -> Replies:
    """Under histories of several lengths and utterances, padded on the left."""
    said, told = texts(rows, length, vocabulary), torch.randint(1, past + 1, (rows, 1))
    places = torch.arange(past) - (past - told)
    turns = torch.where(places >= 0, places // 3, -1)
    return Replies(said.ids, said.mask, torch.randint(1, vocabulary, (rows, past)) * (turns >= 0), turns)


def language(kind: str, layers: int, width: int, vocabulary: int, length: int) -> LanguageModel:
    torch.manual_seed(0)
    if kind == "gpt2":
        sizes = {"n_layer": layers, "n_embd": width, "n_head": max(1, width // 64), "n_positions": length}
        return LanguageModel(GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, **sizes)).eval())
    sizes = {"d_model": width, "d_kv": 16, "d_ff": 2 * width, "num_layers": layers, "num_heads": max(1, width // 16)}
    made = T5Config(vocab_size=vocabulary, decoder_start_token_id=0, pad_token_id=0, **sizes)
    return LanguageModel(T5ForConditionalGeneration(made).eval())


def agreement(where: Where) -> dict[str, Any]:
    """Outputs and gradients of the same weights and samples: the distance from the CPU's as a share of their norm."""
    rows, vocabulary = where.size(32, 4), where.size(1000, 20)
    given, plain = replies(rows, 12, 10, vocabulary), texts(rows, 20, vocabulary)
    pixels, caption = torch.rand(where.size(16, 4), 3, 32, 32) * 2 - 1, torch.randn(where.size(16, 4), 16)
    unprompted = Unprompted(language("gpt2", 2, 64, vocabulary, 64), 0)
    cases: dict[str, tuple[nn.Module, Any, Any]] = {
        "LSTM": (LSTMGenerator(LSTMConfig(vocabulary=vocabulary)), likelihood, plain),
        "GPT-2": (unprompted, likelihood, plain),
        "GPT-2, replies": (language("gpt2", 2, 64, vocabulary, 64), likelihood, given),
        "T5, replies": (language("t5", 2, 64, vocabulary, 64), likelihood, given),
        "seq2seq": (Seq2SeqGenerator(Seq2SeqConfig(vocabulary=vocabulary)), likelihood, given),
        "TextCNN": (TextCNN(vocabulary), judgement, plain),
        "hierarchical": (HierarchicalDiscriminator(vocabulary), judgement, given),
        "pictures": (PictureDiscriminator(32, 16), pictures, (pixels, caption)),
    }
    found: dict[str, Any] = {}
    for name, (network, loss, sample) in cases.items():
        network.eval()  # without dropout
        with guarded(found, name):
            expected = outcome(network, loss, sample, torch.device("cpu"), None)
            for precision, bound in BOUNDS.items():
                there = outcome(network, loss, sample, where.device, torch.bfloat16 if precision == "bf16" else None)
                both = zip(there, expected, strict=True)
                off = max(float((a - b).norm() / b.norm().clamp_min(1e-9)) for a, b in both)
                found[f"{name}, {precision}"] = {"off": off, "bound": bound, "agrees": off <= bound}
            network.cpu()
    return found


def outcome(network: Any, loss: Any, sample: Any, device: torch.device, kind: torch.dtype | None) -> list[Tensor]:
    """The outputs, and the largest gradient of its sum, on the CPU in float32."""
    network.zero_grad(set_to_none=True)  # before the move, which would take along what the CPU found
    network.to(device)
    moved = tuple(sent(one, device) for one in sample) if isinstance(sample, tuple) else to(sample, device)
    torch.set_float32_matmul_precision("highest")
    with torch.autocast(device.type, kind) if kind else contextlib.nullcontext():
        values = loss(network, moved)
    values.sum().backward()
    largest = max((p.grad for p in network.parameters() if p.grad is not None), key=Tensor.numel)
    return [values.detach().float().cpu(), largest.float().cpu().clone()]


def likelihood(network: Any, tokens: Tokens) -> Tensor:
    found: Tensor = network(tokens.ids, *tokens.context, mask=tokens.mask)
    return found


def judgement(network: Any, tokens: Tokens) -> Tensor:
    return call(network, tokens)


def pictures(network: Any, given: tuple[Tensor, Tensor]) -> Tensor:
    (logits,) = network((given[0], [given[1]]))
    return torch.cat(list(logits))


# -- each use, trained, resumed and evaluated --------------------------------------------------------------------------

LANGUAGE = (
    "--likelihood.steps 6 --likelihood.batch_size 16 --discriminator.steps 3 --discriminator.batch_size 16 "
    "--adversarial.batch_size 16 --control.enabled false --evaluation.samples 16"
)
GPT2 = '{"model_type":"gpt2","n_layer":2,"n_embd":64,"n_head":2,"n_positions":128}'
T5 = '{"model_type":"t5","d_model":64,"d_kv":16,"d_ff":128,"num_layers":2,"num_heads":4}'
ROLL_OUTS = "--adversarial.credit seqgan_kit.tokens.credit.MonteCarlo --adversarial.credit.rollouts 2"
TEXT, DIALOGUE = f"text --data.sentences 200 {LANGUAGE}", f"dialogue --data.dialogues 100 {LANGUAGE}"
IMITATION = (
    "imitation --policy.steps 32 --environment.copies 4 --cloning.steps 4 --control.frozen false --evaluation.video 0 "
    "--evaluation.episodes 2 --evaluation.final 2"
)
IMAGES = (
    "images --data.scenes 200 --data.side 16 --generator.width 8 --discriminator.matching 2 --joint.steps 0 "
    "--adversarial.batch_size 16 --evaluation.samples 16 --evaluation.feature_steps 3 --evaluation.matcher_steps 3"
)
ROUNDS, STEPS = "--adversarial.rounds", "--adversarial.environment_steps"
USES = {
    "text, LSTM": (TEXT, ROUNDS, 2),
    "text, GPT-2": (f"{TEXT} --generator.config {GPT2}", ROUNDS, 2),
    "text, Gumbel": (f"{TEXT} --adversarial.route seqgan_kit.text.differentiable.GumbelSoftmax", ROUNDS, 2),
    "dialogue, LSTM": (DIALOGUE, ROUNDS, 2),
    "dialogue, GPT-2": (f"{DIALOGUE} {ROLL_OUTS} --generator.config {GPT2}", ROUNDS, 2),
    "dialogue, T5": (f"{DIALOGUE} --generator.config {T5}", ROUNDS, 2),
    "imitation, PPO": (IMITATION, STEPS, 256),
    "imitation, TRPO": (f"{IMITATION} --policy.improvement seqgan_kit.imitation.improvement.TRPO", STEPS, 256),
    "imitation, GRU": (f"{IMITATION} --policy.recurrent 8", STEPS, 256),
    "images": (f"{IMAGES} --adversarial.rounds 2 --second.side 32 --second.batch_size 8", "--second.rounds", 2),
}


def used(name: str, precision: str, where: Where) -> dict[str, Any]:
    """A run of a few steps, which is resumed for as many and evaluated, by the commands."""
    words, option, few = USES[name]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        begun = [*words.split(), option, str(few), "--run.device", where.kind, "--run.precision", precision]
        verbs = {
            "train": ["train", *begun, "--run.folder", run],
            "resume": ["resume", run, option, str(2 * few)],
            "evaluate": ["evaluate", run],
        }
        for verb, given in verbs.items():
            began = time.perf_counter()
            with contextlib.redirect_stdout(sys.stderr):
                if status := command(given):
                    raise RuntimeError(f"seqgan-kit {' '.join(given)} ended with {status}")
            ready(where.device)
            found[f"{verb}_seconds"] = time.perf_counter() - began
        record = json.loads((Path(run) / "run.json").read_text())
        found |= {"device": record.get("device"), "memory": record.get("gpu_memory")}
    return found
