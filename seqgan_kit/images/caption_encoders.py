"""Captions as vectors: what a generator of pictures is told of them.

An encoder is made or loaded, embeds all captions of the training data once (`embed`), and goes into the run's model
folder (`save_encoder`), so that a new caption gets the vector that it would have had in training (`load_encoder`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import read_json, write_json, write_whole
from seqgan_kit.language.encoders import (
    AGAIN,
    KIND,
    STANDARDISER,
    HuggingFaceEncoder,
    TextEncoder,
    digest,
    folder_sum,
)
from seqgan_kit.networks.pictures.joint_embedding import JointEmbedding, plain
from seqgan_kit.networks.saved import load_frozen, model_folder

Order = Literal["none", "clauses", "pairs"]

WORDS = "words.json"
COUNTED = {"none": "words", "clauses": "words by clause", "pairs": "words and pairs of words"}
FEW = 0.01  # of the captions, that words by clause may confuse
CLAUSE = re.compile(r"[,;:.!?]")
CLAUSES = 3  # that are told apart; the last stands for all after it, too


class Words(TextEncoder):
    """Counts of words, for a first layer of each player that learns what they mean.

    Words are what `\\w+` finds, in lower case, so this is for scripts with spaces between words. Those that are not
    among the entries are ignored. All vectors are multiplied by one number, so that over the captions of training the
    mean square of their norms is 1.

    Args:
        captions: of training.
        order: what is kept of the order of words. `none`: "a red star, but none is blue" and "a blue star, but none is
            red" are the same. `clauses`: a word counts by the clause that it is in, the first, the second or a later
            one; punctuation parts them. `pairs`: neighbouring pairs are counted, too, which must be met to be known.
        least: entries are in this many captions or more.
        most: the number of entries, the most frequent ones.
        given: how many pictures have each caption; where no entry is in `least` captions, as with names of classes,
            it must be in those of so many pictures.
    """

    def __init__(
        self,
        captions: Sequence[str],
        order: Order = "clauses",
        least: int = 2,
        most: int = 2048,
        given: Sequence[int] | None = None,
    ) -> None:
        self.order, self.least, self.most = order, least, most
        found = [(entry, i) for i, caption in enumerate(captions) for entry in set(entries_of(caption, order))]
        seen = Counter(entry for entry, _ in found)
        often = [entry for entry, count in seen.items() if count >= least]
        if not often and given is not None:
            pictures: Counter[str] = Counter()
            for entry, i in found:
                pictures[entry] += given[i]
            often = [entry for entry, count in pictures.items() if count >= least]
        # a pair is never more frequent than its words: of equal ones, the words come first
        often.sort(key=lambda entry: (-seen[entry], " " in entry, entry))
        if not often:
            raise UserError(
                f"no word is in {least} of the {len(captions)} captions, as {captions[0]!r}: give captions with words "
                "in common and blanks between them, or an encoder that reads characters, "
                "--joint.steps 2000 --joint.alphabet data"
            )
        entries = set(often[:most])
        counts = (Counter(e for e in entries_of(caption, order) if e in entries) for caption in captions)
        square = sum(count**2 for found in counts for count in found.values()) / len(captions)
        self._take(often[:most], square**-0.5)

    def _take(self, entries: Sequence[str], scale: float) -> None:
        self.entries = {entry: place for place, entry in enumerate(entries)}
        self.scale, self.dim = scale, len(entries)
        self.name = f"{self.dim} {COUNTED[self.order]}"

    def encode(self, captions: Sequence[str]) -> Tensor:
        found = (entries_of(caption, self.order) for caption in captions)
        places = [[self.entries[entry] for entry in some if entry in self.entries] for some in found]
        vectors = torch.zeros(len(captions), self.dim)
        rows = torch.tensor([row for row, found in enumerate(places) for _ in found], dtype=torch.int64)
        columns = torch.tensor([place for found in places for place in found], dtype=torch.int64)
        vectors.index_put_((rows, columns), torch.tensor(self.scale), accumulate=True)
        return vectors

    def unread(self, captions: Sequence[str]) -> int:
        """How many of the captions have a word (not: a pair) that is no entry, where it stands."""
        found = (entries_of(caption, self.order) for caption in captions)
        words = ([entry for entry in some if " " not in entry] for some in found)
        return sum(any(word not in self.entries for word in found) for found in words)

    def identity(self) -> str:
        return digest("words", self._content())

    def save(self, folder: Path) -> dict[str, Any]:
        write_json(folder / WORDS, self._content())
        return {}

    @staticmethod
    def load(folder: Path) -> Words:
        """What `save` wrote; raises UserError for a file that is missing or not like this."""
        path = folder / WORDS
        content = read_json(path, AGAIN)
        try:
            entries, scale, order = list(content["entries"]), float(content["scale"]), content["order"]
            if not (entries and all(isinstance(entry, str) for entry in entries) and len(set(entries)) == len(entries)):
                raise ValueError("entries must be different strings")
            if not (math.isfinite(scale) and scale > 0):
                raise ValueError("scale must be a positive number")
            if order not in COUNTED:
                raise ValueError(f"order must be one of {', '.join(COUNTED)}")
            words = Words.__new__(Words)
            words.order, words.least, words.most = order, int(content["least"]), int(content["most"])
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(f"{path} does not hold an encoder's words ({one_line(error)}): {AGAIN}") from None
        words._take(entries, scale)
        return words

    def _content(self) -> dict[str, Any]:
        fixed = {"order": self.order, "least": self.least, "most": self.most}
        return fixed | {"scale": self.scale, "entries": list(self.entries)}


def entries_of(caption: str, order: Order) -> list[str]:
    """What `Words` counts of a caption."""
    if order == "clauses":
        clauses = [words for clause in CLAUSE.split(plain(caption)) if (words := _words(clause))]
        return [f"{min(place, CLAUSES)}:{word}" for place, words in enumerate(clauses, 1) for word in words]
    words = _words(caption)
    return words + [f"{one} {other}" for one, other in pairwise(words)] if order == "pairs" else words


def confused(captions: Sequence[str], order: Order) -> int:
    """How many captions have the counts of another one, whose words are the same in another order."""
    alike: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for caption in captions:
        alike.setdefault(tuple(sorted(entries_of(caption, order))), set()).add(tuple(_words(caption)))
    return sum(len(some) for some in alike.values() if len(some) > 1)


def order_for(captions: Sequence[str]) -> Order:
    """`pairs` where clauses confuse more than a few captions of training, else `clauses`."""
    return "pairs" if confused(captions, "clauses") > FEW * len(set(captions)) else "clauses"


class Joint(TextEncoder):
    """The captions' side of a `JointEmbedding` that was trained with the pictures.

    Args:
        path: the folder that its `save_pretrained` wrote.
        device: where it runs.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        folder = model_folder(path)
        self.model, missing = load_frozen(JointEmbedding, folder)
        if missing:
            raise UserError(f"{path} is no joint embedding, it has no weights {missing[0]}: give another folder")
        self.model.to(device)
        self.dim, self.name, self._identity = self.model.config.dim, f"joint embedding {path}", folder_sum(folder)

    def encode(self, captions: Sequence[str]) -> Tensor:
        return self.model.embed_text(captions).float().cpu()

    def unread(self, captions: Sequence[str]) -> int:
        known, length = set(self.model.config.alphabet), self.model.config.length
        return sum(len(text) > length or not known.issuperset(text) for text in map(plain, captions))

    def identity(self) -> str:
        return digest("joint", self._identity)

    def save(self, folder: Path) -> dict[str, Any]:
        self.model.save_pretrained(folder)
        return {}


