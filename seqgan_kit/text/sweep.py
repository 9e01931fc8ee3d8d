"""Quality and diversity of a run's models over temperatures, as Caccia et al. (2020) compare them.

"Language GANs Falling Short", section 3: sharpening any language model trades diversity for quality, so an adversarial
model must beat the whole curve of maximum likelihood, not one point of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from seqgan_kit.text.evaluation import TextEvaluation
from seqgan_kit.text.models import Generator
from seqgan_kit.text.sources import Source

TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
ORDER = 5


def axes(source: Source, order: int = ORDER) -> tuple[str, str]:
    """The metrics of quality and of diversity: what is known of the source decides.

    order: of BLEU and Self-BLEU. The oracle has both likelihoods instead, as the paper's section 4.1.
    """
    if source.kind == "oracle":
        return "nll_oracle", "nll_gen"
    return "consistent" if source.kind == "shapes" else f"bleu{order}", f"self_bleu{order}"


def sweep(
    evaluation: TextEvaluation,
    models: Mapping[str, Generator],
    temperatures: Sequence[float],
    samples: int,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """Of each model, {temperature, metrics} in the order of temperatures; the same random numbers at each."""
    found: dict[str, list[dict[str, Any]]] = {model: [] for model in models}
    with tqdm(total=len(models) * len(temperatures), desc="sweep", mininterval=1.0, dynamic_ncols=True) as bar:
        for model, network in models.items():
            for temperature in sorted(temperatures):
                torch.manual_seed(seed)
                metrics, _ = evaluation(network, samples, temperature)
                found[model].append({"temperature": temperature, "metrics": metrics})
                bar.update()
    return found
