"""Each use, from its first step to a resumed end, on a GPU that is not there: nothing mixes devices, little waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, GPT2Config, MistralConfig

import runs
import tiny_models
from pretend_device import DEVICE, LOG, Log, Mixed, plugged_in
from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import trust_region
from seqgan_kit.cli import main
from seqgan_kit.engine import devices
from seqgan_kit.engine.phases import Phases
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.errors import UserError
from seqgan_kit.images import train as images
from seqgan_kit.imitation.config import ImitationConfig, PolicyConfig
from seqgan_kit.imitation.train import ADVERSARIAL as GAME
from seqgan_kit.imitation.train import CLONING, ON_CPU, ImitationTask
from seqgan_kit.language.training import ADVERSARIAL, MLE, WARM_UP
from seqgan_kit.networks.text import masks
from seqgan_kit.networks.text.hierarchical import HierarchicalDiscriminator
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.output import log_probs
from seqgan_kit.networks.text.reply_encoder import ReplyEncoder
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.samples import Replies, Tokens, to
from seqgan_kit.tokens.discriminator import call

WAITS_A_TOKEN = 1 / 16
"""Of a step of time in which tokens are drawn, whatever the number of rows."""

LANGUAGE = (
    *("--likelihood.steps", "3", "--discriminator.steps", "2", "--control.enabled", "false"),
    *("--evaluation.every", "0", "--evaluation.rounds", "0"),
)
GUMBEL = ("--adversarial.route", "seqgan_kit.text.differentiable.GumbelSoftmax")
ROLL_OUTS = ("--adversarial.credit", "seqgan_kit.tokens.credit.MonteCarlo", "--adversarial.credit.rollouts", "2")
IMITATION = (
    *("--cloning.steps", "3", "--evaluation.every", "0"),
    *("--evaluation.episodes", "2", "--evaluation.final", "2", "--environment.arguments", '{"max_episode_steps": 30}'),
)
ALONE = ("--control.frozen", "false")
TRPO = ("--policy.improvement", "seqgan_kit.imitation.improvement.TRPO")
IMAGES = ("--evaluation.every", "0", "--second.rounds", "2", "--adversarial.rounds", "2")
STAGES = ("--joint.steps", "2", "--discriminator.matching", "2")
ONE = ("--joint.steps", "0", "--discriminator.matching", "0", "--style.steps", "0")


class Case(NamedTuple):
    """words: of the command, given a folder and options. rounds: the option of the last phase's length, of which a
    resumed run has twice as much. waits: how often a step of each phase waits for the device, beside the tokens that
    it draws: once a gradient step, once a credit, and once to tell of an update."""

    words: Callable[..., list[str]]
    options: tuple[str, ...]
    rounds: tuple[str, int]
    waits: dict[str, int]
    kind: str = "cuda"


ROUNDS, STEPS = ("--adversarial.rounds", 2), ("--adversarial.environment_steps", 80)
READING = dict.fromkeys(runs.IMAGES_PHASES, 1) | {images.ADVERSARIAL: 2, images.SECOND: 2}
CASES = {
    # roll-outs ask once how many there are of each length
    "text-LSTM": Case(runs.tiny, LANGUAGE, ROUNDS, {MLE: 1, WARM_UP: 1, ADVERSARIAL: 4}),
    "text-GPT-2": Case(
        runs.tiny, (*LANGUAGE, "--generator.config", tiny_models.GPT2), ROUNDS, {MLE: 1, WARM_UP: 1, ADVERSARIAL: 4}
    ),
    "text-Gumbel": Case(runs.tiny, (*LANGUAGE, *GUMBEL), ROUNDS, {MLE: 1, WARM_UP: 1, ADVERSARIAL: 3}),
    "text-on-MPS": Case(runs.tiny, LANGUAGE, ROUNDS, {MLE: 1, WARM_UP: 1, ADVERSARIAL: 4}, "mps"),
    # lengths of histories are read on the CPU, by which packed sequences are laid out
    "dialogue-LSTM": Case(
        runs.tiny_dialogue,
        (*LANGUAGE, "--adversarial.kl", "0.1", "--evaluation.evaluators", "4", "--evaluation.evaluator.steps", "1"),
        ROUNDS,
        {MLE: 2, WARM_UP: 3, ADVERSARIAL: 15},
    ),
    "dialogue-GPT-2": Case(
        runs.tiny_dialogue,
        (*LANGUAGE, *ROLL_OUTS, "--generator.config", tiny_models.GPT2),
        ROUNDS,
        {MLE: 1, WARM_UP: 2, ADVERSARIAL: 9},
    ),
    "dialogue-T5": Case(
        runs.tiny_dialogue,
        (*LANGUAGE, "--generator.config", tiny_models.T5),
        ROUNDS,
        {MLE: 1, WARM_UP: 2, ADVERSARIAL: 8},
    ),
    # of a rollout's 10 steps each brings its actions to the CPU
    "imitation-PPO": Case(runs.tiny_imitation, (*IMITATION, *ALONE), STEPS, {CLONING: 1, GAME: 26}),
    "imitation-TRPO": Case(runs.tiny_imitation, (*IMITATION, *ALONE, *TRPO), STEPS, {CLONING: 1, GAME: 22}),
    "imitation-GRU": Case(
        runs.tiny_imitation, (*IMITATION, *ALONE, "--policy.recurrent", "4"), STEPS, {CLONING: 1, GAME: 26}
    ),
    "images": Case(runs.tiny_images, (*IMAGES, *STAGES), ("--style.steps", 2), READING),
    "images-second-stage": Case(
        runs.tiny_images, (*IMAGES, *ONE), ("--second.rounds", 2), {images.ADVERSARIAL: 2, images.SECOND: 2}
    ),
}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Log]]:
    """What happens on the device in each step of each phase but its first in a process, evaluations left out."""
    found: dict[str, list[Log]] = defaultdict(list)
    whole = Phases.steps

    def watched(self: Phases, phase: str, *others: Any) -> Iterator[int]:
        for i, step in enumerate(whole(self, phase, *others)):
            before = LOG.copy()
            yield step
            if i:
                found[phase].append(LOG - before)

    monkeypatch.setattr(Phases, "steps", watched)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_run_is_rehearsed(name: str, steps: dict[str, list[Log]], tmp_path: Path) -> None:
    """Trained, saved, evaluated and resumed, with no more waits in a step than are written beside it."""
    case, run = CASES[name], tmp_path / "run"
    option, few = case.rounds
    with plugged_in(case.kind):
        assert main(case.words(run, "--run.device", case.kind, *case.options, option, str(few))) == 0
        assert main(["resume", str(run), option, str(2 * few)]) == 0
    assert set(steps) == set(case.waits)
    for phase, made in steps.items():
        for step in made:
            drawn = step.launches["searchsorted"] + step.launches["argmax"] if phase in (WARM_UP, ADVERSARIAL) else 0
            assert step.waits.total() <= case.waits[phase] + WAITS_A_TOKEN * drawn, (phase, step.waits.most_common())


# -- what is computed in another way on a GPU gives what a CPU gives ---------------------------------------------------


def replies() -> Replies:
    """Of 5 rows, whose histories and replies are of several lengths."""
    torch.manual_seed(1)
    lengths = torch.tensor([[3], [5], [1], [4], [2]])
    mask, turns = (
        torch.arange(5) < lengths,
        torch.tensor([[-1, 0, 0, 1], [0, 1, 1, 2], [-1, -1, -1, 0]])[[0, 1, 2, 1, 0]],
    )
    return Replies(torch.randint(1, 9, (5, 5)), mask, torch.randint(1, 9, (5, 4)) * (turns >= 0), turns)


def drawn(network: Any, given: Replies) -> Tensor:
    """Features before the first token, and after two more."""
    network = network.given(*given.context)
    features, state = network.start(len(given.ids))
    found = [features]
    for t in range(2):
        features, state = network.step(given.ids[:, t], state)
        found.append(features)
    return torch.stack(found, 1)


def forward(network: Any, given: Replies) -> Tensor:
    return network(given.ids, *given.context, mask=given.mask) * given.mask


def judged(network: Any, given: Replies) -> Tensor:
    return call(network, given)


def seq2seq() -> nn.Module:
    return Seq2SeqGenerator(Seq2SeqConfig(vocabulary=9, embedding=4, hidden=4))


def language(kind: str) -> nn.Module:
    return LanguageModel(tiny_models.model(kind, 9))


def encoder() -> nn.Module:
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    return ReplyEncoder(BertModel(BertConfig(vocab_size=9, **sizes)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, Replies], Tensor]]] = {
    "seq2seq": (seq2seq, forward),
    "seq2seq-drawn": (seq2seq, drawn),
    "GPT-2": (lambda: language("gpt2"), forward),
    "GPT-2-drawn": (lambda: language("gpt2"), drawn),
    "T5": (lambda: language("t5"), forward),
    "T5-drawn": (lambda: language("t5"), drawn),
    "hierarchical": (lambda: HierarchicalDiscriminator(9, 4, 4), judged),
    "BERT": (encoder, judged),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_replies(name: str) -> None:
    """As on a CPU; of a GPU, which is waited for once where lengths of histories must be known."""
    make, compute = NETWORKS[name]
    torch.manual_seed(0)
    network, given = make().eval(), replies()
    with torch.no_grad():
        expected = compute(network, given)
        with plugged_in() as log:
            network.to(DEVICE)
            there = to(given, DEVICE)
            compute(network, there)  # the first time it is tried which masks a model takes
            before = log.copy()
            found = compute(network, there)
            waits = (log - before).waits
            torch.testing.assert_close(found.cpu(), expected)
    assert waits.total() <= isinstance(network, Seq2SeqGenerator | HierarchicalDiscriminator), waits


def test_masks_are_made_for_plain_attention_alone() -> None:
    """Of a model whose layers look through windows, or whose attention is unknown, none are."""
    kinds = [GPT2Config(), BertConfig(), MistralConfig(sliding_window=4), MistralConfig(sliding_window=None)]
    for config in kinds:
        config._attn_implementation = "sdpa"
    assert list(map(masks.plain, kinds)) == [True, True, False, True]
    kinds[0]._attn_implementation = "flash_attention_2"
    assert not masks.plain(kinds[0])


def of_log_probs(device: Any) -> Tensor:
    hidden, weight, ids = torch.randn(3, 4, 2), torch.randn(5, 2), torch.tensor([[1, 2, 3, 99]] * 3)
    mask = torch.tensor([[True, True, False, False], [True] * 3 + [False], [False] * 4])
    weight.requires_grad_()
    log_probs(*(one.to(device) for one in (hidden, weight, torch.zeros(5), ids, mask))).sum().backward()
    assert weight.grad is not None
    return weight.grad


def of_whiten(device: Any) -> Tensor:
    mask = torch.arange(6) < torch.tensor([[2], [6], [0]])
    return credits.whiten(torch.randn(3, 6).to(device), mask.to(device))


def of_natural_step(device: Any, scale: float = 1.0) -> Tensor:
    """Of two numbers, so that the residual is nothing after two iterations of ten."""
    matrix = (scale * torch.tensor([[2.0, 1.0], [1.0, 3.0]])).to(device)
    return trust_region.natural_step(lambda v: matrix @ v, torch.tensor([1.0, -2.0]).to(device), 0.1, 10)


def of_no_step(device: Any) -> Tensor:
    return of_natural_step(device, -1.0)


@pytest.mark.parametrize("compute", [of_log_probs, of_whiten, of_natural_step, of_no_step])
def test_functions(compute: Callable[[Any], Tensor]) -> None:
    found = []
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        found.append(compute(device).cpu())
    torch.testing.assert_close(*found)


# -- the device itself, and who is on it -------------------------------------------------------------------------------


MIXES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda here, there: here + there,
    "with a number of the device": lambda here, there: here.sum() + there,
    "stacked numbers": lambda here, there: torch.stack([here.sum(), there.sum()]),
    "written": lambda here, there: here.index_put_((torch.tensor([0]),), there[:1]),
    "a generator": lambda here, there: torch.rand(2, device=DEVICE, generator=torch.Generator()),
}


@pytest.mark.parametrize("name", MIXES)
def test_what_mixes_devices_is_refused(name: str) -> None:
    with plugged_in(), pytest.raises(Mixed):
        MIXES[name](torch.ones(3).to(DEVICE), torch.ones(3))
    assert torch.equal((torch.ones(2).to(DEVICE) * torch.tensor(3.0)).cpu(), torch.full((2,), 3.0)), "numbers are taken"


WAITING: dict[str, tuple[Callable[[Tensor], object], int]] = {
    "a number": (lambda there: there.sum().item(), 1),
    "copied back": (lambda there: there.cpu(), 1),
    "a mask": (lambda there: there[there > 1], 1),
    "an index of the CPU": (lambda there: there[torch.tensor([1])], 1),
    "made on the CPU": (lambda there: torch.tensor([2.0], device=DEVICE), 1),
    "masked": (lambda there: there.masked_fill(there > 1, 0.0), 0),
    "copied meanwhile": (lambda there: torch.ones(2).to(DEVICE, non_blocking=True), 0),
    "samples": (lambda there: to(Tokens(torch.ones(1, 2), torch.ones(1, 2) > 0), DEVICE), 0),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_is_waited_for_is_counted(name: str) -> None:
    waiting, times = WAITING[name]
    with plugged_in() as log:
        waiting(torch.ones(3).to(DEVICE, non_blocking=True))
    assert log.waits.total() == times, log.waits


def placed(device: str, **policy: Any) -> ImitationTask:
    return ImitationTask(ImitationConfig(run=RunConfig(device=device), policy=PolicyConfig(**policy)))  # type: ignore[arg-type]


def test_auto_is_the_cpu_for_small_policies() -> None:
    """Which is told where there is a GPU; who asks for that has it."""
    assert ON_CPU not in placed("auto", hidden=[8]).first_lines(), "there is nothing else"
    with plugged_in():
        small, large, asked = placed("auto", hidden=[8]), placed("auto", hidden=[8, 2048]), placed("cuda", hidden=[8])
        assert [one.config.run.device for one in (small, large, asked)] == ["cpu", "auto", "cuda"]
        assert ON_CPU in small.first_lines()
        assert ON_CPU not in large.first_lines() + asked.first_lines()
    with plugged_in("mps"):
        assert placed("auto", hidden=[2048]).config.run.device == "cpu"
        with pytest.raises(UserError, match=r"float64.*--run.device cpu"):
            placed("mps")


def test_a_device_that_is_not_there_is_refused() -> None:
    for kind in devices.KINDS:
        with pytest.raises(UserError, match=f"--run.device {kind}: PyTorch sees no GPU.* use --run.device cpu or auto"):
            devices.chosen(kind)
    assert devices.chosen("auto") == devices.for_evaluation("cuda") == torch.device("cpu")
    with plugged_in():
        assert devices.for_evaluation("auto") == devices.for_evaluation("mps") == DEVICE
        assert devices.for_evaluation("cpu") == torch.device("cpu")
