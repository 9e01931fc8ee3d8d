"""Data sets, demonstrations and models made by a stranger: numbers and texts, of what lies there and fits.

The payloads are harmless: a module that writes a marker as it is imported, files beside the folder.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import tiny_models
from seqgan_kit.cli import main
from seqgan_kit.dialogue import rendering
from seqgan_kit.errors import UserError
from seqgan_kit.imitation.demonstrations import DemonstrationConfig
from seqgan_kit.imitation.environments import EnvironmentConfig, make
from seqgan_kit.imitation.formats import load, read_npz, write_npz
from seqgan_kit.imitation.minari_data import read_minari, write_minari
from seqgan_kit.imitation.recorded import settled
from seqgan_kit.language import pretrained
from seqgan_kit.networks.saved import load_frozen, model_folder
from seqgan_kit.tables import data_set, records
from test_cli import refused
from test_demonstrations import arrays, expert, needs_datasets, needs_minari
from test_dialogue_data import CONVERSATION, chats

CODE = "import pathlib; pathlib.Path({marker!r}).touch()\nfrom transformers import GPT2Config, GPT2LMHeadModel\n"


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What evil.py, which lies in the current folder, writes as it is imported."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    Path("evil.py").write_text(CODE.format(marker=str(tmp_path / "marker")))
    return tmp_path / "marker"


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000))


# -- demonstrations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["evil:Evil-v0", "GymV26Environment-v0", "Nobody-v0"])
def test_the_environment_of_demonstrations_is_not_imported(name: str, marker: Path) -> None:
    """Whatever its specification says makes it, and with which arguments."""
    kwargs = {"env_id": "evil:Evil-v0"}
    spec = gym.envs.registration.EnvSpec("Evil-v0", "evil:Evil", kwargs=kwargs).to_json()
    np.savez("demos.npz", **arrays(expert()), env_id=name, env_spec=spec)
    with pytest.raises(UserError, match=r"does not know by itself: give --environment\.id"):
        settled(EnvironmentConfig(), read_npz(Path("demos.npz")))
    words = ["train", "imitation", "--demonstrations.path", "demos.npz", "--run.folder", "run"]
    assert main(words) == 1
    assert not marker.exists()
    assert "evil" not in sys.modules


def test_a_registered_environment_is_made_as_it_is_registered(marker: Path) -> None:
    """Not by what a file of data names beside its id."""
    spec = gym.envs.registration.EnvSpec("CartPole-v1", "evil:Evil", vector_entry_point="evil:Evil").to_json()
    np.savez("demos.npz", **arrays(expert()), env_id="CartPole-v1", env_spec=spec)
    demonstrations = read_npz(Path("demos.npz"))
    found = settled(EnvironmentConfig(), demonstrations)
    assert found.id == "CartPole-v1"
    with closing(make(found)) as environment:
        assert type(environment.unwrapped).__module__ == "gymnasium.envs.classic_control.cartpole"
    assert not marker.exists()


def test_an_npz_is_asked_for_its_size_before_it_is_read(little_memory: None, tmp_path: Path) -> None:
    """Zeros of 8 MB in a few kB, and a shape without numbers."""
    write_npz(tmp_path / "good.npz", expert())
    assert len(read_npz(tmp_path / "good.npz").episodes) == 3
    np.savez_compressed(tmp_path / "zeros.npz", **{**arrays(expert()), "obs": np.zeros((1_000_000, 1))})
    with pytest.raises(UserError, match=r"obs holds 0\.0 GB when read, and 0\.0 GB of memory are free"):
        read_npz(tmp_path / "zeros.npz")


def test_an_npz_that_says_that_it_has_more_numbers(tmp_path: Path) -> None:
    """More than fits, or only more than there are."""
    for steps, told in ((10**15, r"obs holds 16,000,000\.0 GB when read"), (10**4, "obs has fewer numbers than its")):
        np.savez(tmp_path / "claims.npz", **{k: v for k, v in arrays(expert()).items() if k != "obs"})
        with zipfile.ZipFile(tmp_path / "claims.npz", "a") as archive, archive.open("obs.npy", "w") as file:
            header = {"shape": (steps, 4), "fortran_order": False, "descr": "<f4"}
            np.lib.format.write_array_header_1_0(file, header)
            file.write(b"\0" * 160)
        with pytest.raises(UserError, match=told):
            read_npz(tmp_path / "claims.npz")


@pytest.fixture
def hdf5(tmp_path: Path) -> Callable[[str], Path]:
    """A file of demonstrations whose observations are kept elsewhere, in one of three ways, or which is good."""
    h5py = pytest.importorskip("h5py")

    def made(way: str) -> Path:
        given = arrays(expert())
        with h5py.File(tmp_path / "secret.h5", "w") as file:
            file["obs"] = given["obs"]
        (tmp_path / "secret.raw").write_bytes(given["obs"].tobytes())
        with h5py.File(tmp_path / "demos.h5", "w") as file:
            for key in ("acts", "rews", "lens", "terminal"):
                file[key] = given[key]
            if way == "link":
                file["obs"] = h5py.ExternalLink("secret.h5", "obs")
            elif way == "storage":
                stored = [(str(tmp_path / "secret.raw"), 0, given["obs"].nbytes)]
                file.create_dataset("obs", given["obs"].shape, "f4", external=stored)
            elif way == "virtual":
                layout = h5py.VirtualLayout(given["obs"].shape, "f4")
                layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "obs", given["obs"].shape)
                file.create_virtual_dataset("obs", layout)
            elif way == "huge":
                file.create_dataset("obs", (10**14, 4), "f4", chunks=(1000, 4))
            else:
                file["obs"] = given["obs"]
        return tmp_path / "demos.h5"

    return made


@needs_minari
@pytest.mark.parametrize("way", ["link", "storage", "virtual"])
def test_an_hdf5_file_leads_to_no_other(way: str, hdf5: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=r"obs is kept in another file \(.*secret"):
        load(DemonstrationConfig(path=str(hdf5(way))))
    assert len(load(DemonstrationConfig(path=str(hdf5("good")))).episodes) == 3


@needs_minari
def test_an_hdf5_file_is_asked_for_its_size_before_it_is_read(hdf5: Callable[[str], Path]) -> None:
    """Which takes no room in the file."""
    with pytest.raises(UserError, match=r"demos\.h5 holds 1,600,000\.0 GB when read"):
        load(DemonstrationConfig(path=str(hdf5("huge"))))


@needs_minari
def test_a_minari_data_set_leads_to_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import h5py

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    with gym.make("CartPole-v1") as environment:
        write_minari("kit/test-v0", expert(), environment)
    folder = tmp_path / "minari" / "kit" / "test-v0"
    assert len(read_minari(folder).episodes) == 3
    file = folder / "data" / "main_data.hdf5"
    with h5py.File(file, "a") as content:
        del content["episode_0/actions"]
        content["episode_0/actions"] = h5py.ExternalLink("/elsewhere.h5", "actions")
    for source in (folder, "kit/test-v0"):
        with pytest.raises(UserError, match="episode_0/actions is kept in another file"):
            read_minari(source)
    file.rename(tmp_path / "outside.hdf5")
    file.symlink_to(tmp_path / "outside.hdf5")
    with pytest.raises(UserError, match=r"is a link to .*outside\.hdf5, outside of"):
        read_minari(folder)


# -- tables and data sets ------------------------------------------------------------------------------------------


def test_a_gzipped_table_is_read_no_further_than_fits(little_memory: None, tmp_path: Path) -> None:
    (tmp_path / "good.txt.gz").write_bytes(gzip.compress(b'{"text": "a"}\n'))
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb") as file:
        file.write(b'{"text": "' + b"a" * 2**26 + b'"}\n')
    with pytest.raises(UserError, match=r"bomb.jsonl.gz holds 0\.1 GB when read"):
        list(records(tmp_path / "bomb.jsonl.gz"))


@needs_datasets
def test_a_parquet_file_is_asked_for_its_size_before_it_is_read(little_memory: None, tmp_path: Path) -> None:
    """A million times the same text takes a few bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"] * 1_000_000}), tmp_path / "same.parquet")
    assert (tmp_path / "same.parquet").stat().st_size < 10_000
    with pytest.raises(UserError, match=r"same\.parquet holds"):
        list(records(tmp_path / "same.parquet"))


