"""What a run of a large model takes of memory: bytes a parameter in the game, and whole runs of 100 M parameters.

    python benchmarks/real_size.py [--other /path/to/commit/c8e2271] [--record FILE]

held: the bytes of all tensors that are alive before any optimiser step, at most, a parameter of the generator: a GPT-2
in a game of dialogue with roll-outs and without a control, here and in the other checkout; and, with adapters and a
reference, in sizes of the model itself.
The discriminator's 16 bytes a parameter are taken off.
rounds: a Llama-like and a T5-like model, made here with random weights, from a folder, with adapters, weights in
bfloat16 and a reference: the likelihood phase and one adversarial round; the greatest memory of the whole process
(ru_maxrss). Times are told, but the machine may be busy. Adapters need peft.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).resolve().parents[1]
GPT2 = '{"model_type":"gpt2","n_layer":8,"n_embd":256,"n_head":4,"n_positions":128}'
SMALL = (
    "--data.dialogues 100 --run.threads 1 --likelihood.steps 2 --likelihood.batch_size 4 --control.enabled false "
    "--discriminator.steps 1 --discriminator.batch_size 4 --adversarial.rounds 2 --adversarial.batch_size 4 "
    "--adversarial.turns.discriminator 1 --evaluation.samples 4"
)
ROLL_OUTS = "--adversarial.credit seqgan_kit.token_credit.MonteCarlo --adversarial.credit.rollouts 1"  # of either
LARGE = "--generator.lora 8 --generator.dtype bfloat16 --generator.checkpointing true --adversarial.kl 0.1"
SIZES: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4,
        "intermediate_size": 2048, "max_position_embeddings": 256, "tie_word_embeddings": True,
    },
    "t5": {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 12, "decoder_start_token_id": 1},
}  # fmt: skip


def make(kind: str, folder: Path) -> int:
    """A model of random weights and a tokenizer of the world's words; -> its parameters."""
    import random

    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

    from seqgan_kit.worlds.dialogues import dialogue
    from seqgan_kit.worlds.shapes import draw_scene

    rng = random.Random(0)
    said = [message["content"] for _ in range(300) for message in dialogue(draw_scene(rng), rng)]
    words = sorted({word for one in said for word in one.split()})
    own = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<unk>", "<end>", *words])}, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=own, unk_token="<unk>", eos_token="<end>").save_pretrained(folder)
    special = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=32000, **special, **SIZES[kind])
    model = (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM).from_config(config)
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def alive() -> int:
    """Bytes of all tensors."""
    storages: dict[int, int] = {}
    for one in gc.get_objects():
        if isinstance(one, Tensor):
            for tensor in (one, one.grad if one.is_leaf else None):
                if tensor is not None:
                    storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


def measured(words: list[str]) -> dict[str, Any]:
    """A run by the checkout that is imported."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from seqgan_kit.cli import main

    found = {"alive": 0, "parameters": 0, "weights": 0, "discriminator": 0}

    def look(optimizer: Any, *_: Any) -> None:
        found["alive"] = max(found["alive"], alive())
        modules = [one for one in gc.get_objects() if isinstance(one, torch.nn.Module)]
        own = next(list(one.parameters()) for one in modules if type(one).__name__ == "LanguageModel")
        judge = next(one for one in modules if type(one).__name__ == "HierarchicalDiscriminator")
        found["discriminator"] = sum(p.numel() for p in judge.parameters())
        found["parameters"] = sum(p.numel() for p in own)
        found["weights"] = sum(p.nbytes for p in own if not p.requires_grad) or sum(p.nbytes for p in own)

    register_optimizer_step_pre_hook(look)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        code = main(["train", "dialogue", *words, "--run.folder", f"{folder}/run"])
    if code:
        raise SystemExit(f"training failed with {code}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {**found, "peak": peak, "seconds": round(time.perf_counter() - began, 1)}


def run(checkout: Path, words: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, __file__, "--own", words]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def held(other: Path | None) -> dict[str, Any]:
    words = f"--generator.config {GPT2} {SMALL} {ROLL_OUTS}"
    found = {"here": run(HERE, f"{words} --evaluation.best none")}
    if other is not None:
        found["other"] = run(other, words)
    for one in found.values():
        one["bytes_a_parameter"] = round((one["alive"] - 16 * one["discriminator"]) / one["parameters"], 2)
    adapters = run(HERE, f"{words} --generator.lora 2 --adversarial.kl 0.1")
    rest = adapters["alive"] - 16 * adapters["discriminator"]
    adapters["sizes_of_the_base"] = round(rest / adapters["weights"], 3)
    return {**found, "adapters_and_reference": adapters}


def rounds() -> dict[str, Any]:
    found = {}
    for kind in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            count = make(kind, Path(folder))
            words = f"--generator.model {folder} {SMALL} {LARGE} --adversarial.rounds 1"
            found[kind] = run(HERE, words) | {"made": count, "options": f"{SMALL} {LARGE}"}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--other", type=Path, help="another checkout, measured beside this one")
    parser.add_argument("--record", type=Path, help="file that the result is written to")
    parser.add_argument("--own", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own is not None:
        print(json.dumps(measured(options.own.split())))
        return
    found = {"held": held(options.other and options.other.resolve()), "rounds": rounds()}
    print(json.dumps(found, indent=1))
    if options.record:
        options.record.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
