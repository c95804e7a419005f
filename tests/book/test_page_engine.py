"""The engine of the pages beside PyTorch, in a browser: the same ids, logits, weights, draws, texts and translations.

The page is opened as a file, as readers may. Both sides compute in single precision with the same weights of half
precision, so they differ by rounding alone; where a choice between two tokens or texts hangs on it, either is right.
"""

import base64
import hashlib
import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.book.pages import ROOT, needs_chromium
from tests.plain import unchecked
from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, NoPositions, Norm, Rope, to_json
from transformer_lib.data.toy_grammar import pair
from transformer_lib.data.toy_translation import meanings
from transformer_lib.generation import beam_search, distribution, generate
from transformer_lib.generation.conditioned import Conditioned
from transformer_lib.models import DecoderLM
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.translation import START, Translator
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.viz.record import record_attention

ENGINE = ROOT / "_static" / "widgets" / "engine"
WRITER, TRANSLATOR = "shakespeare-small", "tatoeba-en-zh"
MODELS = ROOT / "recipes" / "models"
CLOSE = 1e-4  # of logits up to 20: both sides add up in single precision, each in its own order
MB = 1_000_000
REFUSAL = "text => { try { %s; return ''; } catch (error) { return error.message; } }"

SPEAKERS = ["ROMEO", "JULIET", "KING", "First Citizen", "GLOUCESTER", "Nurse", "MENENIUS", "Lady", "DUKE", "Servant"]
OPENINGS = ["I", "What", "My lord", "O", "He is", "Good night", "Come,", "The king", "And so", "To be"]
PROMPTS = [f"{who}:\n{how}" for who in SPEAKERS for how in OPENINGS]
PROMPTS += [f"{PROMPTS[i]} the people of\nRome.\n\n{PROMPTS[99 - i]}" for i in range(100)]

WHO = ["I", "Tom", "My sister", "They", "The teacher", "We", "His father", "You", "Mary", "That old man"]
DOES = ["like", "can see", "want to buy", "do not know"]
WHAT = ["this book.", "a red car.", "the way to the station.", "what to say.", "something to eat"]
SENTENCES = [f"{who} {does} {what}" for who in WHO for does in DOES for what in WHAT]

SCRIPTS = [
    *("Hello, world!  It's 12,345.67 o'clock\n\n\tnow", "naïve café – “quoted” … €5", "Ἐν ἀρχῇ ἦν ὁ λόγος"),
    *("Привет, мир!", "你好\uff0c世界\uff01我愛你。", "こんにちは 世界", "안녕하세요", "สวัสดีชาวโลก", "नमस्ते दुनिया"),
    *("مرحبا بالعالم", "שלום עולם", "\U0001f469\u200d\U0001f467 🚀🙂", "𐎀𐎁 \U0001d4b3 𠀀"),
    *("a\u00a0b\u2003c\ufeffd\u0085e\x1cf", "<s></s> <pad>", "x = y**2 # 3"),
]


@pytest.fixture(scope="module")
def page_models() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("page_models")


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the other layers that the engine knows, with random weights, large enough that all parts are seen."""
    config = ModelConfig(
        vocab_size=256,
        d_model=32,
        num_layers=2,
        max_length=64,
        attention=AttentionConfig(num_heads=4, num_kv_heads=2, bias=True),
        feedforward=Mlp(d_ff=40, activation="gelu_tanh"),  # 40: no multiple of 16, so the plain product
        positions=NoPositions(),
        norm=Norm(kind="layer"),
        tie_embeddings=False,
        scale_embeddings=True,
        head_bias=True,
    )
    torch.manual_seed(0)
    model = DecoderLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter + 0.3 * torch.randn_like(parameter)).half().float())
    folder = tmp_path_factory.mktemp("models") / "other"
    Writer(model, Tokenizer.train(["a"], 256)).save(folder, dtype=torch.float16)
    return folder


@pytest.fixture(scope="module")
def other(other_folder: Path) -> Writer:
    return Writer.load(other_folder)


@pytest.fixture(scope="module")
def tab(browser: Any, page_models: Any, other_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page from the disk with the engine, the two models of the book, and the random one."""
    folder = tmp_path_factory.mktemp("page")
    stored = {"other": other_folder} | {name: MODELS / name for name in page_models.NAMES}
    for name, model in stored.items():
        (folder / f"{name}.js").write_text(page_models.script_of(model, name), encoding="utf-8")
    page = browser.new_page()
    (folder / "page.html").write_text("<!doctype html><meta charset='utf-8'><title>page</title>", encoding="utf-8")
    page.goto((folder / "page.html").as_uri())
    page.add_script_tag(url=(ENGINE / "engine.js").as_uri())
    for file in page.evaluate("Engine.FILES"):
        page.add_script_tag(url=(ENGINE / f"{file}.js").as_uri())
    for name in stored:
        page.add_script_tag(url=(folder / f"{name}.js").as_uri())
    page.evaluate("for (const name of Object.keys(Engine.stored)) Engine.opened[name] = Engine.ready(name)")
    yield page
    page.close()


