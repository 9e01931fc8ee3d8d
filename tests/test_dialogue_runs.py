"""Whole tiny runs of dialogue: every generator and option, what they leave behind, and models that others read."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import runs
import tiny_models
from seqgan_kit.cli import main
from seqgan_kit.dialogue.models import load_generator, load_template
from seqgan_kit.dialogue.template import to_replies
from seqgan_kit.tokens import policy
from seqgan_kit.worlds.dialogues import answer_shares
from tiny_models import BERT, GPT2, T5

SHORT = (
    "--likelihood.steps", "4", "--discriminator.steps", "2", "--adversarial.rounds", "2", "--control.steps", "2",
    "--evaluation.every", "2", "--evaluation.rounds", "1", "--run.log_every", "1", "--run.checkpoint_steps", "1000",
)  # fmt: skip
GENERATORS: dict[str, list[str]] = {
    "lstm": [],
    "gpt2": ["--generator.config", GPT2],
    "t5": ["--generator.config", T5],
}
CREDIT = "seqgan_kit.tokens.credit"
OPTIONS: dict[str, list[str]] = {
    "prefixes": ["--adversarial.credit", f"{CREDIT}.Prefixes"],
    "roll-outs": ["--adversarial.credit", f"{CREDIT}.MonteCarlo", "--adversarial.credit.rollouts", "2"],
    "terminal": ["--adversarial.credit", f"{CREDIT}.Terminal"],
    "ppo": ["--adversarial.estimator", "seqgan_kit.algorithms.estimators.ppo", "--adversarial.passes", "2"],
    "kl": ["--adversarial.kl", "0.1"],
    "no critic": ["--adversarial.critic.enabled", "false"],
    "encoder": ["--discriminator.config", BERT],
    "encoder, roll-outs": [
        *("--discriminator.config", BERT),
        *("--adversarial.credit", f"{CREDIT}.MonteCarlo", "--adversarial.credit.rollouts", "2"),
    ],
    "from the generator": ["--discriminator.from_generator", "true"],
    "evaluators": ["--evaluation.evaluators", "8"],
    "no teacher": ["--adversarial.teacher_forcing", "0"],
    "backward": ["--data.backward", "true"],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with parts given by import path looked for in it, as the command does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def train(folder: Path, *options: str) -> Path:
    run = folder / "run"
    assert main(runs.tiny_dialogue(run, *SHORT, *options)) == 0
    return run


def logged(run: Path, phase: str, name: str) -> list[float]:
    return [line[name] for line in runs.lines(run) if line["phase"] == phase and name in line]


# -- what a run leaves behind --------------------------------------------------------------------------------------


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_run_is_complete(
    here: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, generator: str
) -> None:
    """Configuration, numbers of all phases, replies beside their messages, a model, the report, and a last word."""
    if generator == "lstm":
        request.getfixturevalue("with_curves")
    run = train(here, *GENERATORS[generator])
    told = capsys.readouterr().out
    assert "replies to train on" in told.splitlines()[0]
    assert all(words in told for words in ("held metric", f"seqgan-kit chat {run}", f"report  {run / 'report.html'}"))

    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["likelihood"]["steps"] == 4
    assert json.loads((run / "run.json").read_text())["finished"] is True
    evaluated = [line for line in runs.lines(run) if "eval/perplexity" in line]
    assert [(line["phase"], line["step"]) for line in evaluated] == [
        ("maximum_likelihood", 2), ("maximum_likelihood", 4), ("adversarial", 1), ("adversarial", 2), ("control", 2),
    ]  # fmt: skip
    names = ("right", "said", "perplexity", "bleu2", "bleu4", "distinct1", "length", "repetition", "most_frequent")
    assert all(f"eval/{name}" in line for line in evaluated for name in names)
    assert {"reward", "length", "critic_loss", "nll", "discriminator_accuracy"} <= runs.lines(run)[-3].keys()

    saved = sorted((run / "samples").iterdir())
    assert len(saved) == len(evaluated)
    for path in saved:
        lines = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
        assert len(lines) == 8, "as many as were drawn, which are fewer than --evaluation.shown"
        assert all(len(line) == 2 and line[0] for line in lines)
    model = {path.name for path in (run / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "dialogue.json"} <= model
    assert json.loads((run / "model" / "dialogue.json").read_text()).keys() == {"end", "max_history", "length"}
    page = (run / "report.html").read_text("utf-8")
    table = page.partition('<h2 id="Replies">')[2].partition("</table>")[0]
    assert lines[0][0] in table
    assert ("<svg" in page) == (generator == "lstm")


@pytest.mark.parametrize("name", OPTIONS)
def test_options_run_to_the_end(here: Path, name: str) -> None:
    """With an LSTM, and what they change is in the numbers."""
    run = train(here, *OPTIONS[name], "--control.enabled", "false")
    for each in ("reward", "discriminator_loss", "eval/perplexity"):
        assert len(logged(run, "adversarial", each)) == 2, each
    assert bool(logged(run, "adversarial", "critic_loss")) == (name != "no critic")
    assert bool(logged(run, "adversarial", "kl")) == (name == "kl")
    assert bool(logged(run, "adversarial", "nll")) == (name != "no teacher")
    assert len(logged(run, "adversarial", "eval/ere")) == (name == "evaluators"), "at the phase's end"
    assert bool(logged(run, "adversarial", "eval/right")) == (name != "backward")


@pytest.mark.parametrize("generator", ["gpt2", "t5"])
@pytest.mark.parametrize("name", ["roll-outs", "ppo", "from the generator"])
def test_options_run_with_models_of_hugging_face(here: Path, generator: str, name: str) -> None:
    """These, too, and with an anchor."""
    run = train(here, *GENERATORS[generator], *OPTIONS[name], "--adversarial.kl", "0.1", "--control.enabled", "false")
    assert len(logged(run, "adversarial", "kl")) == 2


@pytest.mark.parametrize("first", ["--likelihood.steps", "--discriminator.steps"])
def test_phases_can_be_left_out(here: Path, first: str) -> None:
    """The game alone, or behind likelihood alone."""
    run = train(here, first, "0", "--control.enabled", "false")
    assert len(logged(run, "adversarial", "reward")) == 2


def test_likelihood_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a game there is no warm-up for it, which is told; resumed with rounds, both come."""
    run = train(here, "--adversarial.rounds", "0")
    said = capsys.readouterr()
    assert f"seqgan-kit chat {run}" in said.out
    assert "--adversarial.rounds 0: the discriminator's warm-up is left out, too" in said.err
    assert {line["phase"] for line in runs.lines(run)} == {"maximum_likelihood"}
    assert main(["resume", str(run), "--adversarial.rounds", "2"]) == 0
    phases = ["maximum_likelihood", "discriminator", "adversarial", "control"]
    assert list(dict.fromkeys(line["phase"] for line in runs.lines(run))) == phases


