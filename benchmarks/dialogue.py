"""Replies against transformers' `generate`, trl's RLOO and the straightforward roll-outs, in one run, on one thread.

  OMP_NUM_THREADS=1 python benchmarks/dialogue.py [--trl /path/trl/bin/python] [--repeats 5] [--only generation ...]

  generation  replies drawn from one and the same GPT-2: `sampling.sample`, and `generate(do_sample=True, top_k=0)`
  step        samples per second of policy gradient with a plain function as reward, 4 replies to each of 8 prompts,
              each compared with the other 3: `trainer.play` on `TokenPolicy`, and trl's RLOOTrainer without KL,
              checkpointing and mixed precision, in an environment of its own (dialogue_peers.py says how to make it;
              without --trl ours is measured alone)
  credit      Monte Carlo credit with 5 roll-outs of each prefix, scored by the hierarchical discriminator:
              `MonteCarlo`, and straightforwardly, where each prefix is read anew for each repetition and tokens come
              from torch.multinomial; beside it `Prefixes` (REGS), which scores all prefixes in one pass

All are untrained, without dropout, and no token ends a reply, so that all draw as many tokens. The contestants take
turns; figures are medians of turns. Prints a line of each; a whole run writes results/dialogue.json, or --out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dialogue_peers as peers
import torch
from measuring import Turn, in_turns, machine, timed
from torch import Tensor, nn

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Metrics, OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.rewards import Reward
from seqgan_kit.game.trainer import Turns, play
from seqgan_kit.networks.text.hierarchical import HierarchicalDiscriminator
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.samples import Replies, Tokens, rows
from seqgan_kit.tokens import credit as token_credit
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens.discriminator import call, call_prefixes
from seqgan_kit.tokens.policy import PolicyGradient, TokenPolicy
from seqgan_kit.tokens.rewards import Rewards

HERE = Path(__file__).parent
SECTIONS = ("generation", "step", "credit")
VOCABULARY, PROMPT, LENGTH = peers.VOCABULARY, peers.PROMPT, peers.LENGTH
BATCHES, DRAWN = (8, 64, 512), 32
STEPS = 5  # in a turn
ROLLED, ROLLOUTS = 64, 5


def show(what: str, unit: str, found: dict[str, Any]) -> None:
    for name, one in found.items():
        print(
            f"{what:<20} {name:<16} {one['wall'] * 1e3:>8.0f} ms {one['per_wall_second']:>8.0f} {unit}/s"
            f"   ratio {one['ratio_wall']:>6.3g} (CPU {one['ratio_cpu']:.3g})",
            flush=True,
        )


def prompted(count: int) -> tuple[Tensor, Tensor]:
    """So many histories, each of two turns: history and turns, (count, PROMPT)."""
    history = peers.prompts()[:count]
    return history, (torch.arange(PROMPT) * 2 // PROMPT).expand(len(history), -1)


def replies(history: Tensor, turns: Tensor) -> Replies:
    """Replies that nobody reads: of a padding token each."""
    ids = torch.zeros(len(history), LENGTH, dtype=torch.int64)
    return Replies(ids, torch.ones_like(ids, dtype=torch.bool), history, turns)


# -- generation --------------------------------------------------------------------------------------------------------


def generation(options: argparse.Namespace) -> dict[str, Any]:
    model: Any = peers.model()
    network = LanguageModel(model).eval()
    record: dict[str, Any] = {"prompt": PROMPT, "tokens": DRAWN}
    for batch in BATCHES:
        history, turns = prompted(batch)

        def ours(history: Tensor = history, turns: Tensor = turns) -> None:
            drawn = sampling.sample(network.given(history, turns), len(history), DRAWN, None)
            assert drawn.ids.shape == (len(history), DRAWN)

        def theirs(history: Tensor = history) -> None:
            with torch.no_grad():
                drawn = model.generate(
                    history, attention_mask=torch.ones_like(history), do_sample=True, top_k=0, max_new_tokens=DRAWN,
                    pad_token_id=0,
                )  # fmt: skip
            assert drawn.shape == (len(history), PROMPT + DRAWN)

        found = in_turns({"ours": timed(ours), "generate": timed(theirs)}, options.repeats, batch * DRAWN)
        show(f"generation, batch {batch}", "tokens", found)
        record[str(batch)] = found
    return record


# -- a step of policy gradient -----------------------------------------------------------------------------------------


class Prompts:
    """Batches of the prompts, shuffled."""

    def __init__(self) -> None:
        self.data = replies(*prompted(1024))

    def take(self, batch_size: int) -> Tokens:
        return rows(self.data, torch.randperm(1024)[:batch_size])


class Nobody:
    """The discriminator of a policy that has none."""

    batch_size = 0

    def score(self, sample: Tokens) -> Tensor:
        raise NotImplementedError

    def update(self, real: Tokens, fake: Tokens) -> Metrics:
        raise NotImplementedError


class Ours:
    """The loop of `train`, less its checkpoints; a call is STEPS rounds of it."""

    def __init__(self, folder: str, runs: contextlib.ExitStack) -> None:
        self.engine = runs.enter_context(Engine(RunConfig(f"{folder}/run", device="cpu", threads=1), "benchmark"))
        network, words = LanguageModel(peers.model()), peers.tokenizer()
        self.learner = self.engine.learner("generator", network, OptimizerConfig(lr=peers.LR, clip=peers.CLIP))
        self.policy = TokenPolicy(
            engine=self.engine,
            learner=self.learner,
            batch_size=peers.PROMPTS * peers.REPLIES,
            length=LENGTH,
            end=None,
            rewards=Rewards(
                torch.sigmoid,
                users=[Reward(peers.even)],
                decode=lambda tokens: words.batch_decode(tokens.ids, skip_special_tokens=True),
                discriminator_weight=0.0,
            ),
            credit=token_credit.Terminal(network, LENGTH, None),
            gradient=PolicyGradient(partial(credits.leave_one_out, group=peers.REPLIES)),
        )
        self.engine.restore()
        self.engine.phases._save_or_stop = lambda *_: None  # type: ignore[method-assign]
        self.prompts, self.done = Prompts(), 0

    def __call__(self) -> None:
        self.done += STEPS
        turns = Turns(discriminator=0, repeats=peers.REPLIES)
        with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):  # a progress bar for each call
            play(self.engine, "measured", self.done, self.policy, Nobody(), self.prompts, turns)


@contextlib.contextmanager
def trl(python: str) -> Iterator[tuple[dict[str, Any], Turn]]:
    """What the peer says of itself, and its turns: STEPS steps by a process of its own, which otherwise waits."""
    words = [python, str(HERE / "dialogue_peers.py")]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        written, read = process.stdin, process.stdout

        def told() -> dict[str, Any]:
            line = read.readline()
            if not line:
                errors.seek(0)
                raise SystemExit(f"{' '.join(words)} failed:\n{errors.read()[-2000:]}")
            found: dict[str, Any] = json.loads(line)
            return found

        def turn() -> tuple[float, float]:
            written.write(f"{STEPS}\n")
            found = told()
            return found["wall"], found["cpu"]

        try:
            yield told(), turn
        finally:
            written.close()  # it ends then


def step(options: argparse.Namespace) -> dict[str, Any]:
    samples = STEPS * peers.PROMPTS * peers.REPLIES
    record: dict[str, Any] = {"steps": STEPS, "prompts": peers.PROMPTS, "replies": peers.REPLIES, "tokens": LENGTH}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as runs:
        ours = Ours(folder, runs)
        contestants = {"ours": timed(ours)}
        if options.trl:
            record["trl"], contestants["trl RLOO"] = runs.enter_context(trl(options.trl))
            count = sum(p.numel() for p in ours.learner.parameters)
            assert record["trl"]["parameters"] == count, f"trl trains {record['trl']['parameters']} weights, we {count}"
        else:
            print("step                 without trl: give --trl /path/to/its/python to compare")
        found = in_turns(contestants, options.repeats, samples)
    show("step, 32 replies", "samples", found)
    return record | found


# -- credit ------------------------------------------------------------------------------------------------------------


class Judge:
    """What a discriminator's logits are worth: its probability that a reply is human."""

    def __init__(self, discriminator: HierarchicalDiscriminator) -> None:
        self.discriminator = discriminator

    @torch.no_grad()
    def __call__(self, tokens: Tokens) -> Tensor:
        return call(self.discriminator, tokens).sigmoid()

    @torch.no_grad()
    def prefixes(self, tokens: Tokens) -> Tensor:
        return call_prefixes(self.discriminator, tokens).sigmoid()


