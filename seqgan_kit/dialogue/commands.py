"""What `seqgan-kit` does with a run of dialogue: replies, a chat, scores, and the table at the end of training."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_kit.bounds import SAMPLE, Count, NotNegative, Share, Whole, check_fits
from seqgan_kit.commands import (
    Read,
    add_drawing,
    add_json,
    add_samples,
    add_unit,
    asked,
    print_record,
    tell_never_drawn,
    tell_unknown_words,
)
from seqgan_kit.errors import UserError
from seqgan_kit.files import checked, read_record, write_json
from seqgan_kit.report.measured import MEASURED, notes, read_measured
from seqgan_kit.report.models import BEST, add_model, model_folder, tell_model
from seqgan_kit.report.terminal import print_phases, print_places, print_samples, scores_table

if TYPE_CHECKING:
    from seqgan_kit.dialogue.template import Template

Messages = Sequence[dict[str, str]]
Backward = tuple[Any, "Template"]
"""Of a run of --data.backward: its network, and how its messages become tokens."""
BLOCK = 1024  # replies drawn at a time
MMI = 0.5  # weight of the message given the reply, in mutual information


def sample_options(parser: ArgumentParser) -> None:
    parser.add_argument("--text", action="append", default=[], help="Message to reply to; may be given several times")
    parser.add_argument(
        "--file",
        type=Path,
        help="File with a message a line, or a table (.jsonl, .csv, ...) of prompts, or of `messages` that end with a "
        "user's",
    )
    parser.add_argument(
        "--count", type=Count, default=1, help="Number of replies to each message (default: %(default)s)"
    )
    add_drawing(parser, "replies")
    parser.add_argument(
        "--beams",
        type=Whole,
        default=0,
        help="Width of a beam search, in place of drawing (default: %(default)s, none)",
    )
    parser.add_argument(
        "--sibling",
        type=NotNegative,
        default=0.0,
        help="Score that each later child of a beam loses; larger gives more various replies (default: %(default)s)",
    )
    parser.add_argument(
        "--backward",
        type=Path,
        help="Run that was trained with --data.backward true, for replies of mutual information",
    )
    parser.add_argument(
        "--weight",
        type=Share,
        default=MMI,
        help="Weight of the backward run in mutual information, 0 to 1 (default: %(default)s)",
    )
    add_model(parser)
    add_json(parser)


def sample(run: Path, options: Namespace, read: Read) -> None:
    """Prints replies to messages."""
    if options.beams and options.count > options.beams:
        raise UserError(f"sample --count {options.count}: with --beams {options.beams} there are at most as many")
    if options.beams and (options.temperature, options.top_k, options.top_p) != (1.0, 0, 1.0):
        raise UserError("--temperature, --top_k and --top_p are for drawing: a beam search has none, leave out --beams")
    if options.sibling and not options.beams:
        raise UserError("sample --sibling is for a beam search: give --beams, 10 for instance")
    if options.backward is not None and not options.beams:
        raise UserError("sample --backward ranks what a beam search finds: give --beams, 10 for instance")
    asked = _asked(options, read)
    import torch

    from seqgan_kit.language.data import unknown_words

    network, template, length = _load(run, options.model)
    drawn_from, never = _known_only(network, template, options)
    words = unknown_words(template.tokenizer, (said["content"] for one in asked for said in template.read(one)))
    tell_unknown_words(words, str(template.tokenizer.unk_token))
    backward = None if options.backward is None else _load_backward(options.backward)
    tell_model(run, options.model)
    torch.manual_seed(options.seed)
    for messages in asked:
        if options.beams:
            check_fits("sample --beams", options.beams, SAMPLE * 4 + 32 * len(template.tokenizer))
            replies: Iterable[str] = _decoded(drawn_from, template, length, messages, options, backward)
            replies = list(replies)[: options.count]
        else:
            replies = _drawn(drawn_from, template, length, messages, options)
        message = {"message": messages[-1]["content"]} if options.json or len(asked) > 1 else {}
        for reply in replies:
            print_record(options.json, **message, reply=reply)
    if never and not options.beams:
        tell_never_drawn(str(template.tokenizer.unk_token), drawn_from.expected)


def chat_options(parser: ArgumentParser) -> None:
    add_drawing(parser, "replies")
    add_model(parser)


def chat(run: Path, options: Namespace, _: Read) -> None:
    """Talks with a run's model in the terminal."""
    import torch

    from seqgan_kit.dialogue.chat import Chat, pieces
    from seqgan_kit.language.data import unknown_words
    from seqgan_kit.tokens.sampling import stream, with_context

    network, template, length = _load(run, options.model)
    drawn_from = _known_only(network, template, options)[0]
    tell_model(run, options.model)
    torch.manual_seed(options.seed)

    def reply(messages: Messages, temperature: float) -> Iterator[str]:
        drawn = with_context(drawn_from, template.ask([messages]))
        ids = stream(drawn, length, template.end, temperature, options.top_k, options.top_p)
        return pieces(ids, template.shown)

    def unknown(text: str) -> list[str]:
        return unknown_words(template.tokenizer, [template.words.read(text)])

    Chat(reply, options.temperature, unknown=unknown).run()


