"""Text to ids and back, chat templates, and where texts end: the folder of a model with transformers' own tokenizer and generation defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from tritloom.host.formats.convert import convert, open_source
from tritloom.host.model.model import Model
from tritloom.sim.golden import NumpyAccelerator

from .cases import ONLINE, Case, sizes
from .reference import MASTERS, Reference

SPECIAL = ["<|begin|>", "<|end|>", "<|eot|>", "<|user|>"]
CASE = Case(seed=41, sizes=sizes(64, 171, 2, 4, 2), quantization=ONLINE, stored=MASTERS)

TEXTS = [
    "the weaver at the loom", " leading, trailing ", "two\nlines\n\n\tand a tab", "naïve café, 東京, \U0001f9f5 and é", "", "<|eot|>", "a<|end|>b", "don't 12345 3.14",
    "x" * 200, "\u0000\x7f", "e\u0301 and \u200b nothing",
]

#: In the manner of BitNet b1.58 2B-4T, of ChatML, of Llama 3 with its date, and of one that marks what is to be learned.
TEMPLATES = {
    "roles": "{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] | trim + '<|eot|>' }}{% endfor %}"
             "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}",
    "loops": "{%- set state = namespace(first=true) %}\n{%- for message in messages %}\n{%- if message.role == 'tool' %}{% continue %}{% endif %}\n"
             "{{- (bos_token if state.first else '') + '<|user|>' + message.role + '\n' + message.content + eos_token }}\n{%- set state.first = false %}\n{%- endfor %}\n"
             "{%- if add_generation_prompt %}\n{{- '<|user|>assistant\n' }}\n{%- endif %}\n",
    "tools": "{% if tools is not none %}{{ tools | tojson }}{% endif %}{% if not date_string is defined %}{% set date_string = strftime_now('%Y') %}{% endif %}"
             "{{ bos_token }}{{ date_string }} {{ messages | tojson }}{{ pad_token }}<|eot|>\n",
    "marks": "{% for message in messages %}{% if message.role == 'assistant' %}{% generation %}{{ message.content }}{% endgeneration %}{% else %}{{ message.content }}{% endif %}"
             "{% endfor %}{% generation %}said{% endgeneration %}",
}  # fmt: skip


@pytest.fixture
def fast() -> PreTrainedTokenizerFast:
    """Byte pairs over bytes, as the Llama 3 family's; a text begins with a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(["the weaver at the loom, the thread and the shuttle, and the other weavers"] * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{SPECIAL[0]} $A", special_tokens=[(SPECIAL[0], 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[1])


def _convert(folder: Path, fast: PreTrainedTokenizerFast, ends: int | list[int] = 1) -> Model:
    CASE.write(folder)
    fast.save_pretrained(folder)
    GenerationConfig(bos_token_id=0, eos_token_id=ends).save_pretrained(folder)
    convert(open_source(folder), folder / "model.trit")
    return Model.load(folder / "model.trit")


def test_texts_are_the_same_tokens(fast: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    ours = _convert(tmp_path, fast).tokenizer
    for text in TEXTS:
        ids = fast(text)["input_ids"]
        assert ours.encode(text).ids.tolist() == ids, text
        for cut in range(len(ids) + 1):    # in the middle of a character too
            assert ours.decode(ids[:cut]) == fast.decode(ids[:cut], skip_special_tokens=True), (text, cut)
        step = ours.stream()
        assert "".join(map(step, ids)) == fast.decode(ids, skip_special_tokens=True), text


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_conversation_is_the_same_tokens(name: str, fast: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    fast.chat_template = TEMPLATES[name]
    ours = _convert(tmp_path, fast).tokenizer
    assert (tmp_path / "chat_template.jinja").exists()
    for text in TEXTS:
        expected = fast.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False)
        assert ours.encode_chat(text).ids.tolist() == expected, text


def test_texts_end_where_transformers_ends_them(fast: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """At one of several tokens, as ``generation_config.json`` lists them, and not ``config.json``."""
    _convert(tmp_path, fast)
    reference = Reference(tmp_path)

    def go_on(prompt: str, tokens: int) -> tuple[list[int], float]:
        """transformers' likeliest tokens, and by how much they are that at the least."""
        ids = torch.tensor([fast(prompt)["input_ids"]])
        out = reference.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, output_logits=True, return_dict_in_generate=True)
        return out.sequences[0, ids.shape[1] :].tolist(), min(float(-logits[0].topk(2).values.diff()) for logits in out.logits)

    # A prompt after which the three likeliest tokens are all different, and likelier than any other by so much that no flip can change them.
    prompts = (f"{one} {other}" for one in "abcdefghijklmnopqrstuvwxyz" for other in ("the", "loom", "shuttle"))
    prompt, made = next((prompt, made) for prompt in prompts for made, margin in [go_on(prompt, 3)] if len(set(made)) == 3 and margin > 0.3 and min(made) >= len(SPECIAL))

    model = _convert(tmp_path, fast, ends=[1, made[2]])
    assert model.tokenizer.end_ids == (1, made[2])
    generation = model.generate(prompt, NumpyAccelerator(), max_tokens=9)
    assert "".join(generation) == fast.decode(made[:2])
    assert (generation.tokens, generation.stop_reason) == (made[:2], "end")
    reference = Reference(tmp_path)
    assert go_on(prompt, 9)[0] == made    # there the last one is part of the text
