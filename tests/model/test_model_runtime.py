"""The forward pass against an independent one: float64, loops, no cache, no fusing, written from the equations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tritloom.host.errors import ContextError, NumericError, TritloomError, UsageError
from tritloom.host.model import runtime
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import Ternary
from tritloom.host.model.model import Model
from tritloom.sim.energy.operations import count

MakeModel = Callable[..., Model]

CONFIGS: dict[str, dict[str, Any]] = {
    "one kv head": {},
    "a kv head for every head": {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 4},
    "grouped": {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 2, "rope_theta": 500.0},
    "odd sizes": {"intermediate_size": 13, "hidden_size": 9, "vocab_size": 7, "num_attention_heads": 3, "head_dim": 2},
    "untied head": {"tie_word_embeddings": False, "num_hidden_layers": 1, "rms_norm_eps": 0.1},
    "heads wider than the model": {"head_dim": 10, "num_hidden_layers": 3},
    "silu": {"hidden_act": "silu"},
    "no sub-norms": {"sub_norms": False},
    "norms in the linears": {"linear_norms": True, "linear_norm_eps": 0.05},
    "biased attention": {"attention_bias": True, "num_attention_heads": 4},
    "biased feed-forward": {"mlp_bias": True},
    "normed queries and keys": {"qk_norm": True, "num_attention_heads": 4, "num_key_value_heads": 2},
    "linear scaling": {"rope_scaling": {"rope_type": "linear", "factor": 4}},
    "llama3 scaling": {"head_dim": 16, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
                                                        "original_max_position_embeddings": 200}},
    "yarn scaling": {"head_dim": 16, "rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 500}},
    "yarn, all told": {"head_dim": 16, "rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 500, "attention_factor": 0.7,
                                                        "beta_fast": 20, "beta_slow": 2}},
    "divided frequencies": {"rope_scaling": {"rope_type": "divisors", "divisors": [1, 2.5, 9]}},
    "llama": {"hidden_act": "silu", "sub_norms": False, "tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True},
    "qwen3": {"hidden_act": "silu", "sub_norms": False, "qk_norm": True, "attention_bias": True, "head_dim": 8},
    "everything": {"hidden_act": "silu", "linear_norms": True, "attention_bias": True, "mlp_bias": True, "qk_norm": True, "tie_word_embeddings": False,
                   "num_attention_heads": 6, "num_key_value_heads": 3, "rope_scaling": {"rope_type": "linear", "factor": 2}},
    "scales by groups": {"group": 3},
    "everything, by groups": {"hidden_act": "silu", "linear_norms": True, "attention_bias": True, "mlp_bias": True, "qk_norm": True, "group": 6},
}  # fmt: skip


def reference_rope(config: ModelConfig) -> tuple[list[float], float]:
    """Radians a position of each pair, and what a rotation stretches a head by: transformers' formulas, one pair at a time."""
    dim, base, scaling = config.head_dim, config.rope_theta, config.rope_scaling
    plain = [base ** (-2 * i / dim) for i in range(dim // 2)]
    if scaling is None:
        return plain, 1.0
    if scaling.rope_type == "divisors":
        return [angle / divisor for angle, divisor in zip(plain, scaling.divisors, strict=True)], 1.0
    if scaling.rope_type == "linear":
        return [angle / scaling.factor for angle in plain], 1.0
    context = scaling.original_max_position_embeddings
    if scaling.rope_type == "llama3":
        angles = []
        for angle in plain:
            wavelength = 2 * math.pi / angle
            if wavelength < context / scaling.high_freq_factor:
                angles.append(angle)
            elif wavelength > context / scaling.low_freq_factor:
                angles.append(angle / scaling.factor)
            else:
                smooth = (context / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
                angles.append((1 - smooth) * angle / scaling.factor + smooth * angle)
        assert len({round(new / old, 9) for new, old in zip(angles, plain, strict=True)}) > 2, "some kept, some divided, some between"
        return angles, 1.0
    fast, slow = scaling.beta_fast or 32, scaling.beta_slow or 1
    low = max(math.floor(dim * math.log(context / (fast * 2 * math.pi)) / (2 * math.log(base))), 0)
    high = min(math.ceil(dim * math.log(context / (slow * 2 * math.pi)) / (2 * math.log(base))), dim - 1)
    stretch = [min(max((i - low) / (high - low), 0.0), 1.0) for i in range(dim // 2)]
    assert {0.0, 1.0} < set(stretch), "some kept, some divided, some between"
    amplitude = scaling.attention_factor or 0.1 * math.log(scaling.factor) + 1
    return [angle / scaling.factor * s + angle * (1 - s) for angle, s in zip(plain, stretch, strict=True)], amplitude


def reference_logits(model: Model, ids: list[int]) -> list[list[float]]:
    """Logits after each token, one Python float at a time."""
    config, file = model.config, model._file
    heads, group, dim, eps = config.num_attention_heads, config.num_attention_heads // config.num_key_value_heads, config.head_dim, config.rms_norm_eps

    def norm(x: list[float], name: str, eps: float = eps) -> list[float]:
        root = math.sqrt(sum(value * value for value in x) / len(x) + eps)
        return [float(w) * (value / root) for w, value in zip(file.tensor(name), x, strict=True)]

    def linear(x: list[float], name: str) -> list[float]:
        tensor = file.tensor(f"{name}.weight")
        assert isinstance(tensor, Ternary)
        if config.linear_norms:
            x = norm(x, f"{name}.rms_norm.weight", config.linear_norm_eps)
        s = 127 / max(max(abs(value) for value in x), 1e-5)
        q = [min(max(round(value * s), -128), 127) for value in x]
        biased = config.attention_bias if "self_attn" in name else config.mlp_bias
        bias = file.tensor(f"{name}.bias").tolist() if biased else [0.0] * len(tensor.trits)
        scales = tensor.scale if isinstance(tensor.scale, np.ndarray) else np.full((len(tensor.trits), 1), tensor.scale)
        wide = np.repeat(scales.astype(float), len(x) // scales.shape[1], axis=1).tolist()
        products = [sum(w * v * scale for w, v, scale in zip(row, q, own, strict=True)) for row, own in zip(tensor.trits.tolist(), wide, strict=True)]
        return [product / s + b for product, b in zip(products, bias, strict=True)]

    angles, amplitude = reference_rope(config)

    def heads_of(x: list[float], name: str) -> list[float]:
        return [y for at in range(0, len(x), dim) for y in norm(x[at : at + dim], f"{name}.weight")] if config.qk_norm else x

    def sub_norm(x: list[float], name: str) -> list[float]:
        return norm(x, f"{name}.weight") if config.sub_norms else x

    def turn(x: list[float], position: int) -> list[float]:
        y = list(x)
        for start in range(0, len(x), dim):
            for i in range(dim // 2):
                angle = position * angles[i]
                low, high = amplitude * x[start + i], amplitude * x[start + i + dim // 2]
                y[start + i] = low * math.cos(angle) - high * math.sin(angle)
                y[start + i + dim // 2] = high * math.cos(angle) + low * math.sin(angle)
        return y

    xs = [[float(value) for value in file.tensor("model.embed_tokens.weight")[token]] for token in ids]
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        normed = [norm(x, f"{prefix}input_layernorm.weight") for x in xs]
        q, k, v, o = (f"{prefix}self_attn.{part}_proj" for part in "qkvo")
        gate, up, down = (f"{prefix}mlp.{part}_proj" for part in ("gate", "up", "down"))
        queries = [turn(heads_of(linear(n, q), f"{prefix}self_attn.q_norm"), p) for p, n in enumerate(normed)]
        keys = [turn(heads_of(linear(n, k), f"{prefix}self_attn.k_norm"), p) for p, n in enumerate(normed)]
        values = [linear(n, v) for n in normed]
        for t, x in enumerate(xs):
            mixed: list[float] = []
            for head in range(heads):
                kv = head // group * dim
                dots = [sum(queries[t][head * dim + d] * keys[s][kv + d] for d in range(dim)) / math.sqrt(dim) for s in range(t + 1)]
                shares = [math.exp(dot - max(dots)) for dot in dots]
                mixed += [sum(share * values[s][kv + d] for s, share in enumerate(shares)) / sum(shares) for d in range(dim)]
            added = linear(sub_norm(mixed, f"{prefix}self_attn.attn_sub_norm"), o)
            x[:] = [a + b for a, b in zip(x, added, strict=True)]
            n = norm(x, f"{prefix}post_attention_layernorm.weight")
            acts = [max(g, 0.0) ** 2 if config.hidden_act == "relu2" else g / (1 + math.exp(-g)) for g in linear(n, gate)]
            inner = [act * u for act, u in zip(acts, linear(n, up), strict=True)]
            added = linear(sub_norm(inner, f"{prefix}mlp.ffn_sub_norm"), down)
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


@pytest.mark.parametrize("name", CONFIGS)
def test_the_accelerator_is_given_what_the_config_lists(make_model: MakeModel, acc: Any, name: str) -> None:
    model = make_model(seed=4, **CONFIGS[name])
    bound = model.bind(acc)
    jobs = [(sum(n for _, n, _ in job), job[0][2]) for job in model.config.jobs()]
    assert len(jobs) == model.config.num_hidden_layers * (7 if model.config.linear_norms else 4)
    group = CONFIGS[name].get("group")
    if group is not None:
        jobs = [(n, group) for n, k in jobs for _ in range(k // group)]
    assert [matrix.shape for matrix in acc.loaded] == jobs
    model.session(acc).prefill([1, 2])
    assert acc.calls == [(shape, 2) for shape in jobs]
    bound.close()
    assert acc.resident == []


@pytest.mark.parametrize("name", ["one kv head", "norms in the linears", "everything, by groups"])
def test_the_energy_page_counts_every_weight_of_any_layer(make_model: MakeModel, name: str) -> None:
    model = make_model(seed=4, **CONFIGS[name])
    counted = count(str(model.path), prompt="ab", tokens=2)
    trits = {name: model._file.ternary(name).trits for name, _, _ in model.config.matrices()}
    zeros = {name: int((matrix == 0).sum()) for name, matrix in trits.items()}
    assert (counted.weights, counted.zero_weights) == (model.config.ternary_weights, sum(zeros.values()))
    found: dict[str, int] = {}
    for matrix in counted.matrices:
        for linear, _, zero in matrix.linears:
            place = f"model.layers.{matrix.layer}.{linear}.weight"
            found[place] = found.get(place, 0) + zero
    assert found == zeros


# Where a random model repeats itself, sampling makes the text vary: it depends on every bit of the logits all the more.
@pytest.mark.parametrize(("config", "heat"), [("one kv head", 0.0), ("everything", 1.0), ("everything, by groups", 1.0)])
def test_text_and_logits_do_not_depend_on_the_device(make_model: MakeModel, acc: Any, config: str, heat: float) -> None:
    model = make_model(seed=6, **{**CONFIGS[config], "vocab_size": 40, "max_position_embeddings": 64})
    ids = np.random.default_rng(6).integers(0, 40, 50).tolist()
    expected = model.logits(ids, acc)
    text = "".join(model.generate("the quick", acc, max_tokens=40, temperature=heat))
    assert len(set(text)) > 3, "the text varies, so that equality says something"
    for rows in (1, 3, 8, 64):
        device = Batching(rows)
        np.testing.assert_array_equal(model.logits(ids, device), expected, err_msg=f"{rows} rows, seed 6")
        assert "".join(model.generate("the quick", device, max_tokens=40, temperature=heat)) == text, f"{rows} rows, seed 6"


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


def test_overflow_is_an_error_not_garbage(make_model: MakeModel, acc: Any) -> None:
    model = make_model(seed=8)
    for scale in (np.float32(3e38), np.float32(1e30)):
        bound = model.bind(acc)
        bound.layers[0].gate_up.scales = np.full_like(bound.layers[0].gate_up.scales, scale)
        with pytest.raises(NumericError, match="overflowed"):
            model.logits([1, 2, 3], acc)
        model.release(acc)


def test_a_cache_that_is_too_narrow_is_named(make_model: MakeModel, acc: Any) -> None:
    model = make_model(seed=8)
    linear = model.bind(acc).layers[0].qkv
    linear.scales = np.full_like(linear.scales, np.float32(1e5))
    for kind in ("float32", "int8"):
        assert np.isfinite(model.session(acc, kv_cache=kind).prefill([1, 2, 3])).all()
    with pytest.raises(NumericError, match="above 65,504, which float16 holds: take another kind of cache"):
        model.session(acc, kv_cache="float16").prefill([1, 2, 3])
