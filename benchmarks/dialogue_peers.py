"""The peer's half of the dialogue benchmark: trl's RLOOTrainer, a step or a few at a time when told to.

It runs in an environment of its own and imports nothing of seqgan_kit. On Linux, torch first, and from the CPU index if
CUDA is not wanted:
  python3 -m venv /path/trl && /path/trl/bin/pip install torch==2.13.0
  /path/trl/bin/pip install torch==2.13.0 trl==1.16.0
  echo 5 | OMP_NUM_THREADS=1 /path/trl/bin/python benchmarks/dialogue_peers.py
Its first line on stdout tells versions and settings. Then each line on stdin is a number of steps; when they are made,
a line tells their wall and CPU seconds: all that the trainer does from the beginning of one step to that of the next.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from importlib import metadata
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, TrainerCallback

VOCABULARY, PROMPT, LENGTH, PROMPTS, REPLIES = 5000, 8, 20, 8, 4
LR, CLIP = 1e-4, 1.0
PACKAGES = ("trl", "transformers", "accelerate", "datasets", "torch", "numpy")


def model(small: bool = False) -> GPT2LMHeadModel:
    """Untrained, always the same one, without dropout; no token ends its replies. small: of the size of GPT-2 small."""
    torch.manual_seed(0)
    sizes = {"n_embd": 768, "n_layer": 12, "n_head": 12} if small else {"n_embd": 128, "n_layer": 2, "n_head": 4}
    config = GPT2Config(
        vocab_size=vocabulary(small), n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=None, eos_token_id=None, **sizes,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def vocabulary(small: bool = False) -> int:
    return 50257 if small else VOCABULARY


def tokenizer(small: bool = False) -> PreTrainedTokenizerFast:
    """Of words w0, w1 and so on. Its end token is one more, which the model does not know, so that no reply ends
    early."""
    words = {f"w{i}": i for i in range(vocabulary(small))} | {"<end>": vocabulary(small)}
    made = Tokenizer(WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="w0", pad_token="w0", eos_token="<end>", padding_side="left"
    )


def prompts() -> torch.Tensor:
    """(1024, PROMPT) int64; token 0 is padding."""
    return torch.randint(1, VOCABULARY, (1024, PROMPT), generator=torch.Generator().manual_seed(0))


def even(completions: list[str], **columns: Any) -> list[float]:
    """A reward: the share of a reply's words whose number is even."""
    return [sum(word[-1] in "02468" for word in text.split()) / LENGTH for text in completions]


class Turns(TrainerCallback):
    """Has the trainer wait before a step until it is told how many to make; tells what they took."""

    def __init__(self, told: Any) -> None:
        self.told, self.asked, self.left = told, 0, 0
        self.wall = self.cpu = 0.0

    def on_step_begin(self, *words: Any, **others: Any) -> None:
        if not self.left:
            if self.asked:
                wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
                print(json.dumps({"steps": self.asked, "wall": wall, "cpu": cpu}), file=self.told, flush=True)
            line = sys.stdin.readline()
            if not line.strip():
                raise SystemExit
            self.asked = self.left = int(line)
            self.wall, self.cpu = time.perf_counter(), time.process_time()
        self.left -= 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu", action="store_true", help="a model of the size of GPT-2 small, on a GPU, in bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    told, sys.stdout = sys.stdout, sys.stderr  # trainers print
    from datasets import Dataset  # type: ignore[import-untyped]
    from trl import RLOOConfig, RLOOTrainer  # type: ignore[import-not-found]

    words = tokenizer(options.gpu)
    settings: dict[str, Any] = {
        "per_device_train_batch_size": PROMPTS * REPLIES,
        "num_generations": REPLIES,
        "max_completion_length": LENGTH,
        "steps_per_generation": 1,
        "num_iterations": 1,
        "beta": 0.0,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "weight_decay": 0.0,
        "max_grad_norm": CLIP,
        "gradient_checkpointing": False,
        "bf16": options.gpu,
        "use_cpu": not options.gpu,
        "max_steps": 1_000_000,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 0,
    }
    with tempfile.TemporaryDirectory() as folder:
        trainer = RLOOTrainer(
            model=model(options.gpu),
            reward_funcs=even,
            args=RLOOConfig(output_dir=folder, **settings),
            train_dataset=Dataset.from_dict({"prompt": words.batch_decode(prompts())}),
            processing_class=words,
            callbacks=[Turns(told)],
        )
        facts = {
            "settings": settings,
            "versions": {name: metadata.version(name) for name in PACKAGES},
            "threads": torch.get_num_threads(),
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
        }
        print(json.dumps(facts), file=told, flush=True)
        trainer.train()


if __name__ == "__main__":
    main()
