"""Text against the straightforward way, in one run: python benchmarks/text.py [--threads 2] [--only credit ...]

Sizes of the SeqGAN paper's synthetic experiment: vocabulary 5000, length 20, LSTM 32, batch 64, its discriminator.

  credit         Monte Carlo credit of one generator step with N = 16: `MonteCarlo`, and straightforwardly, where each
                 prefix is completed on its own from its start, for each repetition, tokens come from
                 torch.multinomial, and the discriminator, of the same weights but a Conv2d per width, judges each such
                 batch; ours also with bfloat16 scoring
  generation     the completions of it alone
  likelihood     a batch of maximum likelihood: forward, backward, Adam; straightforwardly F.cross_entropy of all logits
  discriminator  a batch of 64 real and 64 fake ones; straightforwardly a Conv2d per width, a rectifier, max-pooling
  round          a generator step with its credit, then 5 of the discriminator on fresh samples; straightforwardly by
                 the straightforward parts of the others; ours also with all that is drawn, scored and trained in
                 bfloat16, as `--run.precision bf16` has it
  sampling       2,560 sequences, and at length 40; straightforwardly by torch.multinomial
  gpt2           256 texts of a 2-layer GPT-2: `sampling.sample`, and `generate(do_sample=True, top_k=0)`
  bleu           BLEU-2..5 of 10,000 sentences against 10,000, and leave-one-out Self-BLEU-2..5 of 10,000; nltk in a
                 loop scores 3 of them, which is scaled up; both must give these the same numbers to 1e-9

A line each: name, ours, baseline (seconds, medians), ratio. A whole run writes results/text_THREADS.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import machine, peak, timed
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel

from seqgan_kit.algorithms import estimators, objectives
from seqgan_kit.engine.learning import OptimizerConfig, build_optimizer
from seqgan_kit.language import metrics
from seqgan_kit.networks.text.cnn import PAPER_FILTERS, PAPER_WINDOWS, TextCNN
from seqgan_kit.networks.text.language_models import LanguageModel, Unprompted
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.samples import Tokens, concatenate
from seqgan_kit.tokens import rollouts, sampling
from seqgan_kit.tokens.credit import MonteCarlo

BATCH, LENGTH, ROLLOUTS, VOCABULARY, SAMPLED, SENTENCES = 64, 20, 16, 5000, 2560, 10_000
Step = Callable[[], object]


def generator(length: int = LENGTH) -> LSTMGenerator:
    torch.manual_seed(0)
    return LSTMGenerator(LSTMConfig(vocabulary=VOCABULARY, length=length)).eval()


def compare(
    name: str, ours: Step, baseline: Step, repeats: int, of_baseline: int, scale: float = 1.0
) -> dict[str, Any]:
    """Both warmed up, where the baseline is made more than once, then in turns. scale: of the baseline's seconds."""
    ours()
    if of_baseline > 1:
        baseline()
    taken: dict[str, list[tuple[float, float]]] = {"ours": [], "baseline": []}
    for i in range(repeats):
        taken["ours"].append(timed(ours)())
        if i < of_baseline:
            taken["baseline"].append(timed(baseline)())
    wall, cpu = ({who: statistics.median(t[i] for t in all_) for who, all_ in taken.items()} for i in (0, 1))
    wall["baseline"], cpu["baseline"] = wall["baseline"] * scale, cpu["baseline"] * scale
    ratio = wall["baseline"] / wall["ours"]
    print(f"{name:<24} {wall['ours']:>9.4f} {wall['baseline']:>9.4f} {ratio:>8.1f}", flush=True)
    return {"ours": wall["ours"], "baseline": wall["baseline"], "ratio": ratio, "cpu": cpu, "turns": taken}


