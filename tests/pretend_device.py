"""A GPU that is not there: its tensors hold their numbers on the CPU, and CUDA's rules about devices are kept.

What mixes devices as CUDA would refuse it raises Mixed. Whatever makes the program wait for the device is logged with
file and line: results that are read, copies that block, shapes that depend on numbers, indices that lie on the CPU.
Kernel launches are counted, one for each operation that is no view; cuDNN's recurrent layers, which are one launch on a
GPU, count as many as they have steps here.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

import seqgan_kit
from seqgan_kit.engine import devices

NAME = "pretend"


class Backend(_DummyBackendModule):
    """What torch asks a device's module for."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_setup_privateuseone_for_python_backend(NAME, Backend())
DEVICE = torch.device(NAME, 0)
PACKAGE = f"{Path(seqgan_kit.__file__).parent}/"
WAIT = {
    *("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"),
    *("equal", "is_nonzero", "bincount", "repeat_interleave", "histc", "linalg_eigh", "_linalg_check_errors"),
}
"""Operations whose result, or the shape of it, the CPU must see."""
INDEX = {"index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index"}
WITH_CPU = {"copy_", "_to_copy", "_pack_padded_sequence", "_pack_padded_sequence_backward", "set_"}
ONE_DEVICE = {"stack", "cat"}  # which take no number of another device, as arithmetic does
NO_LAUNCH = {"_local_scalar_dense", "is_nonzero", "empty", "empty_like", "empty_strided", "new_empty", "set_"}


class Mixed(RuntimeError):
    """Tensors of both devices where CUDA refuses them."""


class Log:
    """waits: how often the program waited for the device, by "file:line function: operation" of the package, or of the
    test. launches: of kernels, by operation. doubles: whether the device knows float64, which Apple's do not."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.doubles = True

    def __sub__(self, other: Log) -> Log:
        found = Log()
        found.waits, found.launches = self.waits - other.waits, self.launches - other.launches
        return found

    def copy(self) -> Log:
        return self - Log()

    def wait(self, operation: str) -> None:
        frame: Any = sys._getframe(1)
        while frame and not frame.f_code.co_filename.startswith(PACKAGE):
            frame = frame.f_back
        code = frame and frame.f_code
        where = f"{code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno} {code.co_name}" if code else "test"
        self.waits[f"{where}: {operation}"] += 1


LOG = Log()


class Pretended(Tensor):
    """A tensor on the device. Its dispatch is below autograd's, which sees an ordinary tensor."""

    _inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "layout": inner.layout}
        made: Pretended = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, dtype=inner.dtype, device=DEVICE, **layout
        )
        made._inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _done(function, args, kwargs or {})

    def tolist(self) -> Any:
        LOG.wait("tolist")
        return self._inner.tolist()

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_plain_tensor(index, dtype=torch.int64) if isinstance(index, list) else index)

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert a tensor of the pretend device to numpy; copy it to the CPU first")

    def untyped_storage(self) -> torch.UntypedStorage:
        return self._inner.untyped_storage()  # whose address tells which weights are tied

    def __deepcopy__(self, memo: dict[int, Any]) -> Pretended:
        if id(self) not in memo:
            memo[id(self)] = made = Pretended(self._inner.detach().clone())
            made.__dict__.update({name: value for name, value in self.__dict__.items() if name != "_inner"})
            made.requires_grad_(self.requires_grad)
        found: Pretended = memo[id(self)]
        return found

    def new_tensor(self, data: Any, **options: Any) -> Tensor:  # type: ignore[override]
        return _tensor(data, **{"dtype": self.dtype, "device": self.device} | options)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Pretended({self._inner})"


def _done(function: Any, args: Any, kwargs: Any) -> Any:
    """The operation on the CPU, logged, or Mixed."""
    name = function._schema.name.removeprefix("aten::")
    given = tree_leaves((args, kwargs))
    here = [one for one in given if isinstance(one, Pretended)]
    _check(name, args, kwargs, here, [one for one in given if isinstance(one, Tensor) and type(one) is not Pretended])
    wanted = kwargs.get("device")
    wanted = None if wanted is None else torch.device(wanted)
    _log(function, name, args, wanted)
    given_args = args
    known = {id(one._inner): one for one in here}
    args, kwargs = tree_map(lambda one: one._inner if isinstance(one, Pretended) else one, (args, kwargs))
    if wanted is not None:
        kwargs = {key: value for key, value in kwargs.items() if key != "pin_memory"} | {"device": "cpu"}
    result = CELLS[name](*args, **kwargs) if name in CELLS else function(*args, **kwargs)
    if torch.Tag.inplace_view in function.tags:  # its shape, too, is changed in place
        with no_dispatch():
            return function(*given_args, **kwargs)
    if (wanted or DEVICE).type == "cpu":
        return result
    if name == "_pack_padded_sequence":  # how many rows each step has is known on the CPU
        return Pretended(result[0]), result[1]
    onto_cpu = name == "copy_" and id(args[0]) not in known
    return result if onto_cpu else tree_map(lambda one: _there(one, known), result)