@pytest.fixture(scope="module")
def writer() -> Writer:
    return Writer.load(MODELS / WRITER)


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.load(MODELS / TRANSLATOR)


# --- The parts.


@needs_chromium
def test_the_program_of_the_kernel_is_what_its_text_says(tab: Any) -> None:
    made = tab.evaluate("Array.from(Engine.assemble(Engine.PRODUCT))")
    # What wat2wasm of the WebAssembly Binary Toolkit (npm: wabt) makes of the same text.
    assert hashlib.sha256(bytes(made)).hexdigest() == "0030316742b0042cd6245a7a71d76f7e247bbef9f29ca47c0151a638818db4e4"
    assert tab.evaluate(f"Engine.opened['{TRANSLATOR}'].model.weights.kernel.fast")


@needs_chromium
@pytest.mark.parametrize("width", [16, 48, 20])
def test_products_are_numpys(tab: Any, width: int) -> None:
    numbers = np.random.default_rng(0)
    w, x = numbers.standard_normal((33, width)), numbers.standard_normal((400, width))
    made = tab.evaluate(
        """([w, x, rows, width]) => [true, false].map(plain => {
            const matrix = { numbers: Float32Array.from(w), rows, width };
            return [...new Engine.Kernel([matrix], { plain }).product(matrix, Float32Array.from(x))];
        })""",
        [w.ravel().tolist(), x.ravel().tolist(), 33, width],
    )
    for y in made:
        assert np.array(y).reshape(400, 33) == pytest.approx(x @ w.T, abs=1e-5)


@needs_chromium
def test_numbers_of_half_precision_are_numpys(tab: Any, tmp_path: Path) -> None:
    from safetensors.numpy import save

    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    script = """text => {
        const { all } = Engine.readTensors(Engine.bytesOf(text));
        return [...all.numbers].map(x => Number.isNaN(x) ? "NaN" : x);
    }"""
    stored = base64.b64encode(save({"all": every})).decode()
    read = np.array(tab.evaluate(script, stored), dtype=np.float64)
    np.testing.assert_array_equal(read, every.astype(np.float64))


@needs_chromium
@pytest.mark.parametrize("name", [WRITER, TRANSLATOR])
@unchecked()
def test_ids_are_those_of_the_tokenizer(tab: Any, name: str) -> None:
    tokenizer = Tokenizer.load(MODELS / name / "tokenizer.json")
    authored = [each for meaning in meanings(0).train[:200] for each in pair(meaning)]
    mixed = [f"{SCRIPTS[i % 16]}{SCRIPTS[i // 16]} {SCRIPTS[(i + 5) % 16]}" for i in range(256)]
    texts = [*PROMPTS, *SENTENCES, *authored, *SCRIPTS, *mixed]
    assert len(texts) >= 1000
    ids, back = tab.evaluate(
        f"""texts => {{
            const cut = Engine.opened['{name}'].tokenizer, ids = texts.map(text => cut.encode(text));
            return [ids, ids.slice(-256).map(each => cut.decode(each.slice(0, -1)))];
        }}""",
        texts,
    )
    wanted = tokenizer.encode_batch(texts)
    assert ids == wanted
    assert back == [tokenizer.decode(each[:-1], whole_characters=True) for each in wanted[-256:]]


# --- The models.


def rows(ids: list[list[int]]) -> torch.Tensor:
    return torch.tensor(ids)


def check_logits(tab: Any, name: str, model: DecoderLM, texts: list[list[int]]) -> None:
    made = tab.evaluate(
        f"""texts => texts.map(ids => {{
            const {{ model }} = Engine.opened['{name}'];
            return [...model.read(ids, model.newCache(ids.length), {{ every: true }})];
        }})""",
        texts,
    )
    for ids, logits in zip(texts, made, strict=True):
        with torch.inference_mode():
            wanted = model(rows([ids]))[0]
        torch.testing.assert_close(torch.tensor(logits).view_as(wanted), wanted, atol=CLOSE, rtol=0)


@needs_chromium
def test_logits_are_pytorchs(tab: Any, writer: Writer, other: Writer) -> None:
    check_logits(tab, WRITER, writer.model, [writer.tokenizer.encode(text) for text in PROMPTS[::20]])
    check_logits(tab, "other", other.model, [[*range(60)], [7]])


