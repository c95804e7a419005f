"""What real sentence pairs give away without being translated: a floor under the scores of the other recipes.

Nothing is trained but a dictionary, by counting. Four shortcuts translate the test: the most frequent target, a copy of
the source, a dictionary learned from the pairs, and the translation of the nearest source of training. Where a model
stands in `recipes/models`, it translates the test as well, and everything is compared with it by paired bootstrap, and
by the mistakes that a rule can find. Some references may stand in training, as translations of another source: `fresh`
says what the scores are without them.

    python -m transformer_lib train recipes/translation_baselines.py --set data=tatoeba-en-zh
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformer_lib.config import require
from transformer_lib.data.examples import Pair
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.evaluation import load_examples
from transformer_lib.tasks.metrics import bleu_resampled, chrf
from transformer_lib.tasks.saved import read_about
from transformer_lib.tasks.translation import Translator
from transformer_lib.tasks.translation_errors import count_signs
from transformer_lib.tasks.translation_shortcuts import cut_words, cutter, dictionary, memory

NAME = "baselines-{data}"
OPTIONS = {"data": "multi30k-de-en"}
DATA = ("multi30k-de-en", "multi30k-en-de", "tatoeba-en-zh")
PIECES = 4000  # of Chinese, whose words nothing marks


def shortcuts(train: Sequence[Pair], test: Sequence[Pair], *, chinese: bool) -> dict[str, list[str]]:
    """The translations of the test by each shortcut."""
    cut = cutter([each.target for each in train], PIECES) if chinese else cut_words
    meanings, nearest = dictionary(train, cut), memory(train)
    commonest = Counter(each.target for each in train).most_common(1)[0][0]
    between = "" if chinese else " "
    return {
        "most frequent target": [commonest] * len(test),
        "copied source": [each.source for each in test],
        "dictionary": [
            between.join(meanings[word] for word in cut_words(each.source) if word in meanings) for each in test
        ],
        "nearest source": [nearest(each.source).target for each in test],
    }


def run(run: Run) -> dict[str, Any]:
    """BLEU with its interval, chrF and exact match of each shortcut and of the model, if there is one, on all pairs and
    on the fresh ones."""
    data = run.options["data"]
    require(data in DATA, "data", f"must be one of {DATA}", data)
    chinese = data.endswith("zh")
    train, test = (load_examples(data.replace("-", " ", 1), split) for split in ("train", "test"))
    references = [each.target for each in test]
    written = shortcuts(train, test, chinese=chinese)
    folder = Path(__file__).parent / "models" / data
    if folder.exists():
        model = Translator.load(folder)
        model.model.double()
        settings = read_about(folder)["evaluation"]
        written = {"model": model([each.source for each in test], beams=settings["beams"]), **written}
    counting: dict[str, Any] = {"lowercase": not chinese, "tokenize": "zh" if chinese else "13a"}
    known = {each.target for each in train}
    fresh = [number for number, text in enumerate(references) if text not in known]
    results: dict[str, Any] = score(written, references, **counting)
    for name, found in score(*only(fresh, written, references), **counting).items() if fresh else ():
        results[name]["fresh"] = found
    for name, texts in written.items():
        results[name]["targets of training"] = sum(text in known for text in texts) / len(test)
        if chinese:
            results[name]["signs"] = count_signs([each.source for each in test], texts, references)
    results["references"] = {"targets of training": 1 - len(fresh) / len(test)}
    if chinese:
        results["references"]["signs"] = count_signs([each.source for each in test], references, references)
    return {"pairs": len(test), "fresh": len(fresh), "train": len(train), "systems": results}


def only(
    chosen: list[int], written: dict[str, list[str]], references: list[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """The chosen sentences of each system and of the references."""
    return {name: [texts[i] for i in chosen] for name, texts in written.items()}, [references[i] for i in chosen]


def score(written: dict[str, list[str]], references: list[str], *, lowercase: bool, tokenize: Any) -> dict[str, Any]:
    """Of each system BLEU with half its interval, chrF, and the share that is the reference to the letter."""
    found = bleu_resampled(written, references, lowercase=lowercase, tokenize=tokenize)
    return {
        name: {
            "bleu": found[name].value,
            "margin": found[name].margin,
            "chrf": chrf(texts, references, lowercase=lowercase).value,
            "exact": sum(a == b for a, b in zip(texts, references, strict=True)) / len(references),
        }
        for name, texts in written.items()
    }