def _there(one: Any, known: dict[int, Pretended]) -> Any:
    if not isinstance(one, Tensor):
        return one
    if not LOG.doubles and one.dtype == torch.float64:
        raise TypeError("float64 on a device that does not know it")
    found = known[id(one)] if id(one) in known else Pretended(one)  # what is changed in place stays the same tensor
    assert found.shape == one.shape, "an operation changes a tensor's shape in place, which is not pretended here"
    return found


def _check(name: str, args: Any, kwargs: Any, here: list[Pretended], others: list[Tensor]) -> None:
    if kwargs.get("generator") is not None:
        raise Mixed(f"{name}: a generator of the CPU for a tensor of the device")
    if not here or name in WITH_CPU:
        return
    if name in INDEX:  # its indices may be the CPU's
        others = [one for one in [args[0], *args[2:3]] if isinstance(one, Tensor) and type(one) is not Pretended]
    numbers = (name not in ONE_DEVICE and any(one.dim() for one in here)) or not any(one.dim() for one in others)
    if any(one.dim() or name in ONE_DEVICE for one in others) or (others and not numbers):
        raise Mixed(f"{name}: tensors of the device and of the CPU")


def _log(function: Any, name: str, args: Any, wanted: torch.device | None) -> None:
    if name in WAIT:
        LOG.wait(name)
    elif name == "_to_copy" and wanted is not None and wanted.type == "cpu":
        LOG.wait("read")
    elif name == "copy_" and type(args[0]) is not type(args[1]) and not (len(args) > 2 and args[2]):
        LOG.wait("written, blocking" if isinstance(args[0], Pretended) else "read")
    elif name in INDEX:
        indices = [one for one in args[1] if one is not None]
        number = name.startswith("index_put") and not isinstance(args[2], Pretended)
        if any(type(one) is not Pretended for one in indices):
            LOG.wait("an index of the CPU")
        if any(one.dtype == torch.bool for one in indices) and not (number and len(indices) == 1):
            LOG.wait("a mask as an index")
    returns = [one.alias_info for one in function._schema.returns]
    view = any(one is not None and not one.is_write for one in returns)
    LOG.launches[name] += not view and name not in NO_LAUNCH


# -- what the CPU has no kernels for: the cells of recurrent layers, as a GPU fuses them -------------------------------


def _lstm(given: Tensor, known: Tensor, cell: Tensor, *biases: Tensor) -> tuple[Tensor, ...]:
    enter, forget, new, leave = sum(biases, given + known).chunk(4, 1)  # type: ignore[union-attr]
    enter, forget, leave, new = enter.sigmoid(), forget.sigmoid(), leave.sigmoid(), new.tanh()
    after = forget * cell + enter * new
    return leave * after.tanh(), after, torch.cat([enter, forget, new, leave], 1)


def _lstm_back(
    of_hidden: Tensor | None, of_cell: Tensor | None, cell: Tensor, after: Tensor, gates: Tensor, biases: bool
) -> tuple[Tensor | None, ...]:
    enter, forget, new, leave = gates.chunk(4, 1)
    squashed = after.tanh()
    of_hidden = torch.zeros_like(after) if of_hidden is None else of_hidden
    slope = of_hidden * leave * (1 - squashed**2) + (0 if of_cell is None else of_cell)
    of_gates = [slope * new * enter * (1 - enter), slope * cell * forget * (1 - forget)]
    of_gates += [slope * enter * (1 - new**2), of_hidden * squashed * leave * (1 - leave)]
    found = torch.cat(of_gates, 1)
    return found, slope * forget, found.sum(0) if biases else None


def _gru(given: Tensor, known: Tensor, hidden: Tensor, *biases: Tensor) -> tuple[Tensor, ...]:
    given, known = (given + biases[0], known + biases[1]) if biases else (given, known)
    (reset, update, new), (resets, updates, news) = given.chunk(3, 1), known.chunk(3, 1)
    reset, update = (reset + resets).sigmoid(), (update + updates).sigmoid()
    new = (new + reset * news).tanh()
    return new + update * (hidden - new), torch.cat([reset, update, new, hidden, news], 1)