def evaluate_options(parser: ArgumentParser) -> None:
    add_samples(parser, "replies that are drawn")
    add_unit(parser)
    parser.add_argument(
        "--evaluators",
        type=Whole,
        default=0,
        help="Number of replies to train evaluators on, for AdverSuc and ERE (default: %(default)s, none)",
    )
    add_drawing(parser, "replies", unknown=False)
    add_model(parser)


def evaluate(run: Path, options: Namespace, read: Read) -> None:
    """Scores a run's model on held-out dialogues."""
    config, _ = read()
    samples, seed = asked("evaluate", options, config.evaluation)
    import torch

    from seqgan_kit.dialogue.evaluation import DialogueEvaluation, Drawing, check_evaluators
    from seqgan_kit.dialogue.models import load_generator
    from seqgan_kit.dialogue.sources import load
    from seqgan_kit.engine import devices
    from seqgan_kit.engine.provenance import check_data
    from seqgan_kit.language.pretrained import limits_of, tokenizer_of
    from seqgan_kit.language.units import tokenizer_name
    from seqgan_kit.samples import size

    network: Any = load_generator(run, model_folder(run, options.model))
    network.to(devices.for_evaluation(config.run.device))
    model = config.generator.model
    if model is not None:  # the run has its own copy of what it began with
        model = str(run / "model")
    source = load(config.data, config.run.seed, tokenizer_of(model), *limits_of(model, config.generator.config))
    check_data(run, source.fingerprint())
    check_evaluators("--evaluators", options.evaluators, source)
    samples = min(samples, size(source.held_out))
    recorded: Any = MEASURED in read_record(run) and read_measured(run)
    evaluation = DialogueEvaluation(source, options.unit or (recorded.unit if recorded else None))
    measured = evaluation.measured(samples, tokenizer_name(config, source))
    drawing = Drawing(options.temperature, options.top_k, options.top_p)
    tell_model(run, options.model)
    torch.manual_seed(seed)
    found, _ = evaluation(network, samples, drawing)
    if options.evaluators:
        found |= evaluation.thorough(network, options.evaluators, config.evaluation.evaluator, seed, drawing)
    print(f"metrics of {measured.head()}, seed {seed}, temperature {options.temperature:g}")
    print("\n".join([scores_table("", {"model": found}), *notes(measured)]))
    words: dict[str, Any] = {
        "model": options.model,
        MEASURED: measured._asdict(),
        "samples": samples,
        "seed": seed,
        "temperature": options.temperature,
    }
    write_json(run / "evaluation.json", {**words, "top_k": options.top_k, "top_p": options.top_p, "metrics": found})


COMMANDS = {"sample": (sample_options, sample), "chat": (chat_options, chat), "evaluate": (evaluate_options, evaluate)}


def summarise(run: Path) -> None:
    """What the phases did to each held metric, replies, and where everything is."""
    print_phases(run)
    print_samples(run, "replies")
    print_places(run, f"chat {run}")


