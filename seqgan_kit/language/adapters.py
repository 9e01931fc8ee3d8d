"""Adapters (LoRA, Hu et al. 2022), which are trained in place of a pretrained model's weights."""

from __future__ import annotations

import importlib.util

from torch import nn
from transformers.pytorch_utils import Conv1D

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.networks.text.language_models import LanguageModel


def adapt(network: LanguageModel, rank: int, option: str) -> None:
    """Adapters in all linear layers but the head; only they are trained. Raises UserError, naming `option`."""
    if importlib.util.find_spec("peft") is None:
        raise UserError(f"{option} {rank} needs peft: pip install 'seqgan_kit[lora]'")
    try:
        import peft  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError(
            f"{option} {rank}: peft can't be imported ({one_line(error, 300)}): pip install -U 'seqgan_kit[lora]'"
        ) from error

    transposed = any(isinstance(part, Conv1D) for part in network.model.modules())  # GPT-2's
    config = peft.LoraConfig(r=rank, target_modules="all-linear", fan_in_fan_out=transposed)
    adapted = peft.get_peft_model(network.model, config)
    check_ties(adapted, option)
    network.adapt(adapted)


def check_ties(adapted: nn.Module, option: str) -> None:
    """Raises UserError where an adapter is on a weight that another layer has, too, such as an input embedding that is
    tied to the head: merged, it would change that layer as well, which was trained without it."""
    names: dict[int, list[str]] = {}
    for name, parameter in adapted.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    layers = [name.partition(".lora_")[0] + "." for found in names.values() for name in found if ".lora_" in name]
    for found in names.values():
        hit = [name for name in found if name.startswith(tuple(layers))]
        if hit and len(found) > 1:
            other = next((name for name in found if name not in hit), found[-1])
            raise UserError(
                f"{option}: {hit[0]} is {other}, too, so an adapter on it can't be merged: give {option} 0, which "
                "trains the weights"
            )
