"""What test_sharding.py runs by one process and by two: `sharded_processes.py gradients OUT`, `... wait OUT`.

The gradients of every player's update, as its optimiser gets them, are written to OUT/rank-R-of-N.safetensors, and what
each process holds to OUT/rank-R.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, BertConfig, GPT2Config

from policies import token_policy
from seqgan_kit.algorithms import estimators, objectives
from seqgan_kit.engine import sharding
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.players import Discriminator
from seqgan_kit.language.adapters import adapt
from seqgan_kit.networks.text.language_models import LanguageModel, Unprompted
from seqgan_kit.networks.text.reply_encoder import ReplyEncoder
from seqgan_kit.samples import Tokens, rows
from seqgan_kit.tokens.discriminator import call
from seqgan_kit.tokens.policy import likelihood_loss
from two_processes import END, ROWS, TIME, ByPlace, batch, share

SIZES = {"vocab_size": 64, "eos_token_id": END, "bos_token_id": END}
PLAYERS = ("likelihood", "reinforce", "ppo", "discriminator", "penalised discriminator")
ADAPTERS = ("likelihood of adapters",) if find_spec("peft") else ()


def generator(lora: bool = False) -> Unprompted:
    torch.manual_seed(3)
    config = GPT2Config(
        n_layer=2, n_head=2, n_embd=48, n_positions=16, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        initializer_range=0.2, **SIZES,
    )  # fmt: skip
    network = LanguageModel(AutoModelForCausalLM.from_config(config))
    if lora:
        adapt(network, 2, "lora")
        for name, parameter in network.named_parameters():
            if "lora_B" in name:  # which begins at 0, so that lora_A has no gradient
                nn.init.normal_(parameter, std=0.1)
    return Unprompted(network, 0)


class Critic(nn.Module):
    """A `ReplyEncoder` that takes embeddings, too, for a penalty on them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        config = BertConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            initializer_range=0.2, attn_implementation="eager",
        )  # fmt: skip
        self.inner = ReplyEncoder(AutoModel.from_config(config))
        self.inner.output.weight.data *= 3  # so that rewards differ

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        if not ids.is_floating_point():
            found: Tensor = self.inner(ids, mask)
            return found
        inner: Any = self.inner
        read = inner.encoder(inputs_embeds=ids, attention_mask=mask.long()).last_hidden_state
        return inner.output((read * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)).squeeze(-1)


def penalty(module: nn.Module, real: Tokens, fake: Tokens) -> Tensor:
    """At vectors that are the same by one process and by two."""
    at = torch.nn.functional.one_hot(real.ids, 32).float()
    return 10 * objectives.gradient_penalty(lambda x: module(x, real.mask), at, at)


class Parts:
    """A generator and a discriminator with the same initial weights on every process, shared out."""

    def __init__(self, engine: Engine, name: str) -> None:
        config = OptimizerConfig(lr=1e-3, clip=0.5, accumulate=2 if name == "reinforce" else 1)
        self.generator = engine.learner(f"generator {name}", generator("adapters" in name), config)
        self.critic = engine.learner(f"discriminator {name}", Critic(), config)
        engine.shard()
        objective = objectives.seqgan()
        ppo = {"estimator": estimators.ppo, "passes": 3} if name == "ppo" else {}
        self.policy = token_policy(engine, self.generator, ROWS, TIME, END, objective.reward, ByPlace(), **ppo)
        regulariser = penalty if "penalised" in name else None
        self.discriminator = Discriminator(engine, self.critic, ROWS, objective, call, regulariser)


def watch(learner: Learner) -> list[Tensor]:
    """Collects the gradients that the learner's optimiser sees at its steps, whole."""
    seen: list[Tensor] = []
    learner.optimizer.register_step_pre_hook(
        lambda *_: seen.extend(sharding.full(p.grad).clone() for p in learner.parameters if p.grad is not None)
    )
    return seen


def held(engine: Engine) -> tuple[int, int]:
    """Numbers of all weights that this process holds, and that there are."""
    mine = whole = 0
    for learner in engine.learners.values():
        for parameter in learner.network.parameters():
            mine += sharding.local(parameter).untyped_storage().nbytes() // parameter.element_size()
            whole += parameter.numel()
    return mine, whole


def gradients(engine: Engine) -> Iterator[tuple[str, Tensor]]:
    real, fake = share(batch(0), engine), share(batch(1), engine)
    updates: dict[str, Callable[[Parts], object]] = {
        "likelihood": lambda parts: engine.update(
            parts.generator, lambda part: likelihood_loss(parts.generator.module, rows(real, part)), len(real.ids)
        ),
        "reinforce": lambda parts: parts.policy.update(real, fake, parts.discriminator.score),
        "discriminator": lambda parts: parts.discriminator.update(real, fake),
    }
    for name in (*PLAYERS, *ADAPTERS):
        parts = Parts(engine, name)
        update = updates[{"ppo": "reinforce"}.get(name, name.removeprefix("penalised ").removesuffix(" of adapters"))]
        learner = parts.critic if "discriminator" in name else parts.generator
        seen = watch(learner)
        for step in range(2):
            torch.manual_seed(step)  # drawn from between the steps, by another number of tokens on each process
            parts.policy.sample(real if engine.rank == 0 else rows(real, slice(1)))
            update(parts)
        for i, gradient in enumerate(seen):
            yield f"{name} {i}", gradient


def weights(network: nn.Module) -> Tensor:
    return torch.cat([sharding.full(p.detach()).reshape(-1) for p in network.parameters()])


def find_gradients(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    processes = os.environ.get("WORLD_SIZE", "1")
    config = RunConfig(folder=str(out / f"run-{processes}"), device="cpu", threads=1, shard=processes != "1")
    with Engine(config, "text") as engine:
        found = dict(gradients(engine))
        save_file(found, out / f"rank-{engine.rank}-of-{engine.processes}.safetensors")
        (out / f"held-{engine.rank}-of-{engine.processes}.json").write_text(json.dumps(held(engine)))


def wait(out: Path) -> None:
    """One process waits for the other, which comes too late."""
    config = RunConfig(folder=str(out / "run"), device="cpu", timeout=2.0)
    with Engine(config, "text") as engine:
        began = time.monotonic()
        if not engine.is_main:
            time.sleep(8)
        with suppress(RuntimeError):
            engine.sum(torch.ones(1))
        (out / f"waited-{engine.rank}.json").write_text(json.dumps(time.monotonic() - began))
        os._exit(0)  # the group can't be left together


def main(words: list[str]) -> int:
    {"gradients": find_gradients, "wait": wait}[words[0]](Path(words[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
