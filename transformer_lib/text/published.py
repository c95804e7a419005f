"""A published folder's tokenizer, whatever files it has.

| files | kind | whose |
|---|---|---|
| `tokenizer.json` | any, with its own rules | most of today's |
| `*.model`, `*.spm` | SentencePiece, Unigram or BPE | Llama, Mistral, T5, XLM-R |
| `source.spm`, `target.spm`, `vocab.json` | two of SentencePiece (`read_pair`) | Marian, that is, OPUS-MT |
| `vocab.json`, `merges.txt` | BPE on bytes | GPT-2, RoBERTa, Qwen |
| `vocab.txt` | WordPiece | BERT, DistilBERT |

The first that is there counts. Ids are those of transformers 5, whose tokenizers are the fast ones; where its older,
slow ones differ, as BERT's on some combining marks, the fast ones are followed.

WordPiece: Schuster and Nakajima (2012), as in Devlin et al. (2019), arXiv:1810.04805. Left out: kinds that need code or
a dictionary of their own.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from transformer_lib.checks import require, shown
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.files import read_json, read_text, split_lines
from transformer_lib.text.piece_file import UNKNOWN, read_piece_file
from transformer_lib.text.pieces import SentencePiece
from transformer_lib.text.token_config import MOST_IDS, TokenConfig, read_token_config
from transformer_lib.text.tokenizer import ALPHABET, Tokenizer, refusing

with needed():
    from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers import Tokenizer as RustTokenizer

TOKENIZER, VOCAB, MERGES, WORDS = "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"
SOURCE, TARGET = "source.spm", "target.spm"
EXTRA, MOST_EXTRA = 100, 10_000  # ids for gaps that T5 appends to its vocabulary
MOST_JSON = 64 << 20
# Qwen's cut: as GPT-2's, but every digit alone, line ends by themselves, and one sign before a word.
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@checked
class PairOfTokenizers(NamedTuple):
    """Both sides of a translation, with one id for each piece; what the decoder writes, `target` spells."""

    source: SentencePiece
    target: SentencePiece


@checked
def read_published(folder: str | Path) -> Tokenizer | SentencePiece:
    """The tokenizer of a folder; of Marian's two that of the source. `ValueError` if there is none that is known."""
    folder = Path(folder)
    if (folder / TOKENIZER).is_file():
        return Tokenizer.load(folder / TOKENIZER, any_rules=True)
    if (folder / SOURCE).is_file():
        return read_pair(folder).source
    config = read_token_config(folder)
    found = sorted(file for end in ("model", "spm") for file in folder.glob(f"*.{end}") if file.is_file())
    if found:
        require(len(found) == 1, str(folder), "must hold one model of SentencePiece", [file.name for file in found])
        return _sentence_piece(found[0], config)
    if (folder / VOCAB).is_file() and (folder / MERGES).is_file():
        return _byte_level(folder, config)
    if (folder / WORDS).is_file():
        return _word_piece(folder / WORDS, config)
    known = [TOKENIZER, "*.model", "*.spm", f"{VOCAB} with {MERGES}", WORDS]
    raise ValueError(f"folder must hold the files of a tokenizer, {' or '.join(known)}, got {str(folder)!r}")


@checked
def read_pair(folder: str | Path) -> PairOfTokenizers:
    """The two tokenizers of a Marian folder, whose common ids stand in `vocab.json`; both end a text with `</s>`."""
    folder = Path(folder)
    config = read_token_config(folder)
    apart = config.flag("separate_vocabs", False)
    require(not apart, str(folder), "must have one vocabulary for both sides", "separate_vocabs")
    ids = _read_ids(folder / VOCAB)
    unknown, end, pad = (
        config.named.get(f"{role}_token", f"<{text}>") for role, text in (("unk", "unk"), ("eos", "/s"), ("pad", "pad"))
    )
    for text in (unknown, end, pad):
        require(text in ids, str(folder / VOCAB), "must have an id for", text)
    codes = [text for text in ids if text.startswith(">>") and text.endswith("<<")]
    source, target = (
        SentencePiece(
            read_piece_file(folder / name),
            ids=ids,
            unknown=ids[unknown],
            names=[unknown, end, pad],
            after=[ids[end]],
            openings=openings,
            name=str(folder / name),
        )
        for name, openings in ((SOURCE, codes), (TARGET, ()))
    )
    return PairOfTokenizers(source, target)


