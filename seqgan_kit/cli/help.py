"""The help of `train TASK`: the ten options to know, and all of them."""

from __future__ import annotations

import re

from seqgan_kit.cli.slots import SLOTS
from seqgan_kit.cli.source import Option, described, purpose, wrapped

TEN = {
    "text": "data.path data.tokenizer generator.model generator.hidden likelihood.steps adversarial.rounds "
    "adversarial.credit control.enabled run.folder run.seed",
    "dialogue": "data.path data.max_history generator.model generator.hidden likelihood.steps adversarial.rounds "
    "adversarial.teacher_forcing control.enabled run.folder run.seed",
    "imitation": "environment.id demonstrations.path demonstrations.trajectories cloning.warm_up "
    "adversarial.environment_steps discriminator.objective policy.improvement reward run.folder run.seed",
    "images": "data.path data.side text.encoder text.order generator.width discriminator.matching adversarial.rounds "
    "second.side run.folder run.seed",
    "encoder": "data.path data.side joint.steps joint.batch_size joint.length joint.dim joint.objective joint.alphabet "
    "run.folder run.seed",
}


def short_help(task: str) -> str:
    """The ten options to know of a task, and where the others are."""
    options = [described(task, name) for name in TEN[task].split()]
    lines = [_usage(task), "", wrapped(purpose(task)), "", "Ten options to know:", ""]
    lines += [_pointed(task, option._replace(help=sentence(option.help))).text() for option in options]
    lines += ["", f"All options: seqgan-kit train {task} --help all"]
    if SLOTS[task]:
        name = next(iter(SLOTS[task]))
        lines.append(f"The classes that there are for an option: seqgan-kit train {task} --{name}.help")
    return "\n".join(lines)


def whole_help(task: str) -> str:
    """All options of a task, by groups."""
    from seqgan_kit.cli.parsing import groups

    lines = [_usage(task), "", wrapped(purpose(task)), ""]
    for group in groups(task):
        title = f"{group.title} (--{group.name}.*)" if group.name else group.title
        lines += [wrapped(f"{title}:"), "", *(_pointed(task, option).text() for option in group.options), ""]
    lines.append(wrapped("A whole group can be read from a YAML file, too: --run FILE.yaml."))
    return "\n".join(lines)


def sentence(text: str) -> str:
    """The first sentence."""
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", text, maxsplit=1)[0]


def _usage(task: str) -> str:
    return f"usage: seqgan-kit train {task} [--config FILE.yaml] [--any.option VALUE ...]"


def _pointed(task: str, option: Option) -> Option:
    """With where the classes are listed, if it takes one."""
    return option._replace(help=f"{option.help} See --{option.name}.help.") if option.name in SLOTS[task] else option