def beside(found: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The first measurement against the baseline of the other."""
    wall, cpu = other["baseline"], other["cpu"]["baseline"]
    ratio = wall / found["ours"]
    print(f"{'  against the same':<24} {'':>19} {ratio:>8.1f}", flush=True)
    return found | {"baseline": wall, "ratio": ratio, "ratio_cpu": cpu / found["cpu"]["ours"]}


@torch.no_grad()
def plain_completion(network: LSTMGenerator, prefix: Tensor, rows: int, length: int = LENGTH) -> Tensor:
    """A completion of each row's prefix, (rows, length); the prefix may have no tokens."""
    features, state = network.start(rows)
    tokens = list(prefix.T)
    for token in tokens:
        features, state = network.step(token, state)
    while len(tokens) < length:
        tokens.append(torch.multinomial(network.logits(features).softmax(-1), 1).squeeze(1))
        if len(tokens) < length:
            features, state = network.step(tokens[-1], state)
    return torch.stack(tokens, dim=1)


class PlainCNN(nn.Module):
    """The discriminator as it is usually written, for rows without padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 64)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(1, count, (width, 64)) for width, count in zip(PAPER_WINDOWS, PAPER_FILTERS, strict=True)
        )
        features = sum(PAPER_FILTERS)
        self.transform, self.gate = nn.Linear(features, features), nn.Linear(features, features)
        self.dropout, self.output = nn.Dropout(0.25), nn.Linear(features, 1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        embedded = self.embedding(ids).unsqueeze(1)
        maps = [F.relu(layer(embedded)).squeeze(3) for layer in self.convolutions]
        found = torch.cat([F.max_pool1d(one, one.shape[2]).squeeze(2) for one in maps], dim=1)
        gate = self.gate(found).sigmoid()
        return self.output(self.dropout(gate * F.relu(self.transform(found)) + (1 - gate) * found)).squeeze(1)


def straightforward_of(critic: TextCNN) -> PlainCNN:
    """The same function."""
    plain = PlainCNN()
    for own, other in zip(plain.convolutions, critic.convolutions, strict=True):
        own.load_state_dict({"weight": other.weight.view_as(own.weight), "bias": other.bias})
    for name in ("embedding", "transform", "gate", "output"):
        getattr(plain, name).load_state_dict(getattr(critic, name).state_dict())
    return plain.eval()


class Scores:
    """What a discriminator's logits are worth, with or without bfloat16."""

    def __init__(self, critic: nn.Module, bf16: bool = False) -> None:
        self.critic, self.bf16 = critic, bf16

    @torch.no_grad()
    def __call__(self, tokens: Tokens) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits: Tensor = self.critic(tokens.ids, tokens.mask)
        return logits.sigmoid()

    def prefixes(self, tokens: Tokens) -> Tensor:
        raise NotImplementedError


@torch.no_grad()
def plain_credit(network: LSTMGenerator, sampled: Tokens, score: Scores | None) -> Tensor:
    """(batch, time); without a score only the completions are made."""
    credit = torch.zeros(sampled.ids.shape)
    for _ in range(ROLLOUTS):
        for t in range(1, LENGTH):
            ids = plain_completion(network, sampled.ids[:, :t], BATCH)
            if score is not None:
                credit[:, t - 1] += score(Tokens(ids, sampled.mask)) / ROLLOUTS
    if score is not None:
        credit[:, -1] = score(sampled)
    return credit


def credit(options: argparse.Namespace) -> dict[str, Any]:
    network = generator()
    critic = TextCNN(VOCABULARY).eval()
    sampled = sampling.sample(network, BATCH, LENGTH, None)
    monte_carlo = MonteCarlo(network, LENGTH, None, ROLLOUTS, lag=0.0)
    plain, fast, usual = Scores(critic), Scores(critic, bf16=True), Scores(straightforward_of(critic))

    def ours(score: Scores) -> Tensor:
        with torch.no_grad():
            return monte_carlo(sampled, score(sampled), score)

    rows = BATCH * (LENGTH - 1) * ROLLOUTS
    with FlopCounterMode(display=False) as counted:
        plain(sampled)
    # a row's part of the discriminator, by products, and of a token: the LSTM and the output layer
    per_token = 2 * (64 * 128 + 32 * VOCABULARY)
    work = counted.get_total_flops() / BATCH * rows + per_token * BATCH * ROLLOUTS * sum(range(1, LENGTH))
    print(f"# {work / 1e9:.0f} GFLOP", flush=True)
    found = {"float32": compare("credit", lambda: ours(plain), lambda: plain_credit(network, sampled, usual), 3, 1)}
    found["bfloat16"] = compare("credit bf16 scores", lambda: ours(fast), lambda: time.sleep(0), 3, 1)
    found["bfloat16"] = beside(found["bfloat16"], found["float32"])
    share = work / 1e9 / found["float32"]["ours"] / options.peak
    print(f"# float32: as fast as if all of it were matrix products at {share:.2f} of what these reach", flush=True)
    apart = ours(plain) - plain_credit(network, sampled, usual)  # they estimate the same
    error = apart[:, :-1].std() / apart[:, :-1].numel() ** 0.5
    assert apart.mean().abs() < 6 * error + 1e-7, f"the two differ by {apart.mean():.2e}, {error:.2e} by chance"
    return found | {"gflop": work / 1e9, "share_of_peak": share}


def generation(options: argparse.Namespace) -> dict[str, Any]:
    network = generator()
    sampled = sampling.sample(network, BATCH, LENGTH, None)
    return compare(
        "generation",
        lambda: rollouts.roll_out(network, sampled, ROLLOUTS, LENGTH, None),
        lambda: plain_credit(network, sampled, None),
        3,
        1,
    )


def likelihood(options: argparse.Namespace) -> dict[str, Any]:
    ids, mask = torch.randint(VOCABULARY, (BATCH, LENGTH)), torch.ones(BATCH, LENGTH, dtype=torch.bool)
    network, other = generator().train(), generator().train()
    optimizer = build_optimizer(network, OptimizerConfig(lr=1e-2))
    plain = torch.optim.Adam(other.parameters(), lr=1e-2)

    def ours() -> None:
        optimizer.zero_grad()
        estimators.maximum_likelihood(network(ids), mask).backward()
        optimizer.step()

    def straightforward() -> None:
        plain.zero_grad()
        logits = other.output(other.features(ids))
        (F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="sum") / BATCH).backward()
        plain.step()

    return compare("likelihood", ours, straightforward, 30, 30)