# SentencePiece --------------------------------------------------------------------------------------------------------


def _sentence_piece(file: Path, config: TokenConfig) -> SentencePiece:
    model = read_piece_file(file)
    texts = [piece.text for piece in model.pieces]
    ids = {text: i for i, text in enumerate(texts)}
    start, end = (config.named.get(name, text) for name, text in (("bos_token", "<s>"), ("eos_token", "</s>")))
    names: list[str] = []
    match config.kind:
        case "T5":
            extra = config.fields.get("extra_ids", EXTRA)
            whole = type(extra) is int and 0 <= extra <= MOST_EXTRA
            require(whole, f"{file}: extra_ids", f"must be a whole number from 0 to {MOST_EXTRA}", extra)
            names = [f"<extra_id_{i}>" for i in range(extra)]
            ids |= {name: len(texts) + i for i, name in enumerate(reversed(names))}
            before, after = [], [end]
        case "XLMRoberta":
            # fairseq's order of the first ones, of which the file has three in another.
            require(texts[:3] == ["<unk>", "<s>", "</s>"], str(file), "must begin as fairseq's do", texts[:3])
            roles = [start, "<pad>", end, "<unk>"]
            ids = {text: i for i, text in enumerate([*roles, *texts[3:], "<mask>"])}
            names = [*roles, "<mask>"]
            before, after = [start], [end]
        case "Llama" | "" | "PreTrained":
            before = [start] if config.flag("add_bos_token", config.kind == "Llama") else []
            after = [end] if config.flag("add_eos_token", False) else []
        case kind:
            known = ("Llama", "T5", "XLMRoberta", "Marian")
            raise ValueError(f"{file}: tokenizer_class must be the Tokenizer of one of {known}, got {kind!r}")
    ids = _with_added(ids, config, str(file))
    names += [text for text in config.special if text in ids]
    unknown = [piece.text for piece in model.pieces if piece.type == UNKNOWN]
    names = [name for name in dict.fromkeys(names) if name not in unknown]
    lacking = [text for text in (*before, *after) if text not in ids]
    require(not lacking, str(file), "must have the special tokens", lacking)
    own = None if ids == {text: i for i, text in enumerate(texts)} else ids
    first, last = ([ids[text] for text in texts] for texts in (before, after))
    return SentencePiece(model, ids=own, names=names, before=first, after=last, name=str(file))


def _with_added(ids: dict[str, int], config: TokenConfig, name: str) -> dict[str, int]:
    """The ids with those of the tokens that the folder adds, or renames."""
    texts = {i: text for text, i in ids.items()} | {i: text for text, i in config.added.items()}
    whole = {text: i for i, text in texts.items()}
    require(len(whole) == len(texts), name, "must have one id for each token, also for added ones", dict(config.added))
    return whole


# The kinds of `tokenizers` --------------------------------------------------------------------------------------------


def _word_piece(file: Path, config: TokenConfig) -> Tokenizer:
    known = ("Bert", "DistilBert", "Electra", "", "PreTrained")
    require(config.kind in known, f"{file}: tokenizer_class", f"must be the Tokenizer of one of {known}", config.kind)
    require(config.flag("do_basic_tokenize", True), str(file), "must cut at spaces first", "do_basic_tokenize")
    vocabulary = {text: i for i, text in enumerate(split_lines(read_text(file)))}
    roles = {
        role: config.named.get(f"{role}_token", f"[{role.upper()}]") for role in ("unk", "cls", "sep", "pad", "mask")
    }
    for role in ("unk", "cls", "sep"):
        require(roles[role] in vocabulary, str(file), f"must have the {role}_token", roles[role])
    with refusing(f"{file} must be a vocabulary of WordPiece"):
        rust = RustTokenizer(models.WordPiece(vocabulary, unk_token=roles["unk"]))
        rust.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=config.flag("tokenize_chinese_chars", True),
            strip_accents=config.stated("strip_accents"),
            lowercase=config.flag("do_lower_case", True),
        )
        rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        rust.decoder = decoders.WordPiece(prefix="##")
        ends = [(roles[role], vocabulary[roles[role]]) for role in ("cls", "sep")]
        rust.post_processor = processors.TemplateProcessing(
            single=f"{roles['cls']} $A {roles['sep']}",
            pair=f"{roles['cls']} $A {roles['sep']} $B:1 {roles['sep']}:1",
            special_tokens=ends,
        )
    return _with_special(rust, [text for text in roles.values() if text in vocabulary], config, str(file))


