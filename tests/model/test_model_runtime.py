"""The forward pass against an independent one: float64, loops, no cache, no fusing, written from the equations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tritloom.host.errors import ContextError, NumericError, TritloomError, UsageError
from tritloom.host.model import runtime
from tritloom.host.model.file import Ternary
from tritloom.host.model.model import Model

MakeModel = Callable[..., Model]

CONFIGS: dict[str, dict[str, Any]] = {
    "one kv head": {},
    "a kv head for every head": {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 4},
    "grouped": {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 2, "rope_theta": 500.0},
    "odd sizes": {"intermediate_size": 13, "hidden_size": 9, "vocab_size": 7, "num_attention_heads": 3, "head_dim": 2},
    "untied head": {"tie_word_embeddings": False, "num_hidden_layers": 1, "rms_norm_eps": 0.1},
    "heads wider than the model": {"head_dim": 10, "num_hidden_layers": 3},
}


def reference_logits(model: Model, ids: list[int]) -> list[list[float]]:
    """Logits after each token, one Python float at a time."""
    config, file = model.config, model._file
    heads, group, dim, eps = config.num_attention_heads, config.num_attention_heads // config.num_key_value_heads, config.head_dim, config.rms_norm_eps

    def norm(x: list[float], name: str) -> list[float]:
        root = math.sqrt(sum(value * value for value in x) / len(x) + eps)
        return [float(w) * (value / root) for w, value in zip(file.tensor(name), x, strict=True)]

    def linear(x: list[float], name: str) -> list[float]:
        tensor = file.tensor(name)
        assert isinstance(tensor, Ternary)
        s = 127 / max(max(abs(value) for value in x), 1e-5)
        q = [min(max(round(value * s), -128), 127) for value in x]
        return [sum(w * v for w, v in zip(row, q, strict=True)) / s * tensor.scale for row in tensor.trits.tolist()]

    def turn(x: list[float], position: int) -> list[float]:
        y = list(x)
        for start in range(0, len(x), dim):
            for i in range(dim // 2):
                angle = position / config.rope_theta ** (2 * i / dim)
                low, high = x[start + i], x[start + i + dim // 2]
                y[start + i] = low * math.cos(angle) - high * math.sin(angle)
                y[start + i + dim // 2] = high * math.cos(angle) + low * math.sin(angle)
        return y

    xs = [[float(value) for value in file.tensor("model.embed_tokens.weight")[token]] for token in ids]
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        normed = [norm(x, f"{prefix}input_layernorm.weight") for x in xs]
        queries = [turn(linear(n, f"{prefix}self_attn.q_proj.weight"), p) for p, n in enumerate(normed)]
        keys = [turn(linear(n, f"{prefix}self_attn.k_proj.weight"), p) for p, n in enumerate(normed)]
        values = [linear(n, f"{prefix}self_attn.v_proj.weight") for n in normed]
        for t, x in enumerate(xs):
            mixed: list[float] = []
            for head in range(heads):
                kv = head // group * dim
                dots = [sum(queries[t][head * dim + d] * keys[s][kv + d] for d in range(dim)) / math.sqrt(dim) for s in range(t + 1)]
                shares = [math.exp(dot - max(dots)) for dot in dots]
                mixed += [sum(share * values[s][kv + d] for s, share in enumerate(shares)) / sum(shares) for d in range(dim)]
            added = linear(norm(mixed, f"{prefix}self_attn.attn_sub_norm.weight"), f"{prefix}self_attn.o_proj.weight")
            x[:] = [a + b for a, b in zip(x, added, strict=True)]
            n = norm(x, f"{prefix}post_attention_layernorm.weight")
            gate, up = linear(n, f"{prefix}mlp.gate_proj.weight"), linear(n, f"{prefix}mlp.up_proj.weight")
            inner = [max(g, 0.0) ** 2 * u for g, u in zip(gate, up, strict=True)]
            added = linear(norm(inner, f"{prefix}mlp.ffn_sub_norm.weight"), f"{prefix}mlp.down_proj.weight")
            x[:] = [a + b for a, b in zip(x, added, strict=True)]
    head = file.tensor("model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight").tolist()
    return [[sum(w * value for w, value in zip(row, norm(x, "model.norm.weight"), strict=True)) for row in head] for x in xs]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_logits_are_the_equations(make_model: MakeModel, acc: Any, name: str, seed: int) -> None:
    model = make_model(seed=seed, **CONFIGS[name])
    ids = np.random.default_rng(seed).integers(0, model.config.vocab_size, 9).tolist()
    logits = model.logits(ids, acc)
    assert (logits.shape, logits.dtype) == ((9, model.config.vocab_size), np.float32)
    np.testing.assert_allclose(logits, reference_logits(model, ids), atol=2e-4, err_msg=f"config {name!r}, seed {seed}")


@pytest.mark.parametrize("name", CONFIGS)
def test_the_cache_gives_what_a_whole_pass_gives(make_model: MakeModel, acc: Any, name: str) -> None:
    model = make_model(seed=4, **CONFIGS[name])
    ids = np.random.default_rng(4).integers(0, model.config.vocab_size, model.config.max_position_embeddings).tolist()
    whole = model.logits(ids, acc)
    session = model.session(acc)
    rows = [session.prefill(ids[:7])]
    rows += [session.step(token) for token in ids[7:]]
    assert session.position == session.context == len(ids)
    np.testing.assert_allclose(rows, whole[6:], atol=2e-4, err_msg=f"config {name!r}, seed 4")


def test_a_prompt_longer_than_a_chunk(make_model: MakeModel, acc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(seed=5)
    ids = np.random.default_rng(5).integers(0, model.config.vocab_size, 23).tolist()
    whole = model.logits(ids, acc)
    monkeypatch.setattr(runtime, "_CHUNK", 4)
    acc.calls.clear()
    np.testing.assert_allclose(model.logits(ids, acc), whole, atol=2e-4, err_msg="seed 5")
    np.testing.assert_allclose(model.session(acc).prefill(ids), whole[-1], atol=2e-4, err_msg="seed 5")
    assert {rows for _, rows in acc.calls} == {4, 3}


def test_a_step_takes_four_jobs_a_layer_and_weights_are_loaded_once(make_model: MakeModel, acc: Any) -> None:
    model = make_model()
    session = model.session(acc)
    session.prefill([1, 2, 3])
    acc.calls.clear()
    session.step(4)
    assert acc.calls == [((24, 12), 1), ((12, 12), 1), ((36, 12), 1), ((12, 18), 1)] * 2
    list(model.generate("abc", acc, max_tokens=3))
    model.logits([1, 2], acc)
    assert len(acc.resident) == 8
    assert model.bind(acc) is model.bind(acc)
    model.release(acc)
    model.release(acc)
    assert acc.resident == []
    with model.bind(acc):
        assert len(acc.resident) == 8
    assert acc.resident == []


class Batching:
    """As the golden model, but in int32 and `rows` vectors at a time, as a device does it."""

    closed = False

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def load(self, w: np.ndarray) -> Any:
        return np.asarray(w, np.int32).view(_Loaded)

    def matmul(self, w: np.ndarray, x: np.ndarray) -> np.ndarray:
        batches = [x[at : at + self.rows].astype(np.int32) for at in range(0, len(x), self.rows)]
        return np.concatenate([np.asarray(np.einsum("mk,nk->mn", batch, w), np.int32) for batch in batches])


class _Loaded(np.ndarray):
    def unload(self) -> None:
        pass


def test_text_and_logits_do_not_depend_on_the_device(make_model: MakeModel, acc: Any) -> None:
    model = make_model(seed=6, vocab_size=40, max_position_embeddings=64)
    ids = np.random.default_rng(6).integers(0, 40, 50).tolist()
    expected = model.logits(ids, acc)
    text = "".join(model.generate("the quick", acc, max_tokens=40))
    assert len(set(text)) > 3, "the text varies, so that equality says something"
    for rows in (1, 3, 8, 64):
        device = Batching(rows)
        np.testing.assert_array_equal(model.logits(ids, device), expected, err_msg=f"{rows} rows, seed 6")
        assert "".join(model.generate("the quick", device, max_tokens=40)) == text, f"{rows} rows, seed 6"


def test_several_accelerators_at_once_and_a_closed_one_is_forgotten(make_model: MakeModel, acc: Any) -> None:
    model, other = make_model(), type(acc)()
    np.testing.assert_array_equal(model.logits([1, 2, 3], acc), model.logits([1, 2, 3], other))
    first = model.bind(acc)
    acc.closed = True
    assert model.bind(other) is model.bind(other)
    assert first not in model._bound.values()


def test_a_load_that_fails_leaves_nothing_behind(make_model: MakeModel, acc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    load = acc.load

    def until_full(w: np.ndarray) -> Any:
        if len(acc.resident) == 5:
            raise TritloomError("the weight store is full")
        return load(w)

    monkeypatch.setattr(acc, "load", until_full)
    model = make_model()
    with pytest.raises(TritloomError, match="store is full"):
        model.bind(acc)
    assert acc.resident == []
    monkeypatch.undo()
    assert model.logits([1], acc).shape == (1, 11)


def test_a_step_that_failed_can_be_repeated(make_model: MakeModel, acc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(seed=7)
    expected, session = model.session(acc), model.session(acc)
    for each in (expected, session):
        each.prefill([1, 2, 3])
    bound = model.bind(acc)

    def unplugged(*_: object) -> None:
        raise TritloomError("the device is gone")

    for job in (bound.layers[0].o, bound.layers[1].down):
        with monkeypatch.context() as patch:
            patch.setattr(job, "_matmul", unplugged)
            with pytest.raises(TritloomError, match="is gone"):
                session.step(4)
        assert session.position == 3
    np.testing.assert_array_equal(session.step(4), expected.step(4))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "must be a non-empty row of integers, not float64 of shape (0,)"),
        ([[1, 2]], "must be a non-empty row of integers, not int64 of shape (1, 2)"),
        ([1.0], "must be a non-empty row of integers, not float64 of shape (1,)"),
        ([True], "must be a non-empty row of integers, not bool of shape (1,)"),
        ("ab", "must be a non-empty row of integers, not <U2 of shape ()"),
        ([0, 11], "must be from 0 to 10 (the vocabulary), not 11"),
        ([3, -1], "must be from 0 to 10 (the vocabulary), not -1"),
        ([10**30], "must be a non-empty row of integers, not object of shape (1,)"),
        (np.array([2**64 - 1], np.uint64), "must be from 0 to 10 (the vocabulary), not 18446744073709551615"),
    ],
)
def test_ids_that_will_not_do_are_named(make_model: MakeModel, acc: Any, ids: Any, message: str) -> None:
    model = make_model()
    for call in (lambda: model.logits(ids, acc), lambda: model.session(acc).prefill(ids)):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value) == f"`token_ids` {message}"


def test_the_context_is_a_limit(make_model: MakeModel, acc: Any) -> None:
    model = make_model()
    with pytest.raises(ContextError, match="25 tokens do not fit into the context of 24: give fewer"):
        model.logits([1] * 25, acc)
    session = model.session(acc, context=5)
    session.prefill([1, 2, 3, 4])
    with pytest.raises(ContextError, match="2 tokens do not fit into the context of 5 behind the 4 already taken in: give fewer"):
        session.prefill([1, 2])
    session.step(5)
    with pytest.raises(ContextError, match="1 token does not fit into the context of 5 behind the 5"):
        session.step(5)
    for context in (0, 25, 2.0, True):
        with pytest.raises(UsageError, match=r"`context` must be an integer from 1 to 24"):
            model.session(acc, context=context)  # type: ignore[arg-type]


def test_a_cache_larger_than_memory_is_refused(make_model: MakeModel, acc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    bound = model.bind(acc)

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(ContextError, match=r"the cache for 24 positions takes 2304 bytes, more than there are"):
        runtime.Session(bound)


def test_overflow_is_an_error_not_garbage(make_model: MakeModel, acc: Any) -> None:
    model = make_model(seed=8)
    for scale in (np.float32(3e38), np.float32(1e30)):
        bound = model.bind(acc)
        bound.layers[0].gate_up.scales = np.full_like(bound.layers[0].gate_up.scales, scale)
        with pytest.raises(NumericError, match="overflowed"):
            model.logits([1, 2, 3], acc)
        model.release(acc)