def discriminator(options: argparse.Namespace) -> dict[str, Any]:
    mask = torch.ones(BATCH, LENGTH, dtype=torch.bool)
    real, fake = (Tokens(torch.randint(VOCABULARY, (BATCH, LENGTH)), mask) for _ in range(2))
    critic, other = TextCNN(VOCABULARY), PlainCNN()
    optimizer = build_optimizer(critic, OptimizerConfig(lr=1e-4))
    plain = torch.optim.Adam(other.parameters(), lr=1e-4)
    both = concatenate([real, fake])

    def step(logits: Tensor, adam: torch.optim.Optimizer) -> None:
        objectives.logistic_loss(logits[:BATCH], logits[BATCH:]).backward()
        adam.step()
        adam.zero_grad()

    def ours() -> None:
        step(critic(both.ids, both.mask), optimizer)

    return compare("discriminator", ours, lambda: step(other(both.ids, both.mask), plain), 10, 10)


def whole_round(options: argparse.Namespace) -> dict[str, Any]:
    network, other, critic, plain_critic = generator().train(), generator().train(), TextCNN(VOCABULARY), PlainCNN()
    mask, empty = torch.ones(BATCH, LENGTH, dtype=torch.bool), torch.empty(BATCH, 0, dtype=torch.int64)
    real = Tokens(torch.randint(VOCABULARY, (BATCH, LENGTH)), mask)
    monte_carlo = MonteCarlo(network, LENGTH, None, ROLLOUTS, lag=0.0)
    ours_g, ours_d = (
        build_optimizer(network, OptimizerConfig(lr=1e-2)),
        build_optimizer(critic, OptimizerConfig(lr=1e-4)),
    )
    plain_g, plain_d = (torch.optim.Adam(one.parameters(), lr=1e-4) for one in (other, plain_critic))
    score, fast, plain_score = Scores(critic), Scores(critic, bf16=True), Scores(plain_critic)

    def improve(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def told_apart(logits: Tensor) -> Tensor:
        return objectives.logistic_loss(logits[:BATCH], logits[BATCH:])

    def drawn() -> Tokens:
        with torch.no_grad():
            return sampling.sample(network, BATCH, LENGTH, None)

    def ours(score: Scores = score) -> None:
        lower = partial(torch.autocast, "cpu", torch.bfloat16, enabled=score.bf16)
        critic.eval()
        with torch.no_grad(), lower():
            fake = drawn()
            credit = monte_carlo(fake, score(fake), score)
        with lower():
            log_probs = network(fake.ids)
        improve(ours_g, estimators.reinforce(log_probs, log_probs.detach(), credit, mask))
        critic.train()
        for _ in range(5):
            with lower():
                both = concatenate([real, drawn()])
                logits = critic(both.ids, both.mask)
            improve(ours_d, told_apart(logits))

    def straightforward() -> None:
        plain_critic.eval()
        with torch.no_grad():
            drawn = Tokens(plain_completion(other, empty, BATCH), mask)
        credit = plain_credit(other, drawn, plain_score)
        log_probs = other.output(other.features(drawn.ids)).log_softmax(-1).gather(2, drawn.ids.unsqueeze(2)).squeeze(2)
        improve(plain_g, -(log_probs * credit).sum() / BATCH)
        plain_critic.train()
        for _ in range(5):
            with torch.no_grad():
                fake = plain_completion(other, empty, BATCH)
            improve(plain_d, told_apart(plain_critic(torch.cat([real.ids, fake]), mask.repeat(2, 1))))

    found = {"float32": compare("round", ours, straightforward, 3, 1)}
    found["bfloat16"] = compare("round bf16", lambda: ours(fast), lambda: time.sleep(0), 3, 1)
    return found | {"bfloat16": beside(found["bfloat16"], found["float32"])}


def sampled(options: argparse.Namespace) -> dict[str, Any]:
    empty = torch.empty(SAMPLED, 0, dtype=torch.int64)
    record = {}
    for length in (LENGTH, 2 * LENGTH):
        network = generator(length)

        def ours(network: LSTMGenerator = network, length: int = length) -> None:
            sampling.sample(network, SAMPLED, length, None)

        def straightforward(network: LSTMGenerator = network, length: int = length) -> None:
            plain_completion(network, empty, SAMPLED, length)

        found = compare(f"sampling, length {length}", ours, straightforward, 3, 1)
        found["tokens_per_second"] = SAMPLED * length / found["ours"]
        print(f"# {found['tokens_per_second']:.0f} tokens a second", flush=True)
        record[str(length)] = found
    return record


def gpt2(options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    model: Any = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_positions=64, n_embd=128, n_layer=2, n_head=4, bos_token_id=None, eos_token_id=None
        )
    ).eval()
    network = Unprompted(LanguageModel(model), 0).eval()
    start = torch.zeros(256, 1, dtype=torch.int64)

    def generate() -> None:
        with torch.no_grad():
            model.generate(
                start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, max_new_tokens=LENGTH,
                pad_token_id=0,
            )  # fmt: skip

    return compare("gpt2", lambda: sampling.sample(network, 256, LENGTH, None), generate, 5, 5)