def _byte_level(folder: Path, config: TokenConfig) -> Tokenizer:
    name = str(folder / VOCAB)
    known = ("GPT2", "Roberta", "Qwen2", "", "PreTrained")
    require(config.kind in known, f"{name}: tokenizer_class", f"must be the Tokenizer of one of {known}", config.kind)
    ids = _read_ids(folder / VOCAB)
    lacking = [spelling for spelling in ALPHABET if spelling not in ids]
    require(not lacking, name, "must have an id for each byte", lacking[:9])
    space = config.flag("add_prefix_space", False)
    with refusing(f"{name} and {MERGES} must be a vocabulary of BPE"):
        rust = RustTokenizer(models.BPE(vocab=ids, merges=list(_read_merges(folder / MERGES))))
    rust.decoder = decoders.ByteLevel()
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    if config.kind == "Qwen2":
        rust.normalizer = normalizers.NFC()
        cut = pre_tokenizers.Split(Regex(QWEN), behavior="isolated")
        bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=False)
        rust.pre_tokenizer = pre_tokenizers.Sequence([cut, bytes_of])
    if config.kind == "Roberta":
        defaults = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>"}
        defaults |= {"unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
        before, after = ["cls"], ["sep"]
    else:
        defaults = {"eos": "<|endoftext|>"} | ({} if config.kind == "Qwen2" else {"bos": "<|endoftext|>"})
        before, after = ["bos"] if config.flag("add_bos_token", False) else [], []
    roles = {role: config.named.get(f"{role}_token", text) for role, text in defaults.items()}
    tokenizer = _with_special(rust, [text for text in roles.values() if text in ids], config, name)
    around = {roles[role]: rust.token_to_id(roles[role]) for role in (*before, *after)}
    require(None not in around.values(), name, "must have the tokens around a text", around)
    if around:
        first, last = ([roles[role] for role in part] for part in (before, after))
        rust.post_processor = processors.TemplateProcessing(
            single=[*first, "$A", *last],
            pair=[*first, "$A", *last, *(last or first), "$B", *last],
            special_tokens=list(around.items()),
        )
    return tokenizer


def _with_special(rust: RustTokenizer, defaults: Iterable[str], config: TokenConfig, name: str) -> Tokenizer:
    """The tokenizer, with the special tokens and the added ones, which keep the ids that the folder says."""
    special = dict.fromkeys([*defaults, *config.special])
    for text, wanted in sorted(config.added.items(), key=lambda item: item[1]):
        token = AddedToken(text, special=text in special, normalized=False)
        rust.add_special_tokens([token]) if text in special else rust.add_tokens([token])
        found = rust.token_to_id(text)
        require(found == wanted, name, f"must have room for the added token {text!r} with the id {wanted}", found)
    absent = [text for text in special if rust.token_to_id(text) is None]
    require(not absent, name, "must have an id for each special token", absent)
    rust.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    return Tokenizer(rust, name)


def _read_ids(file: Path) -> dict[str, int]:
    ids = read_json(file, most=MOST_JSON)
    if not isinstance(ids, dict) or not ids:
        raise ValueError(f"{file} must be a JSON object of tokens and their ids, got {shown(ids)}")
    wrong = next((i for i in ids.values() if type(i) is not int or not 0 <= i < MOST_IDS), None)
    require(wrong is None, str(file), f"must have ids from 0 to {MOST_IDS - 1}", wrong)
    require(len(set(ids.values())) == len(ids), str(file), "must have one token for each id", len(ids))
    return ids


def _read_merges(file: Path) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(split_lines(read_text(file)), start=1):
        if line and not line.startswith("#version"):
            left, _, right = line.partition(" ")
            whole = bool(left and right) and " " not in right
            require(whole, f"{file}: line {number}", "must hold two tokens apart by a space", line)
            yield left, right