@needs_chromium
@unchecked()
def test_greedy_texts_are_pytorchs(tab: Any, writer: Writer) -> None:
    prompts, new = [writer.tokenizer.encode(prompt) for prompt in PROMPTS], 12
    made = tab.evaluate(
        f"""([prompts, count]) => prompts.map(ids => {{
            const {{ model }} = Engine.opened['{WRITER}'];
            const cache = model.newCache(ids.length + count), written = [];
            let logits = model.read(ids, cache);
            for (;;) {{
                written.push(Engine.greedy(logits));
                if (written.length === count) return written;
                logits = model.read(written.slice(-1), cache);
            }}
        }})""",
        [prompts, new],
    )
    for ids, written in zip(prompts, made, strict=True):
        [wanted] = generate(writer.model, rows([ids]), max_new_tokens=new).rows()
        if written != wanted:
            same = next(i for i in range(new) if written[i] != wanted[i])
            logits = writer.model(rows([[*ids, *wanted[:same]]]), newest=1)[0, 0]
            assert logits[written[same]] > logits.max() - 2 * CLOSE, (ids, written, wanted)


@needs_chromium
def test_a_cache_changes_nothing_and_neither_does_the_plain_product(tab: Any, writer: Writer) -> None:
    ids = writer.tokenizer.encode(PROMPTS[-1])
    whole, parts, plain = tab.evaluate(
        f"""ids => {{
            const read = (model, ends) => {{
                const cache = model.newCache(ids.length);
                return [...ends.map((end, i) => model.read(ids.slice(ends[i - 1] ?? 0, end), cache)).pop()];
            }};
            const {{ model }} = Engine.opened['{WRITER}'], slow = Engine.ready('{WRITER}', {{ plain: true }}).model;
            return [read(model, [ids.length]), read(model, [1, 2, 7, ids.length]), read(slow, [ids.length])];
        }}""",
        ids,
    )
    assert parts == pytest.approx(whole, abs=CLOSE)
    assert plain == pytest.approx(whole, abs=CLOSE)


@needs_chromium
def test_weights_of_every_head_are_pytorchs(tab: Any, writer: Writer, translator: Translator) -> None:
    ids = writer.tokenizer.encode(PROMPTS[0])
    made = tab.evaluate(
        f"""ids => {{
            const {{ model }} = Engine.opened['{WRITER}'], watch = [];
            model.read(ids, model.newCache(ids.length), {{ watch }});
            const whole = row => [...row, ...new Array(ids.length - row.length).fill(0)];
            return watch.map(({{ own }}) => own.map(head => head.map(whole)));
        }}""",
        ids,
    )
    with torch.inference_mode(), record_attention(writer.model) as looks:
        writer.model(rows([ids]))
    wanted = torch.cat([look.weights for look in looks])
    torch.testing.assert_close(torch.tensor(made), wanted, atol=1e-4, rtol=0)

    source = translator.tokenizer.encode(" Where do you live?")
    target = translator.tokenizer.encode(" 你住在哪裡\uff1f")
    end, start = translator.tokenizer.special_tokens["</s>"], translator.tokenizer.special_tokens[START]
    made = tab.evaluate(
        f"([source, ids]) => Engine.opened['{TRANSLATOR}'].translator.looks(source, ids)",
        [[*source, end], [*target, end]],
    )
    with torch.inference_mode(), record_attention(translator.model) as looks:
        translator.model(rows([[*source, end]]), rows([[start, *target]]))
    wanted = torch.cat([look.weights for look in looks if "cross" in look.name])
    torch.testing.assert_close(torch.tensor(made), wanted, atol=1e-4, rtol=0)


@needs_chromium
def test_an_unknown_layer_is_refused_by_name(tab: Any) -> None:
    config = ModelConfig(
        vocab_size=256,
        d_model=32,
        num_layers=1,
        max_length=8,
        attention=AttentionConfig(num_heads=2),
        feedforward=Mlp(d_ff=32, activation="relu"),
        positions=Rope(),
    )
    check = REFUSAL % "Engine.checkConfig(JSON.parse(text))"
    assert tab.evaluate(check, to_json(config)) == ""
    for changed, field in (
        (replace(config, norm_order="post"), "config.norm_order"),
        (replace(config, logit_cap=30.0), "config.logit_cap"),
        (replace(config, attention=AttentionConfig(num_heads=2, window=4)), "config.attention.window"),
        (replace(config, feedforward=Mlp(d_ff=32, activation="gelu")), "config.feedforward.activation"),
        (replace(config, positions=Rope(share=0.5)), "config.positions.share"),
    ):
        assert field in tab.evaluate(check, to_json(changed))


# --- From logits to texts.