def _asked(options: Namespace, read: Read) -> list[Messages]:
    """The histories of --text and --file."""
    texts = [checked(text, "--text").strip() for text in options.text]
    asked: list[Messages] = [[{"role": "user", "content": text}] for text in texts]
    if options.file is not None:
        from seqgan_kit.dialogue.conversations import read_histories
        from seqgan_kit.language.data import read_sentences
        from seqgan_kit.tables import is_table

        if is_table(options.file):
            asked += [one.messages for one in read_histories(options.file, read()[0].data)]
        else:
            asked += [[{"role": "user", "content": text}] for text in read_sentences(options.file).texts]
    if not asked or not all(messages[-1]["content"] for messages in asked):
        raise UserError('sample needs messages to reply to: give --text "hello", or --file with one a line')
    return asked


def _load(run: Path, name: str = BEST) -> tuple[Any, Template, int]:
    """A run's network, how its messages become tokens, and the most tokens of a reply."""
    from seqgan_kit.dialogue.models import load_generator, load_template

    folder = model_folder(run, name)
    return load_generator(run, folder), *load_template(run, folder)


def _known_only(network: Any, template: Template, options: Namespace) -> tuple[Any, list[int]]:
    """What replies are drawn from, and the ids that are never drawn, unless --unknown asks for them."""
    from seqgan_kit.language.data import unknown_id
    from seqgan_kit.tokens.sampling import Without

    unknown = unknown_id(template.tokenizer)
    never = [] if unknown is None or options.unknown else [unknown]
    drawing = options.temperature, options.top_k, options.top_p
    return Without(network, never, *drawing) if never else network, never


def _drawn(network: Any, template: Template, length: int, messages: Messages, options: Namespace) -> Iterator[str]:
    """As they come, however many."""
    from seqgan_kit.samples import repeated
    from seqgan_kit.tokens.sampling import sample, with_context

    drawing = (options.temperature, options.top_k, options.top_p)
    for start in range(0, options.count, BLOCK):
        many = min(BLOCK, options.count - start)
        given = repeated(template.ask([messages]), many)
        drawn = sample(with_context(network, given), many, length, template.end, *drawing)
        yield from map(template.words.shown, template.decode(drawn))


def _decoded(
    network: Any, template: Template, length: int, messages: Messages, options: Namespace, backward: Backward | None
) -> list[str]:
    """What a beam search finds, the best first; with a backward model, the best by mutual information."""
    from seqgan_kit.tokens.decoding import beam_search, mutual_information, rerank
    from seqgan_kit.tokens.sampling import with_context

    drawn = with_context(network, template.ask([messages]))
    beams = beam_search(drawn, 1, length, template.end, width=options.beams, sibling=options.sibling)
    if backward is not None:
        shown = map(template.words.shown, template.decode(beams.tokens))
        back = _message_given(*backward, list(shown), messages[-1]["content"])
        beams = rerank(beams, mutual_information(beams.log_probs, back.view_as(beams.log_probs), options.weight))
    found = zip(template.decode(beams.tokens), beams.log_probs[0].tolist(), strict=True)
    return [template.words.shown(reply) for reply, log_prob in found if log_prob > -math.inf]


def _load_backward(run: Path) -> Backward:
    """The model of a run of --data.backward. Raises UserError for any other run."""
    import yaml

    config = run / "config.yaml"
    known = yaml.safe_load(config.read_text("utf-8")) if config.is_file() else {}
    if not known.get("data", {}).get("backward"):
        raise UserError(f"sample --backward {run}: give a run that was trained with --data.backward true")
    network, template, _ = _load(run)
    return network, template


def _message_given(network: Any, template: Template, replies: Sequence[str], message: str) -> Any:
    """log p(message | reply) of each reply, (replies,)."""
    import torch

    from seqgan_kit.dialogue.template import to_replies

    words = template.words
    told = template.histories([[{"role": "user", "content": words.read(reply)}] for reply in replies])
    pairs = to_replies([(one, template.replies([words.read(message)])[0]) for one in told], template.end)
    with torch.no_grad():
        return network(pairs.ids, *pairs.context, mask=pairs.mask).sum(1)