def _gru_back(of_hidden: Tensor, kept: Tensor, biases: bool) -> tuple[Tensor | None, ...]:
    reset, update, new, hidden, news = kept.chunk(5, 1)
    of_update = of_hidden * (hidden - new) * update * (1 - update)
    of_new = of_hidden * (1 - update) * (1 - new**2)
    of_reset = of_new * news * reset * (1 - reset)
    given = torch.cat([of_reset, of_update, of_new], 1)
    known = torch.cat([of_reset, of_update, of_new * reset], 1)
    return given, known, of_hidden * update, given.sum(0) if biases else None, known.sum(0) if biases else None


CELLS = {
    "_thnn_fused_lstm_cell": _lstm,
    "_thnn_fused_lstm_cell_backward_impl": _lstm_back,
    "_thnn_fused_gru_cell": _gru,
    "_thnn_fused_gru_cell_backward": _gru_back,
    "_fused_sdp_choice": lambda *_, **__: 0,  # attention by its formula
}
_fallback, _aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
_fallback.fallback(lambda function, *args, **kwargs: _done(function, args, kwargs), "PrivateUse1")
for _name in (
    "arange",
    "arange.start",
    "arange.start_step",
    "randperm",
    "linspace",
    "eye",
    "eye.m",
):  # else they grow an empty tensor
    _packet, _, _overload = _name.partition(".")
    _made: Any = getattr(getattr(torch.ops.aten, _packet), _overload or "default")
    _aten.impl(_name, lambda *args, function=_made, **kwargs: _done(function, args, kwargs), "PrivateUse1")
_fallback.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")


def _in_precision(function: Any, *args: Any, **kwargs: Any) -> Any:
    """What autocast does of products: their floats are cast first."""
    kind, key = torch.get_autocast_dtype(NAME), torch._C.DispatchKey.AutocastPrivateUse1
    floats = (torch.float32, torch.bfloat16, torch.float16)
    cast = lambda one: one.to(kind) if isinstance(one, Tensor) and one.dtype in floats else one  # noqa: E731
    with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(key)):
        return function(*tree_map(cast, args), **tree_map(cast, kwargs))


for _name in ("linear", "matmul", "mm", "addmm", "bmm", "conv1d", "conv2d"):
    _made = getattr(torch.ops.aten, _name).default
    _aten.impl(
        _name, lambda *args, function=_made, **kwargs: _in_precision(function, *args, **kwargs), "AutocastPrivateUse1"
    )


# -- what torch does in C++, where neither class nor fallback are asked -----------------------------------------------

_plain_tensor, _plain_one_hot, _plain_apply = torch.tensor, F.one_hot, nn.Module._apply


def _tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
    made = _plain_tensor(data.cpu() if isinstance(data, Pretended) else data, **options)
    return made if device is None else made.to(device)  # on a GPU, too, it is made on the CPU and then copied


def _one_hot(ids: Tensor, classes: int = -1) -> Tensor:
    if not isinstance(ids, Pretended) or classes < 0:
        return _plain_one_hot(ids, classes)
    return Pretended(_plain_one_hot(ids._inner, classes))  # which does not look at its numbers on a GPU


def _moved(module: nn.Module, function: Any, recurse: bool = True) -> nn.Module:
    """In place, as a GPU's weights are, so that tied ones stay tied."""
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return _plain_apply(module, function, recurse)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps)


@contextmanager
def plugged_in(kind: str = "cuda") -> Iterator[Log]:
    """Within it `--run.device cuda`, or mps, is this device. Gives the log, which begins anew."""
    LOG.__init__()  # type: ignore[misc]
    LOG.doubles = kind != "mps"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "present", lambda other: other == kind)
        patch.setattr(
            devices, "chosen", lambda asked: DEVICE if devices.kind_of(asked) == kind else torch.device("cpu")
        )
        patch.setenv("ACCELERATE_TORCH_DEVICE", str(DEVICE))
        patch.setattr(torch, "tensor", _tensor)
        patch.setattr(torch, "as_tensor", lambda data, **o: data if isinstance(data, Tensor) else _tensor(data, **o))
        patch.setattr(F, "one_hot", _one_hot)
        patch.setattr(torch, "inference_mode", torch.no_grad)
        patch.setattr(nn.Module, "_apply", _moved)
        yield LOG