@needs_chromium
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (1, None), (5, None), (None, 0.3), (None, 1.0), (7, 0.8)])
def test_the_distribution_is_pytorchs(tab: Any, temperature: float, top_k: int | None, top_p: float | None) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(300)
    logits[[5, 9]] = logits.max() + 0.5  # two are equal
    limits = {"temperature": temperature, "topK": top_k, "topP": top_p}
    script = "([logits, limits]) => [...Engine.distribution(Float32Array.from(logits), limits)]"
    made = torch.tensor(tab.evaluate(script, [logits.tolist(), limits]), dtype=torch.float32)
    wanted = distribution(logits[None], temperature=temperature, top_k=top_k, top_p=top_p)[0]
    torch.testing.assert_close(made, wanted, atol=1e-6, rtol=1e-5)


@needs_chromium
def test_tokens_are_drawn_as_often_as_they_are_likely(tab: Any) -> None:
    probs = [0.1, 0.0, 0.45, 0.05, 0.4]
    counts, same = tab.evaluate(
        """probs => {
            const counts = probs.map(() => 0);
            for (let i = 0; i < 1000; i++) counts[Engine.draw(probs, () => (i + 0.5) / 1000)]++;
            const random = Engine.generator(1);
            return [counts, Array.from({ length: 10000 }, random)];
        }""",
        probs,
    )
    assert counts == [1000 * each for each in probs]
    assert np.mean(same) == pytest.approx(0.5, abs=0.02)  # of 10,000: seven standard deviations
    assert np.corrcoef(same[1:], same[:-1])[0, 1] == pytest.approx(0, abs=0.05)


@needs_chromium
@pytest.mark.parametrize(("beams", "penalty"), [(1, 1.0), (3, 0.0), (5, 1.0)])
def test_beams_are_those_of_the_library(tab: Any, translator: Translator, beams: int, penalty: float) -> None:
    start, end = (translator.tokenizer.special_tokens[name] for name in (START, "</s>"))
    sources = [[*translator.tokenizer.encode(f" {each}"), end] for each in SENTENCES[::20]]
    made = tab.evaluate(
        f"""([sources, options]) => sources.map(source => {{
            const {{ translator }} = Engine.opened['{TRANSLATOR}'];
            return translator.search(source, options).texts;
        }})""",
        [sources, {"beams": beams, "lengthPenalty": penalty}],
    )
    for source, texts in zip(sources, made, strict=True):
        reader, limit = Conditioned(translator.model, rows([source])), 2 * -(-len(source) // 16) * 16 + 16
        options: dict[str, Any] = {"max_new_tokens": limit, "stop_ids": [end], "length_penalty": penalty}
        wanted = beam_search(reader, rows([[start]]), beams=beams, **options)
        assert [text["score"] for text in texts] == pytest.approx(wanted.scores[0].tolist(), abs=1e-4)
        apart = wanted.scores[0].diff().abs().min() > 1e-4 if beams > 1 else True
        if apart:  # else two texts may change places
            ids = [row[:length].tolist() for row, length in zip(wanted.tokens[0], wanted.lengths[0], strict=True)]
            assert [text["ids"] for text in texts] == ids


@needs_chromium
@unchecked()
def test_translations_are_those_of_translate(tab: Any, translator: Translator) -> None:
    made = tab.evaluate(
        f"texts => texts.map(text => Engine.opened['{TRANSLATOR}'].translator.translate(text))", SENTENCES
    )
    wanted = translator.candidates(SENTENCES, n_best=2)
    assert len(SENTENCES) == 200
    for text, found, (best, *second) in zip(SENTENCES, made, wanted, strict=True):
        if found["text"] != best.text:  # only where both are as good, but for rounding
            assert second[0].per_token == pytest.approx(best.per_token, abs=1e-4), text
            assert found["text"] == second[0].text
        else:
            assert found["logProb"] == pytest.approx(best.log_prob, abs=1e-3)  # a sum over tokens
    assert tab.evaluate(f"Engine.opened['{TRANSLATOR}'].translator.translate(' \\u3000 ').text") == ""
    call = REFUSAL % f"Engine.opened['{TRANSLATOR}'].translator.translate(text)"
    assert "at most 128 tokens" in tab.evaluate(call, "word " * 200)


# --- What a page weighs.


def test_the_scripts_of_models_are_as_light_as_promised(page_models: Any) -> None:
    engine = sum(file.stat().st_size for file in ENGINE.glob("*.js"))
    size = {name: len(page_models.script_of(MODELS / name).encode()) for name in page_models.NAMES}
    assert size[WRITER] <= 2.5 * MB
    assert size[TRANSLATOR] + engine < 8 * MB