@needs_datasets
def test_a_data_set_names_only_files_of_its_own(tmp_path: Path) -> None:
    """Of its rows, of its splits, and of pictures; links within it are followed."""
    import datasets

    made, path = datasets.Dataset.from_dict({"text": ["a b", "c d"]}), tmp_path / "data"
    made.save_to_disk(path)
    arrow = next(path.glob("*.arrow"))
    arrow.rename(path / "real")
    arrow.symlink_to(path / "real")
    assert [row["text"] for _, row in records(path)] == ["a b", "c d"]
    (path / "real").rename(tmp_path / "outside.arrow")
    arrow.unlink()
    arrow.symlink_to(tmp_path / "outside.arrow")
    with pytest.raises(UserError, match=r"is a link to .*outside\.arrow, outside of"):
        data_set(path)
    arrow.unlink()
    state = json.loads((path / "state.json").read_text())
    for name in ("../outside.arrow", str(tmp_path / "outside.arrow"), "", 3):
        (path / "state.json").write_text(json.dumps({**state, "_data_files": [{"filename": name}]}))
        with pytest.raises(UserError, match=r"state\.json names .*, which is nothing in its folder"):
            data_set(path)
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "splits")
    (tmp_path / "splits" / "dataset_dict.json").write_text('{"splits": ["../data"]}')
    with pytest.raises(UserError, match=r"dataset_dict\.json names '../data'"):
        data_set(tmp_path / "splits")