def test_the_control_can_take_as_long(here: Path) -> None:
    """Without a number of steps it takes as many as fit into the time of the game."""
    run = train(here, "--control.steps", "null")
    (total,) = {line["total"] for line in runs.lines(run) if line["phase"] == "control"}
    assert total >= 1


def test_half_of_the_warm_up_s_replies_are_searched_for(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--discriminator.beams 3: of 8 replies a batch, 4 are the best of 3 beams each."""
    searched = []

    def watched(network: Any, batch: int, *others: Any, **options: Any) -> Any:
        searched.append((batch, options["width"]))
        return search(network, batch, *others, **options)

    search = policy.beam_search
    monkeypatch.setattr(policy, "beam_search", watched)
    train(here, "--discriminator.beams", "3", "--control.enabled", "false")
    assert searched == [(4, 3)] * 2, "and none in the game"


@pytest.mark.parametrize("repeats", [1, 4])
def test_an_own_reward_sees_messages_and_references(here: Path, repeats: int) -> None:
    """Of each reply the messages before it, the human reply to them, and the columns of its conversation."""
    (here / "liking.py").write_text(
        """
calls = []

def seen(completions, prompts, references, topic, completion_ids):
    calls.append((completions, prompts, references, topic, completion_ids))
    return [float(len(set(text.split()) & set(reference.split()))) for text, reference in zip(completions, references)]

def brief(completions, completion_ids):
    return [[-0.1] * len(ids) for ids in completion_ids]
"""
    )
    tiny_models.write(here / "own.jsonl", tiny_models.conversations(), topic="shapes")
    run = train(
        here, "--data.path", "own.jsonl", "--adversarial.discriminator_weight", "0",
        "--adversarial.rewards", "[{function: liking.seen, weight: 2}, {function: liking.brief}]",
        "--adversarial.turns.repeats", str(repeats), "--control.enabled", "false",
    )  # fmt: skip
    calls: list[Any]
    tried, *calls = sys.modules.pop("liking").calls
    assert [len(each) for each in tried] == [2] * 5, "of two real replies, before there is a run"
    for completions, prompts, references, topic, ids in calls:
        assert len(completions) == len(prompts) == len(references) == len(ids) == 8
        assert topic == ["shapes"] * 8
        histories = [[message for message in one if message["role"] != "system"] for one in prompts]
        assert answer_shares(histories, references) == (1, 1)
        assert all(prompts[i] == prompts[i - i % repeats] for i in range(8))
        assert len({json.dumps(one) for one in prompts}) > 8 / repeats / 2
    # whole replies through their credit; and with Prefixes, the default, also without a discriminator's prefixes
    rewards = logged(run, "adversarial", "reward")
    expected = [
        2 * sum(len(set(a.split()) & set(b.split())) for a, b in zip(call[0], call[2], strict=True)) / 8
        for call in calls
    ]
    assert any(reward == pytest.approx(expected[0]) for reward in rewards)


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["lstm", "gpt2"])
def test_bf16_learns(here: Path, generator: str) -> None:
    """In mixed precision the game runs, and the loss falls."""
    run = train(
        here, *GENERATORS[generator], "--run.precision", "bf16", "--likelihood.steps", "60", "--adversarial.kl", "0.1",
        "--likelihood.optimizer.lr", "0.03", "--evaluation.every", "0", "--generator.hidden", "16",
    )  # fmt: skip
    losses = logged(run, "maximum_likelihood", "nll")
    assert sum(losses[-5:]) / 5 < 0.7 * sum(losses[:5]) / 5
    weights = load_file(run / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


# -- models of Hugging Face ----------------------------------------------------------------------------------------

PLAIN = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
kind, folder, length, history, reply = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = (AutoModelForCausalLM if kind == "gpt2" else AutoModelForSeq2SeqLM).from_pretrained(folder).eval()
history, reply = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (history, reply))
history, reply = torch.tensor([history + [tokenizer.eos_token_id]]), torch.tensor([reply + [tokenizer.eos_token_id]])
with torch.no_grad():
    if kind == "gpt2":
        logits = model(torch.cat([history, reply], 1)).logits[:, history.shape[1] - 1 : -1]
    else:
        logits = model(input_ids=history, labels=reply).logits
    value = logits.log_softmax(-1).gather(2, reply[..., None]).sum().item()
    mask = torch.ones_like(history)
    made = model.generate(input_ids=history, attention_mask=mask, do_sample=False, max_new_tokens=int(length))[0]
made = made[history.shape[1] if kind == "gpt2" else 1 :]
assert "seqgan_kit" not in sys.modules
print(json.dumps([value, tokenizer.decode(made, skip_special_tokens=True)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["gpt2", "t5"])
def test_plain_transformers_read_the_model(here: Path, capsys: pytest.CaptureFixture[str], generator: str) -> None:
    """A process without seqgan_kit gives a reply the same log-probability, and makes the same likeliest reply."""
    run = train(here, *GENERATORS[generator], "--likelihood.steps", "30", "--likelihood.optimizer.lr", "0.05")
    message, reply = "there is a large red star in the centre . where is the star ?", "in the centre ."
    template, length = load_template(run)
    told = template.histories([[{"role": "user", "content": message}]])[0]
    pair = to_replies([(told, template.replies([reply])[0])], template.end)
    with torch.no_grad():
        expected = (load_generator(run)(pair.ids, *pair.context) * pair.mask).sum().item()
    capsys.readouterr()
    assert main(["sample", str(run), "--text", message, "--temperature", "0"]) == 0
    greedy = capsys.readouterr().out.strip()
    done = subprocess.run(  # -I: no PYTHONPATH
        [sys.executable, "-I", "-c", PLAIN, generator, str(run / "model"), str(length), message, reply],
        capture_output=True, text=True, check=False, cwd=here, env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    value, made = json.loads(done.stdout)
    assert value == pytest.approx(expected, abs=1e-4)
    assert made == greedy


@pytest.mark.parametrize(("kind", "chat"), [("gpt2", False), ("gpt2", True), ("t5", False)])
def test_a_model_of_a_folder_is_fine_tuned(here: Path, kind: str, chat: bool) -> None:
    """One command; it begins with the loaded weights, as plain transformers compute their perplexity, and improves."""
    some = tiny_models.conversations()
    tiny_models.write(here / "train.jsonl", some[:-4])
    tiny_models.write(here / "held_out.jsonl", some[-4:])
    model = tiny_models.save(here / "model", kind, some, chat=chat)
    tokenizer = tiny_models.tokenizer(some, chat=chat)
    data = ["--data.path", "train.jsonl", "--data.held_out_path", "held_out.jsonl", "--generator.model", "model"]

    total, count = 0.0, 0
    for one in some[-4:]:
        for i in range(1, len(one), 2):
            if chat:
                text: Any = tokenizer.apply_chat_template(one[:i], add_generation_prompt=True, tokenize=False)
            else:
                text = "".join(f"{message['content']} {tiny_models.END} " for message in one[:i])
            told, reply = (
                torch.tensor([tokenizer(words, add_special_tokens=False)["input_ids"]])
                for words in (text, f"{one[i]['content']} {tiny_models.END}")
            )
            with torch.no_grad():
                if kind == "gpt2":
                    logits = model(torch.cat([told, reply], dim=1)).logits[:, told.shape[1] - 1 : -1]
                else:
                    logits = model(input_ids=told, labels=reply).logits
            total -= logits.log_softmax(-1).gather(2, reply[..., None]).sum().item()
            count += reply.shape[1]
    still = train(here / "still", *data, "--likelihood.optimizer.lr", "0", "--adversarial.rounds", "0")
    found = logged(still, "maximum_likelihood", "eval/perplexity")
    assert found == pytest.approx([torch.tensor(total / count).exp().item()] * 2, rel=1e-4)
    before, after = (load_file(folder / "model.safetensors") for folder in (here / "model", still / "model"))
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)

    run = train(here / "run", *data, "--likelihood.steps", "20", "--likelihood.optimizer.lr", "0.03")
    assert logged(run, "maximum_likelihood", "eval/perplexity")[-1] < 0.8 * found[0]
    assert json.loads((run / "model" / "tokenizer_config.json").read_text())["eos_token"] == tiny_models.END


def test_a_pretrained_model_is_fine_tuned_with_care(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Learning rates that were not given are told, kept in the run, and not ruinous: the model hardly moves."""
    some = tiny_models.conversations()
    tiny_models.write(here / "own.jsonl", some)
    tiny_models.save(here / "model", "gpt2", some)
    run = train(here, "--data.path", "own.jsonl", "--generator.model", "model")
    told = "model, fine-tuned: learning rates 0.0001 (--likelihood.optimizer.lr), 2e-05 (--adversarial.optimizer.lr)"
    assert told in capsys.readouterr().out.splitlines()[:3]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["likelihood"]["optimizer"]["lr"], config["adversarial"]["optimizer"]["lr"]) == (1e-4, 2e-5)
    before, after = (load_file(folder / "model.safetensors") for folder in (here / "model", run / "game"))
    # Adam moves a weight by about a learning rate a step: 4 of likelihood, and 2 of each kind in the game
    farthest = max((before[name] - after[name]).abs().max().item() for name in before)
    assert 1e-4 < farthest < 6e-4


