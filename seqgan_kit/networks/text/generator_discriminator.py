"""A discriminator made of a generator: what reads and writes replies well can also judge them."""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.seq2seq import Seq2SeqGenerator
from seqgan_kit.samples import last


class GeneratorDiscriminator(nn.Module):
    """History and reply -> a logit, higher = more human: (batch,); or one of each of the reply's prefixes, in one pass.

    A copy of the generator with a linear layer, 0 at first, in the place of its own; as reward models of language
    models begin (Ouyang et al. 2022, sec. 3.5).

    Args:
        generator: to be copied. `follow` takes its weights later.
        width: of its features.
    """

    scores_prefixes = True

    def __init__(self, generator: Seq2SeqGenerator | LanguageModel, width: int) -> None:
        super().__init__()
        self.generator = deepcopy(generator)
        if isinstance(self.generator, Seq2SeqGenerator):
            self.generator.output.requires_grad_(False)
        elif self.generator.adapted is None:  # where it is the embedding, too, that is trained
            weight = self.generator.head.weight
            self.generator.head.requires_grad_(weight is self.generator.model.get_input_embeddings().weight)
        self.output = nn.Linear(width, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def follow(self, generator: nn.Module) -> None:
        """Takes the generator's weights."""
        self.generator.load_state_dict(generator.state_dict())

    def forward(self, ids: Tensor, mask: Tensor, history: Tensor, turns: Tensor, prefixes: bool = False) -> Tensor:
        """ids, mask: (batch, time). history, turns: (batch, past), as of `Replies`. -> (batch,), float32, of what the
        mask shows; (batch, time), of each prefix, where it is asked for."""
        features = self.generator.features(F.pad(ids, (0, 1)), history, turns)[:, 1:]  # known after each token
        read = features if prefixes else last(features, mask)
        return self.output(read.to(self.output.weight.dtype)).squeeze(-1).float()