class Standardised(TextEncoder):
    """An encoder whose vectors become (vector - mean) / scale, in training and after it.

    One scale for all dimensions, so that those that matter little still do. A sentence encoder's vectors of norm 1 in
    384 dimensions have a standard deviation of .05 each, of which a new network sees next to nothing.

    mean: (dim,) float32, of each dimension. scale: the root of the mean variance.
    """

    def __init__(self, encoder: TextEncoder, mean: Tensor, scale: float) -> None:
        self.encoder, self.mean, self.scale = encoder, mean, scale
        self.dim, self.name = encoder.dim, encoder.name
        if mean.shape != (self.dim,):
            raise ValueError(f"{self.name} gives {self.dim} numbers, it is to be standardised by {len(mean)}")

    @staticmethod
    def by(encoder: TextEncoder, vectors: Tensor) -> Standardised:
        """By the encoder's vectors of the captions of training, (captions, dim); scale 1 where they are all the same.

        Otherwise the mean variance of a dimension becomes 1 with them.
        """
        variance, mean = torch.var_mean(vectors.float(), dim=0, correction=0)
        total = float(variance.double().mean())
        # what is left by rounding is no difference
        same = total <= 1e-12 * float(mean.double().square().mean())
        return Standardised(encoder, mean, 1.0 if same else math.sqrt(total))

    def encode(self, captions: Sequence[str]) -> Tensor:
        vectors = self.encoder.encode(captions)
        return (vectors - self.mean.to(vectors)) / self.scale

    def unread(self, captions: Sequence[str]) -> int:
        return self.encoder.unread(captions)

    def identity(self) -> str:
        return digest(self.encoder.identity(), self.mean.tolist(), self.scale)

    def save(self, folder: Path) -> dict[str, Any]:
        tensors = {"mean": self.mean.float(), "scale": torch.tensor(self.scale).double()}
        write_whole(folder / STANDARDISER, save(tensors))
        return self.encoder.save(folder) | {"standardised": True}


