"""How what was found is printed: for people as a few lines, for programs as a JSON object."""

from typing import TYPE_CHECKING, Any

from transformer_lib.cli.lines import Shown

if TYPE_CHECKING:
    from transformer_lib.tasks.candidates import Translation
    from transformer_lib.tasks.found import Extracted
    from transformer_lib.tasks.paragraphs import Paragraph, ParagraphTranslator
    from transformer_lib.tasks.question_answering import AnswerFound


def show_translation(source: str, found: "Paragraph", translator: "ParagraphTranslator", n_best: int) -> Shown:
    """The best translation; with more of them, each on a line of its own behind its log-probability per token."""
    best, parts = found.best, [each for _, each in found.sentences]
    value: dict[str, Any] = {"source": source, "target": best[0].text, **_scores(best[0])}
    value["unsure"] = translator.is_unsure(parts or best[:1])
    if n_best > 1:
        value["n_best"] = [{"target": each.text, **_scores(each)} for each in best]
    if translator.language is not None:
        value["sentences"] = [
            {"source": text, "target": each.text, **_scores(each), "unsure": translator.is_unsure([each])}
            for text, each in found.sentences
        ]
    text = "\n".join(f"{each.per_token:.3f}\t{each.text}" for each in best) if n_best > 1 else best[0].text
    return Shown(value, text, _doubt(found, translator) if value["unsure"] else None)


def _scores(found: "Translation") -> dict[str, Any]:
    return {"log_prob": found.log_prob, "tokens": found.tokens, "log_prob_per_token": found.per_token}


def _doubt(found: "Paragraph", translator: "ParagraphTranslator") -> str:
    """What is said of a translation, or of the sentences of one, that may well be wrong."""
    rule = "unsure, this may be a wrong translation: {:.2f} per token"
    if len(found.sentences) < 2:
        return rule.format(found.best[0].per_token)
    doubtful = [
        f"sentence {number} is {rule.format(each.per_token)}"
        for number, (_, each) in enumerate(found.sentences, start=1)
        if translator.is_unsure([each])
    ]
    return "; ".join(doubtful)


def show_extracted(found: "Extracted") -> Shown:
    """The text, then a line for each entity and each relation, with how sure the model is of it."""
    names = [" ".join(entity.text.split()) for entity in found.entities]
    lines = [" ".join(found.text.split())]
    lines += [f"  {e.kind}: {name} ({e.confidence:.2f})" for e, name in zip(found.entities, names, strict=True)]
    lines += [f"  {r.kind}: {names[r.head]} -> {names[r.tail]} ({r.confidence:.2f})" for r in found.relations]
    return Shown(found.as_json(), "\n".join(lines))


def show_answer(found: "AnswerFound", more: dict[str, Any] | None = None) -> Shown:
    """The answer, or that there is none; in JSON behind what is given as `more`."""
    value = (more or {}) | found._asdict() | {"abstained": found.abstained}
    return Shown(value, found.text or "(no answer)")