def test_a_model_may_know_more_than_its_tokenizer(here: Path) -> None:
    """Vocabularies are often padded: what has no name is drawn, judged, and decodes to nothing."""
    some = tiny_models.conversations()
    tiny_models.write(here / "own.jsonl", some)
    tiny_models.save(here / "model", "gpt2", some, more=200)
    run = train(
        here, "--data.path", "own.jsonl", "--generator.model", "model", "--evaluation.evaluators", "8",
        "--likelihood.optimizer.lr", "0", *OPTIONS["roll-outs"],
    )  # fmt: skip
    assert load_generator(run).model.config.vocab_size == len(tiny_models.tokenizer(some)) + 200


def test_an_encoder_of_a_folder_reads_the_text(here: Path) -> None:
    """With its own tokenizer."""
    some = tiny_models.conversations()
    tiny_models.save(here / "encoder", "bert", some)
    for generator in GENERATORS:
        run = train(here / generator, *GENERATORS[generator], "--discriminator.model", "encoder")
        assert len(logged(run, "adversarial", "reward")) == 2


def test_weights_are_trained_in_full_precision(here: Path) -> None:
    """Whatever they were saved in."""
    some = tiny_models.conversations()
    tiny_models.write(here / "own.jsonl", some)
    tiny_models.save(here / "model", "gpt2", some).bfloat16().save_pretrained(here / "model")
    assert {tensor.dtype for tensor in load_file(here / "model" / "model.safetensors").values()} == {torch.bfloat16}
    run = train(here, "--data.path", "own.jsonl", "--generator.model", "model")
    assert {tensor.dtype for tensor in load_file(run / "model" / "model.safetensors").values()} == {torch.float32}


