"""Damaged model files into every loader: ``python -m tests.fuzz.model_files --count 10000``, from the repository's root.

A damaged file must be refused with a typed error of one sentence, or read as what it now says, which is checked against a second reading of it
(`reading`). Nothing else may happen: no other exception, no Python warning, no hang, no gigabytes.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tritloom.host.errors import TritloomError
from tritloom.host.formats.convert import convert, open_source
from tritloom.host.model.file import ModelFile, open_model
from tritloom.host.model.model import Model
from tritloom.host.trits import Ternary
from tritloom.host.words import ArrayOrder
from tritloom.rtl.geometry import Geometry
from tritloom.sim.golden import NumpyAccelerator

from ..formats.checkpoints import AUTO, CLASSIC, ONLINE, Gguf, HuggingFace, gguf_name, make_golden, write_tokenizer
from .mutation import mutate_bytes, mutate_json, mutate_numbers
from .reading import parse_gguf, read_folder_tensors

__all__ = ["FORMATS", "Format", "Outcome", "Wrong", "campaign"]

#: Longest that a file of a few kilobytes may take, in seconds of a processor, and what it may take of memory, in bytes.
_LONGEST_S = 20.0
_MEMORY = 2 << 30

_TEXT = "the weaver at the loom"


class Wrong(AssertionError):
    """A damaged file was accepted and read as something else than it says, or something happened that must not."""


class _Hang(BaseException):
    """It took too long."""


@dataclass(frozen=True)
class Format:
    """One way to keep a model.

    Parameters
    ----------
    name
    seeds
        Makes whole files (or folders) in an empty folder.
    damage
        Damages what lies at a path, given another whole one.
    judge
        Raises `Wrong` when a model file is not what a damaged one says.
    options
        For `open_source`.
    """

    name: str
    seeds: Callable[[Path], list[Path]]
    damage: Callable[[random.Random, Path, Path], None]
    judge: Callable[[Path, ModelFile], None] = lambda path, file: None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What became of a campaign's files."""

    files: int = 0
    same: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


# Hugging Face folders

def _folders(folder: Path) -> list[Path]:
    made = []
    for i, (quantization, dtype, shards) in enumerate(((AUTO, "BF16", 1), (CLASSIC, "F32", 2), (ONLINE, "F16", 1), (None, "F32", 1))):
        golden = make_golden(seed=i, num_hidden_layers=1, tied=i != 1)
        checkpoint = HuggingFace(folder / f"folder{i}", golden).add_floats("BF16")
        checkpoint.shards = shards
        if quantization in (AUTO, CLASSIC):
            checkpoint.add_packed(quantization, dtype)
        else:
            if quantization is not None:
                checkpoint.config["quantization_config"] = quantization
            checkpoint.add_masters(dtype, {name: matrix.trits * np.float32(matrix.scale) for name, matrix in golden.matrices.items()})
        checkpoint.write()
        (checkpoint.folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": [1, 5]}))
        (checkpoint.folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "x"}))
        made.append(checkpoint.folder)
    return made


def _damage_folder(rng: random.Random, folder: Path, other: Path) -> None:
    files = sorted(folder.iterdir())
    weights = [{"config.json": 6, "tokenizer.json": 2}.get(file.name, 4 if file.suffix == ".safetensors" else 1) for file in files]
    file = rng.choices(files, weights)[0]
    data = file.read_bytes()
    twin = other / file.name if (other / file.name).exists() else file
    if file.suffix == ".json":
        file.write_bytes(mutate_json(rng, data) if rng.random() < 0.7 else mutate_bytes(rng, data, twin.read_bytes()))
    elif rng.random() < 0.5:
        (size,) = struct.unpack_from("<Q", data)
        header = mutate_json(rng, data[8:8 + size]) if rng.random() < 0.6 else mutate_bytes(rng, data[8:8 + size], data)
        told = size if rng.random() < 0.2 else len(header)
        file.write_bytes(struct.pack("<Q", told) + header + data[8 + size:])
    elif rng.random() < 0.03:
        file.unlink()
    else:
        file.write_bytes(mutate_bytes(rng, data, twin.read_bytes()))


#: What transformers' BitNetConfig takes for a key that is missing.
_DEFAULTS = {"rms_norm_eps": 1e-5, "tie_word_embeddings": False, "hidden_act": "relu2"}


