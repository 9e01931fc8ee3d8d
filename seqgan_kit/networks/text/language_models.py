"""Any causal or encoder-decoder model of Hugging Face as a generator of replies: its forward, and its draws by a cache.

A reply is drawn under a history of tokens, padded on the left. What is differentiated and what is drawn go through the
same model, so that log-probabilities agree; neither goes through `generate`.
"""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map
from transformers import EncoderDecoderCache, PreTrainedModel

from seqgan_kit.networks.text import masks
from seqgan_kit.networks.text.histories import Given, each_once
from seqgan_kit.networks.text.keys_values import cache_of, pairs_of, with_room
from seqgan_kit.networks.text.output import log_probs

ADAPTER = ".lora_"
"""What the names of adapters' weights hold, and no others."""


class Unsuited(ValueError):
    """A model that is asked for what it does not do; says what."""


class LanguageModel(nn.Module):
    """p(y_t | history, y_<t) by a causal model, which reads the history before the reply, or an encoder-decoder.

    Args:
        model: with a language modelling head.

    Raises Unsuited for a model of neither kind.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.encodes = bool(model.config.is_encoder_decoder)
        if not isinstance(model.get_output_embeddings(), nn.Linear):
            raise Unsuited(f"{type(model).__name__} has no language modelling head")
        self.adapted: Any = None
        self.takes_positions = "position_ids" in inspect.signature(model.base_model.forward).parameters
        self.scale, self.cap = self._measured_head()
        self._whole_masks: bool | None = None  # not known yet

    def adapt(self, adapted: Any) -> None:
        """Trains adapters alone. adapted: peft's view of the model.

        From here on a state is that of the adapters, and a copy shares all other weights.
        """
        self.__dict__["adapted"] = adapted  # no part of its own: it has the model's weights
        self.register_state_dict_post_hook(_adapters_alone)
        self.register_load_state_dict_pre_hook(_once)
        self.register_load_state_dict_post_hook(_others_are_here)

    def __deepcopy__(self, memo: dict[int, Any]) -> LanguageModel:
        if self.adapted is not None:
            memo.update({id(one): one for one in self.parameters() if not one.requires_grad})
        copy = type(self).__new__(type(self))
        memo[id(self)] = copy
        copy.__dict__.update(deepcopy(self.__dict__, memo))
        return copy

    def forward(self, ids: Tensor, history: Tensor, turns: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-probability of each token of the replies: (batch, time), float32. ids: (batch, time). history, turns:
        (batch, past), mask: (batch, time), as of `Replies`; where it is False, 0."""
        hidden = self.features(ids, history, turns)
        if not self.cap:
            head = self.head
            bias = head.weight.new_zeros(len(head.weight)) if head.bias is None else head.bias
            return log_probs(hidden * self.scale, head.weight, bias, ids, mask)
        counted = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        logits = self.logits(hidden[counted]).float()
        found = -F.cross_entropy(logits, ids[counted], reduction="none")
        return found.new_zeros(ids.shape).masked_scatter(counted, found)

    def features(self, ids: Tensor, history: Tensor, turns: Tensor) -> Tensor:
        """What is known before each token of the replies: (batch, time, width)."""
        history_mask = turns >= 0
        if self.encodes:
            before = F.pad(ids[:, :-1], (1, 0), value=self.first)
            return self.decode(before, *self.encode(history, history_mask), use_cache=False).last_hidden_state
        read = torch.cat([history, ids[:, :-1]], dim=1)
        mask = torch.cat([history_mask, torch.ones_like(ids[:, :-1], dtype=torch.bool)], dim=1)
        hidden = self.read(read, mask, use_cache=False).last_hidden_state
        return hidden[:, -ids.shape[1] :]

    def given(self, history: Tensor, turns: Tensor) -> Given:
        """The model after these histories, to be drawn from."""
        return Given(self, history, turns)

    # Drawn from, its state is a tuple of tensors, batch first: the mask of what was read, keys and values of each
    # layer, which may have room for more, and for an encoder-decoder what the encoder made of the histories.

    def start(self, batch: int, history: Tensor, turns: Tensor) -> tuple[Tensor, Any]:
        if not self.encodes:
            return each_once(self._begin, history, turns >= 0)
        first = torch.full((batch, 1), self.first, device=history.device)
        cache = EncoderDecoderCache(cache_of(()), cache_of(()))
        return self._decode(first, torch.ones_like(first, dtype=torch.bool), *self.encode(history, turns >= 0), cache)

    def _begin(self, history: Tensor, history_mask: Tensor) -> tuple[Tensor, Any]:
        # a cache of the model's own would forget what a sliding window has passed, whose length then differs
        found = self.read(history, history_mask, past_key_values=cache_of(()), use_cache=True)
        return found.last_hidden_state[:, -1], (history_mask, pairs_of(found.past_key_values))

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        mask, pairs, *others = state
        cache = cache_of(pairs, mask.shape[1])
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        if self.encodes:
            encoded, history_mask, crossed = others
            both = EncoderDecoderCache(cache, cache_of(crossed))
            return self._decode(tokens.unsqueeze(1), mask, encoded, history_mask, both)
        found = self.read(tokens.unsqueeze(1), mask, past_key_values=cache, use_cache=True)
        return found.last_hidden_state[:, -1], (mask, pairs_of(found.past_key_values))

    def reserve(self, state: Any, rows: Tensor, steps: int) -> Any:
        """The state of these rows, (count,), with room for so many tokens: each `step` writes into it, so that an
        earlier state of the same rows must not be stepped again."""
        mask, pairs, *others = state
        return mask[rows], with_room(pairs, rows, mask.shape[1], steps), *tree_map(lambda one: one[rows], others)

    def _decode(
        self, tokens: Tensor, mask: Tensor, encoded: Tensor, history_mask: Tensor, cache: EncoderDecoderCache
    ) -> tuple[Tensor, Any]:
        found = self.decode(tokens, encoded, history_mask, past_key_values=cache, use_cache=True)
        cache = found.past_key_values
        past, crossed = pairs_of(cache.self_attention_cache), pairs_of(cache.cross_attention_cache)
        return found.last_hidden_state[:, -1], (mask, past, encoded, history_mask, crossed)

    @property
    def head(self) -> Any:
        return self.model.get_output_embeddings()

    @property
    def first(self) -> int:
        """The id that a decoder reads before the first token."""
        config = self.model.config
        start = getattr(config, "decoder_start_token_id", None)
        return int(config.bos_token_id if start is None else start)

    def read(self, ids: Tensor, mask: Tensor, **others: Any) -> Any:
        """A causal model without its head. ids: (batch, time), the last ones of mask (batch, all that was read)."""
        positions = {}
        if self.takes_positions:  # from the left, padding not counted
            places = (mask.long().cumsum(1) - 1).clamp_min(0)
            positions = {"position_ids": places[:, -ids.shape[1] :]}
        shown = masks.of_model(masks.causal(mask, ids.shape[1]), self.model) if self.whole_masks(ids.device) else mask
        return self.model.base_model(input_ids=ids, attention_mask=shown, **positions, **others, return_dict=True)

    def encode(self, history: Tensor, history_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Histories (batch, past) -> (batch, past, width), and which of these tell something, (batch, past)."""
        return each_once(self._encode, history, history_mask)

    def _encode(self, history: Tensor, history_mask: Tensor) -> tuple[Tensor, Tensor]:
        # an encoder counts places from the first, padding or not
        places = torch.arange(history.shape[1], device=history.device) - history_mask.sum(1, keepdim=True)
        ids, history_mask = history.gather(1, places % history.shape[1]), places < 0
        shown = history_mask
        if self.whole_masks(ids.device):
            shown = masks.of_model(masks.both_ways(shown, ids.shape[1]), self.model)
        found = self.model.get_encoder()(input_ids=ids, attention_mask=shown, return_dict=True)
        return found.last_hidden_state, history_mask

    def decode(self, ids: Tensor, encoded: Tensor, history_mask: Tensor, **others: Any) -> Any:
        """A decoder without its head."""
        if self.whole_masks(ids.device):
            cache, new = others.get("past_key_values"), ids.shape[1]
            read = ids.new_ones(len(ids), new + (0 if cache is None else cache.get_seq_length()), dtype=torch.bool)
            others["attention_mask"] = masks.of_model(masks.causal(read, new), self.model)
            history_mask = masks.of_model(masks.both_ways(history_mask, new), self.model)
        return self.model.get_decoder()(
            input_ids=ids,
            encoder_hidden_states=encoded,
            encoder_attention_mask=history_mask,
            **others,
            return_dict=True,
        )

    def whole_masks(self, device: torch.device) -> bool:
        """Whether the model is given `masks` as its layers use them: on a GPU, if it takes them, which is tried."""
        if device.type == "cpu":
            return False  # where to look at a mask costs nothing, and none is the quickest
        if self._whole_masks is None:
            self._whole_masks = masks.plain(self.model.config) and self._takes_whole_masks(device)
        return self._whole_masks

    @torch.no_grad()
    def _takes_whole_masks(self, device: torch.device) -> bool:
        was = self.training
        self.eval()
        ids, turns = (torch.tensor(rows, device=device) for rows in ([[0, 0, 1], [0, 1, 0]], [[-1, 0, 0], [0, 0, 0]]))
        found = []
        try:
            # within autocast the weights that it casts here would be kept, and have no gradient later
            with torch.autocast(device.type, enabled=False):
                for self._whole_masks in (False, True):
                    found.append(self.features(ids, ids, turns).float())
        except Exception:  # whatever a model does to a mask that it does not expect
            return False
        finally:
            self._whole_masks = None
            self.train(was)
        close = 5e-3 if self.head.weight.dtype == torch.float32 else 5e-2  # kernels differ by rounding
        return torch.allclose(found[0], found[1], rtol=close, atol=close)

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, width) -> (rows, vocabulary)."""
        logits = self.head(hidden * self.scale)
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits

    @torch.no_grad()
    def _measured_head(self) -> tuple[float, float]:
        """What scales the features before the head, and caps the logits after it, as this model does it: measured, as
        every model has its own name for it. Raises Unsuited for one that does something else."""
        was = self.model.training
        ids = torch.tensor([[0, 1, 2]], device=self.head.weight.device)
        mask = torch.ones_like(ids)
        inputs = {"decoder_input_ids": ids} if self.encodes else {}
        expected = self.model.eval()(input_ids=ids, attention_mask=mask, **inputs, use_cache=False).logits.float()
        if self.encodes:
            read = self.decode(ids, *self.encode(ids, mask.bool()), use_cache=False)
        else:
            read = self.read(ids, mask, use_cache=False)
        found = self.head(read.last_hidden_state).float()
        self.model.train(was)
        cap = float(getattr(self.model.config, "final_logit_softcapping", None) or 0)
        plain = cap * torch.atanh((expected / cap).clamp(-1 + 1e-6, 1 - 1e-6)) if cap else expected
        scale = float((found * plain).sum() / found.square().sum().clamp_min(1e-12))
        close = 1e-3 if self.head.weight.dtype == torch.float32 else 2e-2
        if not torch.allclose(found * scale, plain, rtol=close, atol=close * float(plain.abs().max())):
            raise Unsuited(f"{type(self.model).__name__} computes its logits in a way that is not known here")
        return (1.0 if abs(scale - 1) < close / 10 else scale), cap


class Unprompted(nn.Module):
    """A causal `LanguageModel` that writes texts of its own: a `sampling.TokenNetwork`.

    Of texts with classes, class c is told by token c, in a place of its own after the start token; `given(labels)` is
    then what is drawn from.

    Args:
        language: the model.
        start: the id that it reads before the first token.
    """

    def __init__(self, language: LanguageModel, start: int) -> None:
        super().__init__()
        self.language, self.first = language, start

    def forward(self, ids: Tensor, labels: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Log-probability of each token: (batch, time), float32. ids: (batch, time). labels: (batch,). mask: (batch,
        time), as of `Tokens`; where it is False, 0."""
        return self.language(ids, *self._before(len(ids), labels), mask=mask)

    def features(self, ids: Tensor, labels: Tensor | None = None) -> Tensor:
        """What is known before each token: (batch, time) -> (batch, time, width)."""
        return self.language.features(ids, *self._before(len(ids), labels))

    def given(self, labels: Tensor) -> Given:
        """The model of texts of these classes, (batch,), to be drawn from."""
        return self.language.given(*self._before(len(labels), labels))

    def start(self, batch: int) -> tuple[Tensor, Any]:
        return self.language.start(batch, *self._before(batch))

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.language.step(tokens, state)

    def reserve(self, state: Any, rows: Tensor, steps: int) -> Any:
        """As of `LanguageModel`."""
        return self.language.reserve(state, rows, steps)

    def logits(self, features: Tensor) -> Tensor:
        return self.language.logits(features)

    def _before(self, batch: int, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A history of the start token, and of what tells the class, and its turns."""
        history = torch.full((batch, 1), self.first, device=self.language.head.weight.device)
        if labels is not None:
            history = torch.cat([history, labels.unsqueeze(1)], dim=1)
        return history, torch.zeros_like(history)


def _adapters_alone(network: LanguageModel, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Leaves of a state what is trained; of copies that are not, too."""
    for name in [name for name in state if name.startswith(prefix) and ADAPTER not in name]:
        del state[name]


def _once(network: LanguageModel, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Of a state that has the base, and all by another name as well, as earlier versions saved it, the adapters."""
    for name in [name for name in state if name.startswith(prefix)]:
        if name.startswith(f"{prefix}adapted.") or ADAPTER not in name:
            del state[name]


def _others_are_here(network: LanguageModel, keys: Any) -> None:
    base = tuple(f"model.{name}" for name in network.model.state_dict() if ADAPTER not in name)
    keys.missing_keys[:] = [name for name in keys.missing_keys if not name.endswith(base)]