# -- adapters ------------------------------------------------------------------------------------------------------


def test_adapters_need_peft(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, one line says how to."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "peft" else find(name, *more))
    assert main(runs.tiny_dialogue(here / "run", "--generator.config", GPT2, "--generator.lora", "2")) == 1
    assert "--generator.lora 2 needs peft: pip install 'seqgan_kit[lora]'" in capsys.readouterr().err
    assert not (here / "run").exists()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_adapters_alone_are_trained(here: Path, kind: str) -> None:
    """The weights stay; the model that is saved has the adapters in its weights, and they lie beside it, too."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    some = tiny_models.conversations()
    tiny_models.write(here / "own.jsonl", some)
    model = tiny_models.save(here / "model", kind, some)
    run = train(
        here, "--data.path", "own.jsonl", "--generator.model", "model", "--generator.lora", "2",
        "--adversarial.kl", "0.1", "--likelihood.steps", "20", "--likelihood.optimizer.lr", "0.03",
        *OPTIONS["roll-outs"],
    )  # fmt: skip
    losses = logged(run, "maximum_likelihood", "nll")
    assert losses[-1] < losses[0] - 0.1
    plain = (AutoModelForCausalLM if kind == "gpt2" else AutoModelForSeq2SeqLM).from_pretrained(run / "model").eval()
    assert plain.state_dict().keys() == model.state_dict().keys()
    changed = {name for name, w in plain.state_dict().items() if not torch.allclose(w, model.state_dict()[name])}
    assert changed
    assert not [name for name in changed if "wte" in name or "shared" in name or "norm" in name or "ln_" in name]
    adapted = peft.PeftModel.from_pretrained(model, run / "model" / "adapter").eval()
    ids = torch.tensor([[3, 4, 5, 6]])
    inputs: dict[str, Any] = {"input_ids": ids} | ({} if kind == "gpt2" else {"decoder_input_ids": ids})
    with torch.no_grad():
        torch.testing.assert_close(adapted(**inputs).logits, plain(**inputs).logits, rtol=1e-4, atol=1e-4)