# On the disk


def embed(encoder: TextEncoder, captions: Sequence[str], cache: str | Path | None = None) -> Tensor:
    """`encoder.encode(captions)`, (captions, dim), each different caption once; read from the cache if it is there.

    cache: a folder for any number of encoders and lists of captions, or None. A file that is damaged is made anew.
    Raises UserError where the encoder gives numbers that are not finite, and for a cache that can't be written.
    """
    different = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
    path = Path(cache) / f"captions-{digest(encoder.identity(), list(different))}.safetensors" if cache else None
    vectors = None if path is None else _cached(path, (len(different), encoder.dim))
    if vectors is None:
        vectors = encoder.encode(list(different))
        bad = ~vectors.isfinite().all(dim=1)
        if bad.any():
            caption = list(different)[int(bad.nonzero()[0])]
            raise UserError(f"{encoder.name} gives numbers that are not finite for {caption!r}: train or copy it again")
        if path is not None:
            try:
                write_whole(path, save({"vectors": vectors.contiguous()}, {"sum": _content_sum(vectors)}))
            except OSError as error:
                raise UserError(
                    f"{path.parent} can't be written ({one_line(error)}): give another --text.cache, or leave it out"
                ) from None
    return vectors[torch.tensor([different[caption] for caption in captions], dtype=torch.int64)]


def save_encoder(encoder: TextEncoder, folder: Path) -> None:
    """All that `load_encoder` needs, into a folder that is made if it does not exist: JSON and safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / KIND).unlink(missing_ok=True)
    inner = encoder.encoder if isinstance(encoder, Standardised) else encoder
    kind = next((kind for kind, known in KINDS.items() if type(inner) is known), None)
    if kind is None:
        raise UserError(f"{type(inner).__name__} can't be saved with the model: take one of {', '.join(KINDS)}")
    write_json(folder / KIND, {"kind": kind} | encoder.save(folder))


def load_encoder(folder: Path) -> TextEncoder:
    """What `save_encoder` wrote, alone from that folder; raises UserError where it is missing or damaged."""
    if not (folder / KIND).is_file():
        raise UserError(f"{folder} holds no text encoder, {KIND} is missing: {AGAIN}")
    content = read_json(folder / KIND, AGAIN)
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{folder / KIND}: unknown kind {kind!r}, it is one of {', '.join(KINDS)}: {AGAIN}")
    encoder: TextEncoder
    if kind == "words":
        encoder = Words.load(folder)
    elif kind == "joint":
        encoder = Joint(folder)
    else:
        pooling = content.get("pooling")
        if pooling not in ("mean", "first", "own"):
            raise UserError(f"{folder / KIND}: unknown pooling {pooling!r}: {AGAIN}")
        encoder = HuggingFaceEncoder(folder, pooling)
    return _standardised(encoder, folder) if content.get("standardised") else encoder


KINDS: dict[str, type[TextEncoder]] = {"words": Words, "joint": Joint, "huggingface": HuggingFaceEncoder}


def _words(caption: str) -> list[str]:
    return re.findall(r"\w+", plain(caption))


def _standardised(encoder: TextEncoder, folder: Path) -> Standardised:
    path = folder / STANDARDISER
    try:
        with safe_open(path, "pt") as file:
            mean, scale = file.get_tensor("mean"), float(file.get_tensor("scale"))
        if not mean.isfinite().all() or not (math.isfinite(scale) and scale > 0):
            raise ValueError("not finite means and a positive scale")
        return Standardised(encoder, mean, scale)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} can't be read ({one_line(error)}): {AGAIN}") from None


def _cached(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """The vectors in a cache's file, or None where it is missing or not whole."""
    try:
        with safe_open(path, "pt") as file:
            vectors, metadata = file.get_tensor("vectors"), file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    whole = vectors.shape == shape and vectors.dtype == torch.float32 and metadata.get("sum") == _content_sum(vectors)
    return vectors if whole else None


def _content_sum(vectors: Tensor) -> str:
    return hashlib.sha256(vectors.contiguous().numpy().data).hexdigest()