@needs_datasets
def test_pictures_of_a_data_set_of_texts_are_not_opened(tmp_path: Path) -> None:
    """Wherever they are said to be; in a list they are refused, as they can't be left closed there."""
    import datasets

    rows = {"text": ["a b"], "image": [{"path": str(tmp_path / "outside.png"), "bytes": None}]}
    text, picture = datasets.Value("string"), {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    kinds = datasets.Features({"text": text, "image": picture})
    datasets.Dataset.from_dict(rows, kinds).save_to_disk(tmp_path / "data")
    kinds = datasets.Features({"text": text, "image": datasets.List(picture)})
    datasets.Dataset.from_dict({**rows, "image": [rows["image"]]}, kinds).save_to_disk(tmp_path / "lists")
    Image.new("RGB", (2, 2)).save(tmp_path / "outside.png")
    info = json.loads((tmp_path / "data" / "dataset_info.json").read_text())["features"]
    change(tmp_path / "data" / "dataset_info.json", features={**info, "image": {"_type": "Image"}})
    kind = {"_type": "List", "feature": {"_type": "Image"}}
    change(tmp_path / "lists" / "dataset_info.json", features={**info, "image": kind})
    assert [row for _, row in records(tmp_path / "data")] == [{"text": "a b", "image": rows["image"][0]}]
    with pytest.raises(UserError, match="column 'image' holds files inside lists, which are not read: remove it"):
        list(records(tmp_path / "lists"))


# -- models --------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A little GPT-2 in a folder, with its tokenizer."""
    tiny_models.save(tmp_path / "model", "gpt2", tiny_models.conversations())
    return tmp_path / "model"


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


WAYS: dict[str, Callable[[Path], Any]] = {
    "--generator.model": lambda folder: pretrained.limits_of(str(folder), None),
    "--generator.model, its weights": lambda folder: pretrained.generator(
        str(folder), None, 0, 5, 1, pretrained.CAUSAL
    ),
    "--generator.model, its tokenizer": lambda folder: pretrained.tokenizer_of(str(folder)),
    "--discriminator.model": lambda folder: pretrained.encoder(str(folder), None, 5, (5, "x"), str),
    "of a run": lambda folder: pretrained.load(folder),
    "an encoder": lambda folder: load_frozen(pretrained.AutoModel, model_folder(folder)),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_code_of_a_model_is_not_run(way: str, model: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anybody asked whether it may be: a `y` waits at the terminal."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    shutil.copy("evil.py", model / "evil.py")
    names = {"AutoConfig": "evil.GPT2Config", "AutoModelForCausalLM": "evil.GPT2LMHeadModel", "AutoModel": "evil.X"}
    change(model / "config.json", model_type="evil", auto_map={**names, "AutoTokenizer": ["evil.X", None]})
    change(model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.X", None]}, tokenizer_class="X")
    with pytest.raises(UserError, match="needs code that came along with it, and the kit runs none"):
        WAYS[way](model)
    assert not marker.exists()
    assert sys.stdin.read() == "y\n" * 9


def pickled(folder: Path) -> str:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return "holds pickled weights, which are not read: convert them"


def adapters(folder: Path) -> str:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/elsewhere"}))
    return "holds adapters: give the folder of the model that they are merged into"


def outside(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder.parent / "outside")
    (folder / "model.safetensors").symlink_to(folder.parent / "outside")
    return "model.safetensors is a link to .*outside, outside of"


def shards(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder.parent / "model-1.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(["transformer.wte.weight"], "../model-1.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return "names '../model-1.safetensors', which is no file beside it"


def kernels(folder: Path) -> str:
    change(folder / "config.json", attn_implementation="somebody/kernels")
    return "attn_implementation names code to download, and the kit runs none: delete that key"


@pytest.mark.parametrize("spoil", [pickled, adapters, outside, shards, kernels], ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("way", ["--generator.model", "of a run", "an encoder"])
def test_a_model_asks_for_nothing_else(way: str, spoil: Callable[[Path], str], model: Path) -> None:
    WAYS[way](model)
    with pytest.raises(UserError, match=spoil(model)):
        WAYS[way](model)


def test_a_configuration_asks_for_no_code_of_the_hub() -> None:
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "_attn_implementation": "somebody/kernels"}
    with pytest.raises(UserError, match="its attn_implementation is code to download: leave it out"):
        pretrained.generator(None, config, 0, 5, 1, pretrained.CAUSAL)


def test_the_advice_for_pickled_weights_is_good(model: Path) -> None:
    """What it says converts them, without running anything in them."""
    before = load_file(model / "model.safetensors")
    pickled(model)
    with pytest.raises(UserError) as caught:
        WAYS["of a run"](model)
    command = str(caught.value).partition("`")[2].rpartition("`")[0].replace("python ", f"{sys.executable} ", 1)
    subprocess.run(command, shell=True, check=True)
    assert WAYS["of a run"](model)
    assert before.keys() == load_file(model / "model.safetensors").keys()


def test_a_model_in_the_hubs_cache_is_read_through_its_links(model: Path, tmp_path: Path) -> None:
    hub = tmp_path / "models--tiny"
    (hub / "blobs").mkdir(parents=True)
    (hub / "snapshots" / "1").mkdir(parents=True)
    for i, path in enumerate(sorted(model.iterdir())):
        path.rename(hub / "blobs" / str(i))
        (hub / "snapshots" / "1" / path.name).symlink_to(Path("..") / ".." / "blobs" / str(i))
    assert WAYS["--generator.model"](hub / "snapshots" / "1")


# -- chat templates ------------------------------------------------------------------------------------------------

ENDLESS = (
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}"
)
TEMPLATES = {
    ENDLESS: "takes more than 0.2 s for a history",
    "{{ 9 ** 9 ** 9 }}": "computes powers",
    "{# " + "a" * 300_000 + " #}": "has 300006 characters",
    "{{ 1 // 0 }}": "fails (",
    "{% for a in range(9999) %}{{ 'a' * 999 }}{% endfor %}": "makes too long a text",
}


@pytest.mark.parametrize("template", TEMPLATES, ids=TEMPLATES.values())
def test_a_chat_template_has_a_limit(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 0.2)
    with pytest.raises(UserError) as caught:
        chats(template).histories([CONVERSATION])
    assert TEMPLATES[template] in str(caught.value)
    assert rendering.MEND in str(caught.value)


def test_the_mistake_of_a_model_folder_is_one_line(
    model: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line."""
    pickled(model)
    told = refused(capsys, "train", "text", "--generator.model", str(model), "--run.folder", "run")
    assert told.startswith(f"--generator.model {model} holds pickled weights")
    assert not Path("run").exists()