Opening = Callable[[Any, Replies, int], tuple[sampling.TokenNetwork, Tensor, Any]]
"""A network, replies and a number of their tokens -> what draws the next ones, and its features and state by now."""


def reread_seq2seq(network: Any, sampled: Replies, count: int) -> tuple[sampling.TokenNetwork, Tensor, Any]:
    drawer = network.given(*sampled.context)
    features, state = drawer.start(len(sampled.ids))
    for t in range(count):
        features, state = drawer.step(sampled.ids[:, t], state)
    return drawer, features, state


def reread_gpt2(network: Any, sampled: Replies, count: int) -> tuple[sampling.TokenNetwork, Tensor, Any]:
    """History and prefix in one pass."""
    begun = sampled.ids[:, :count]
    history, turns = (torch.cat(pair, dim=1) for pair in zip(sampled.context, (begun, begun * 0), strict=True))
    drawer = network.given(history, turns)
    return drawer, *drawer.start(len(begun))


@torch.no_grad()
def plain_credit(network: nn.Module, opening: Opening, sampled: Replies, judge: Judge) -> Tensor:
    """Monte Carlo credit, a prefix and a repetition at a time."""
    credit = torch.zeros(sampled.ids.shape)
    credit[:, -1] = judge(sampled)
    for count in range(1, LENGTH):
        for _ in range(ROLLOUTS):
            drawer, features, state = opening(network, sampled, count)
            ids = sampled.ids.clone()
            for t in range(count, LENGTH):
                ids[:, t] = torch.multinomial(drawer.logits(features).softmax(-1), 1).squeeze(1)
                if t + 1 < LENGTH:
                    features, state = drawer.step(ids[:, t], state)
            done = Replies(ids, sampled.mask, sampled.history, sampled.turns)
            credit[:, count - 1] += judge(done) / ROLLOUTS
    return credit