def bleu(options: argparse.Namespace) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    # words as frequent as in texts, sentences as long as captions
    frequent = 1 / torch.arange(1, VOCABULARY + 1).float()

    def sentences() -> list[list[int]]:
        lengths = torch.randint(7, 16, (SENTENCES,), generator=random).tolist()
        words = torch.multinomial(frequent, sum(lengths), replacement=True, generator=random).split(lengths)
        return [part.tolist() for part in words]

    hypotheses, others = sentences(), sentences()
    smooth = SmoothingFunction().method1
    orders = (2, 3, 4, 5)

    def by_nltk(hypothesis: list[int], references: list[list[int]]) -> list[float]:
        return [sentence_bleu(references, hypothesis, weights=[1 / n] * n, smoothing_function=smooth) for n in orders]

    def self_references(i: int) -> list[list[int]]:
        return hypotheses[:i] + hypotheses[i + 1 :]

    few = range(3)
    first = metrics.bleu(hypotheses[:3], metrics.References(others), orders)
    expected = [statistics.mean(one) for one in zip(*(by_nltk(hypotheses[i], others) for i in few), strict=True)]
    assert max(abs(a - b) for a, b in zip(first.values(), expected, strict=True)) < 1e-9
    of_each = metrics.References(hypotheses)._scores(hypotheses, orders, members=True)
    for i in few:
        for n, value in zip(orders, by_nltk(hypotheses[i], self_references(i)), strict=True):
            assert abs(of_each[n][i] - value) < 1e-9
    scale = SENTENCES / 3
    return {
        "bleu": compare(
            "bleu",
            lambda: metrics.bleu(hypotheses, metrics.References(others), orders),
            lambda: [by_nltk(hypotheses[i], others) for i in few],
            3,
            1,
            scale,
        ),
        "self_bleu": compare(
            "self-bleu",
            lambda: metrics.self_bleu(hypotheses, orders),
            lambda: [by_nltk(hypotheses[i], self_references(i)) for i in few],
            3,
            1,
            scale,
        ),
    }


SECTIONS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "credit": credit,
    "generation": generation,
    "likelihood": likelihood,
    "discriminator": discriminator,
    "round": whole_round,
    "sampling": sampled,
    "gpt2": gpt2,
    "bleu": bleu,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.peak = peak()
    record: dict[str, Any] = {"machine": machine(options.threads), "peak_gflops": options.peak}
    print(f"# {options.threads} thread(s), a float32 matrix product reaches {options.peak:.0f} GFLOP/s")
    print(f"{'# name':<24} {'ours':>9} {'baseline':>9} {'ratio':>8}", flush=True)
    for name in options.only:
        torch.manual_seed(0)
        record[name] = SECTIONS[name](options)
    if set(options.only) == set(SECTIONS):
        path = Path(__file__).parent / "results" / f"text_{options.threads}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