def _judge_folder(folder: Path, file: ModelFile) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings", "rms_norm_eps",
                "tie_word_embeddings", "hidden_act"):
        _same(key, getattr(file.config, key), config.get(key, _DEFAULTS.get(key)))
    _same("num_key_value_heads", file.config.num_key_value_heads, config.get("num_key_value_heads") or config["num_attention_heads"])
    _same("head_dim", file.config.head_dim, config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    _same("rope_theta", file.config.rope_theta, rope.get("rope_theta", config.get("rope_theta")))
    tensors = read_folder_tensors(folder)
    _judge_tensors(file, tensors.__getitem__)
    from tokenizers import Tokenizer

    _judge_tokenizer(file, Tokenizer.from_str((folder / "tokenizer.json").read_bytes().decode("utf-8-sig")))


# GGUF files

def _ggufs(kind: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        made = []
        for i in range(2):
            small = kind.startswith("F")
            sizes = {"hidden_size": 16, "intermediate_size": 24} if small else {"hidden_size": 256, "intermediate_size": 256}
            golden = make_golden(seed=50 + i, num_hidden_layers=1, tied=i == 0, **sizes)
            checkpoint = Gguf(folder / f"{i}.gguf", golden).add_floats("F16" if i else "F32")
            if kind == "Q1_0":
                _put_signs(checkpoint, i)
            elif kind == "I2_S":
                checkpoint.add_i2s(128)
            else:
                checkpoint.add_matrices(kind)
            checkpoint.tokenizer = write_tokenizer(folder / "tokenizer.json")
            made.append(checkpoint.write())
        return made
    return make


def _put_signs(checkpoint: Gguf, seed: int) -> None:
    """Matrices of signs in place of the trits, with a scale for each 128."""
    rng = np.random.default_rng(seed)
    for name, matrix in checkpoint.golden.matrices.items():
        n, k = matrix.trits.shape
        checkpoint.put_q1(gguf_name(name), rng.choice(np.array([-1, 1], np.int8), (n, k)), rng.uniform(0.1, 1, (n, k // 128)).astype(np.float16))


def _damage_gguf(rng: random.Random, path: Path, other: Path) -> None:
    data = path.read_bytes()
    if rng.random() < 0.6:
        path.write_bytes(mutate_numbers(rng, data, parse_gguf(data).places))
    else:
        path.write_bytes(mutate_bytes(rng, data, other.read_bytes()))


def _judge_gguf(path: Path, file: ModelFile) -> None:
    made = parse_gguf(path.read_bytes())
    name = made.values["general.architecture"]
    for key, theirs in (("hidden_size", "embedding_length"), ("intermediate_size", "feed_forward_length"), ("num_hidden_layers", "block_count"),
                        ("num_attention_heads", "attention.head_count"), ("num_key_value_heads", "attention.head_count_kv"),
                        ("max_position_embeddings", "context_length"), ("rms_norm_eps", "attention.layer_norm_rms_epsilon"), ("rope_theta", "rope.freq_base")):
        told = made.values[f"{name}.{theirs}"]
        ours = getattr(file.config, key)
        if isinstance(told, float):
            told, ours = float(np.float32(told)), float(np.float32(ours))
        _same(key, ours, told)
    _judge_tensors(file, lambda tensor: made.matrix(gguf_name(tensor), 128))
    tokens = made.values["tokenizer.ggml.tokens"]
    vocabulary = file.tokenizer["definition"]["model"]["vocab"]
    if [vocabulary.get(token) for token in tokens] != list(range(len(tokens))):
        raise Wrong("the tokens are not those of the file")
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in file.tokenizer["definition"]["model"]["merges"]]
    if merges != made.values["tokenizer.ggml.merges"]:
        raise Wrong("the merges are not those of the file")


# Model files

def _trits(packing: str, ordered: bool = False) -> Callable[[Path], list[Path]]:
    """Row by row as the checkpoints have it, or `ordered` as an array reads it, with an int8 embedding, and with a scale for each group."""
    def make(folder: Path) -> list[Path]:
        (folder / "sources").mkdir()
        sources = _folders(folder / "sources") + (_ggufs("Q1_0")(folder / "sources")[:1] if ordered else [])
        for i, source in enumerate(sources):
            convert(open_source(source), folder / f"{i}.trit", packing, order=ArrayOrder.of(Geometry(depth=64)) if ordered else None, int8_embedding=ordered)
        shutil.rmtree(folder / "sources")
        return sorted(folder.glob("*.trit"))
    return make


def _damage_trit(rng: random.Random, path: Path, other: Path) -> None:
    path.write_bytes(mutate_bytes(rng, path.read_bytes(), other.read_bytes()))


def _judge_trit(path: Path, file: ModelFile) -> None:
    raise Wrong("a file that is not as it was written was accepted")


def _damage_header(rng: random.Random, path: Path, other: Path) -> None:
    """Another header, with a checksum that is right."""
    data = path.read_bytes()
    version, size = struct.unpack_from("<II", data, 8)
    header = mutate_json(rng, data[20:20 + size])
    prefix = data[:8] + struct.pack("<II", version, len(header))
    body = data[-(-(20 + size) // 64) * 64:]
    text = prefix + struct.pack("<I", zlib.crc32(header, zlib.crc32(prefix))) + header
    path.write_bytes(text + bytes(-len(text) % 64) + body)


def _judge_header(path: Path, file: ModelFile) -> None:
    data = path.read_bytes()
    header = json.loads(data[20:20 + struct.unpack_from("<I", data, 12)[0]])
    told = file.config.to_dict()
    for key, value in header["config"].items():
        _same(key, told[key], value)
    for key, value in (("tokenizer", file.tokenizer), ("training", file.training)):
        if header[key] != value:
            raise Wrong(f"{key} is not what the header says")


FORMATS = [
    Format("safetensors", _folders, _damage_folder, _judge_folder),
    *(Format(f"gguf {kind}", _ggufs(kind), _damage_gguf, _judge_gguf, {"i2s_layout": "x86"} if kind == "I2_S" else {})
      for kind in ("F16", "TQ1_0", "TQ2_0", "I2_S", "Q1_0")),
    Format("trit 2bit", _trits("2bit"), _damage_trit, _judge_trit),
    Format("trit base3", _trits("base3"), _damage_trit, _judge_trit),
    Format("trit array", _trits("2bit", ordered=True), _damage_trit, _judge_trit),
    Format("trit header", _trits("2bit"), _damage_header, _judge_header),
    Format("trit array header", _trits("base3", ordered=True), _damage_header, _judge_header),
]


def campaign(form: Format, count: int, seed: int, keep: Path | None = None) -> Outcome:
    """Damage and load so many files.

    Parameters
    ----------
    form
    count
    seed
        Of the damage: file n is damaged by ``seed`` and n alone.
    keep
        A folder for files with which something is wrong; what it is stands in the outcome's `wrong`.
    """
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        (work / "whole").mkdir()
        seeds = form.seeds(work / "whole")
        originals = [_bytes(path) for path in seeds]
        for number in range(count):
            rng = random.Random(f"{form.name} {seed} {number}")
            whole, other = rng.choice(seeds), rng.choice(seeds)
            damaged = work / f"damaged{whole.suffix}"
            _copy(whole, damaged)
            form.damage(rng, damaged, other)
            outcome.files += 1
            if _bytes(damaged) in originals:    # nothing was changed, or all of it exchanged for another's
                outcome.same += 1
                continue
            begin = time.process_time()
            try:
                with _limits():
                    told = load(form, damaged, work)
            except Wrong as error:
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    _copy(damaged, keep / f"{form.name.replace(' ', '-')}-{seed}-{number}{whole.suffix}")
                outcome.wrong.append(f"{form.name}, seed {seed}, number {number} (of {whole.name}): {error}")
                continue
            outcome.slowest_s = max(outcome.slowest_s, time.process_time() - begin)
            if told is None:
                outcome.accepted += 1
            else:
                outcome.refused[told] += 1
    return outcome


def load(form: Format, path: Path, work: Path) -> str | None:
    """Load a damaged file as a user would: convert it where it is a checkpoint, open it, generate.

    Returns
    -------
    str or None
        Name of the typed error that it was refused with; None if it was read as what it says.

    Raises
    ------
    Wrong
        When it was neither.
    """
    made = work / "made.trit"
    made.unlink(missing_ok=True)
    try:
        if path.suffix == ".trit":
            made = path
        else:
            convert(open_source(path, **form.options), made)
        file = open_model(made)
        names = [file.tensor(name) for name in file.names]
        assert names
        form.judge(path, file)
        "".join(Model.load(made).generate(_TEXT, NumpyAccelerator(), max_tokens=2))
    except TritloomError as error:
        text = str(error)
        if not text or "\n" in text or len(text) > 2000:
            raise Wrong(f"it was refused with {len(text)} characters that are no sentence: {text[:300]!r}") from error
        return type(error).__name__
    except Wrong:
        raise
    except _Hang:
        raise Wrong(f"it took more than {_LONGEST_S:g} s") from None
    except BaseException as error:    # pyo3's panics are no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Wrong("".join(traceback.format_exception(error)[-3:])) from error
    return None


def _judge_tensors(file: ModelFile, second: Callable[[str], np.ndarray]) -> None:
    """Every tensor is what the second reading says."""
    for name in file.names:
        found, expected = file.tensor(name), second(name)
        if isinstance(found, Ternary):
            scale = found.scale if isinstance(found.scale, float) else np.repeat(found.scale, found.group, axis=1)
            product = found.trits * np.float32(scale)
            good = product.shape[1] == expected.shape[1] and np.allclose(product, expected[:len(product)], 1e-6, 0) and not expected[len(product):].any()
            # What pads the last rows of a packed matrix is no part of it.
            good |= product.shape[1] == expected.shape[1] and np.allclose(product, expected[:len(product)], 1e-6, 0) and len(expected) - len(product) < 4
        else:
            values = found if isinstance(found, np.ndarray) else found.array()
            good = values.shape == expected.shape and np.array_equal(values, expected)
        if not good:
            raise Wrong(f"tensor {name!r} is not what the checkpoint says")


def _judge_tokenizer(file: ModelFile, second: Any) -> None:
    model = Model.load(file.path)
    for text in (_TEXT, "Ünïcödé 123 ▁ <end>", ""):
        if text and list(model.tokenizer.encode(text).ids) != second.encode(text).ids:
            raise Wrong(f"{text!r} has other tokens than the checkpoint's tokenizer gives it")


def _same(key: str, ours: Any, theirs: Any) -> None:
    if ours != (float(theirs) if isinstance(ours, float) and isinstance(theirs, int) else theirs):
        raise Wrong(f"{key} is {ours!r}, and the checkpoint says {theirs!r}")


def _copy(path: Path, to: Path) -> None:
    if path.is_dir():
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(path, to)
    else:
        shutil.copyfile(path, to)


def _bytes(path: Path) -> list[tuple[str, bytes]]:
    return [(file.name, file.read_bytes()) for file in sorted(path.iterdir())] if path.is_dir() else [("", path.read_bytes())]


@contextmanager
def _limits() -> Iterator[None]:
    """Warnings are errors; memory and time have an end."""
    def ring(*_: object) -> None:
        raise _Hang

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGPROF, ring)
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, _LONGEST_S)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)


def main() -> None:
    import click

    @click.command()
    @click.option("--count", default=10_000, show_default=True, help="Files of each format.")
    @click.option("--seed", default=1, show_default=True, help="Of the damage.")
    @click.option("--format", "names", multiple=True, type=click.Choice([form.name for form in FORMATS]), help="Only these; may be given more than once.")
    @click.option("--keep", type=click.Path(path_type=Path), help="A folder for files with which something is wrong.")
    def run(count: int, seed: int, names: tuple[str, ...], keep: Path | None) -> None:
        """Damage model files of every format and load them."""
        bad = 0
        for form in FORMATS:
            if names and form.name not in names:
                continue
            begin = time.monotonic()
            outcome = campaign(form, count, seed, keep)
            for wrong in outcome.wrong[:10]:
                click.echo(wrong, err=True)
            bad += len(outcome.wrong)
            click.echo(f"{form.name}: {outcome.files} files, {sum(outcome.refused.values())} refused ({', '.join(f'{n} {name}' for name, n in outcome.refused.most_common())}), "
                       f"{outcome.accepted} read as what they say, {outcome.same} not changed, {len(outcome.wrong)} WRONG; slowest {outcome.slowest_s:.1f} s of a processor; {time.monotonic() - begin:.0f} s")
        sys.exit(min(bad, 1))

    run()


if __name__ == "__main__":
    main()