def credit(options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    judge = Judge(HierarchicalDiscriminator(VOCABULARY).eval())
    config = Seq2SeqConfig(vocabulary=VOCABULARY, embedding=128, hidden=128, layers=2)
    networks: dict[str, tuple[nn.Module, Opening]] = {
        "seq2seq": (Seq2SeqGenerator(config).eval(), reread_seq2seq),
        "gpt2": (LanguageModel(peers.model()).eval(), reread_gpt2),
    }
    record: dict[str, Any] = {"replies": ROLLED, "tokens": LENGTH, "rollouts": ROLLOUTS}
    for name, (network, opening) in networks.items():
        record[name] = credit_of(network, opening, judge, options.repeats)
        show(f"credit, {name}", "replies", record[name]["turns"])
    return record


def credit_of(network: Any, opening: Opening, judge: Judge, repeats: int) -> dict[str, Any]:
    asked = replies(*prompted(ROLLED))
    drawn = sampling.sample(sampling.with_context(network, asked), ROLLED, LENGTH, None)
    sampled = Replies(drawn.ids, drawn.mask, asked.history, asked.turns)
    rollouts = token_credit.MonteCarlo(network, LENGTH, None, ROLLOUTS, lag=0.0)
    regs = token_credit.Prefixes(network, LENGTH, None)
    given: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: rollouts(sampled, judge(sampled), judge),
        "straightforward": lambda: plain_credit(network, opening, sampled, judge),
        "REGS": lambda: regs(sampled, judge(sampled), judge),
    }
    latest: dict[str, Tensor] = {}

    def turn(name: str) -> Turn:
        return timed(lambda: latest.update({name: given[name]()}))

    with torch.no_grad():
        found = in_turns({name: turn(name) for name in given}, repeats, ROLLED)
    apart = latest["ours"] - latest["straightforward"]  # they estimate the same
    error = apart[:, :-1].std() / apart[:, :-1].numel() ** 0.5
    assert apart.mean().abs() < 6 * error + 1e-7, f"the two differ by {apart.mean():.2e}, {error:.2e} by chance"
    return {"turns": found, "difference": float(apart.mean()), "by_chance": float(error)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", metavar="PYTHON", help="python of the environment that has trl")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each, after a first one")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--out", type=Path, help="where to write; of a whole run results/dialogue.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    record: dict[str, Any] = {"machine": machine(1), "repeats": options.repeats}
    parts = {"generation": generation, "step": step, "credit": credit}
    for section in options.only:
        record[section] = parts[section](options)
    record["machine"] |= {"load_after": os.getloadavg(), "seconds": time.perf_counter() - begun}
    whole = set(options.only) == set(SECTIONS) and options.trl
    path = options.out or (HERE / "results" / "dialogue.json" if whole else None)
    if path:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
