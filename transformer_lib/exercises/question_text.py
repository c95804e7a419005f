"""A question as a cell prints it: Markdown that reads well in Jupyter and on the page, and plain text.

On the page `_static/questions/questions.js` makes buttons and fields of it. It finds there what it needs: the choices
as the first list, what is said to each as the second, in the same order, and the right answer in the attributes of
the box. Without scripts the answer stays folded behind the choices.
"""

import html

from transformer_lib.contract import checked
from transformer_lib.exercises.questions import Amount, Choices, Order, Question, exact_text

ASKS = {
    "one": "one choice is right",
    "several": "several choices may be right",
    "number": "a number",
    "order": "an order",
}


@checked
def as_markdown(question: Question) -> str:
    """The question with its choices, and its answer folded."""
    attributes = {"kind": question.kind, "right": question.right if isinstance(question, Choices | Order) else ""}
    if isinstance(question, Amount):
        attributes |= {
            "right": exact_text(question.right),
            "tolerance": exact_text(question.tolerance),
            "unit": question.unit,
        }
        attributes |= {"wrong": " ".join(exact_text(value) for value, _ in question.wrong)}
    if isinstance(question, Order):
        attributes |= {"pairs": " ".join(question.why)}
    written = "".join(f' data-{key}="{html.escape(value)}"' for key, value in attributes.items() if value)
    choices = [] if isinstance(question, Amount) else [f"- **{key}** {text}" for key, text in question.choices.items()]
    return "\n".join(
        [
            f'<div class="question" id="{question.name}"{written}>',
            "",
            f"**Question** ({ASKS[question.kind]}). {question.text}",
            "",
            *choices,
            "",
            f'In the notebook: `check("{question.name}", ...)`',
            "",
            "<details><summary>Answer</summary>",
            "",
            f"Right is {question.answer()}." + (f" {question.why}" if isinstance(question, Amount) else ""),
            "",
            *_explanations(question),
            "",
            "</details></div>",
        ]
    )


@checked
def as_plain(question: Question) -> str:
    """The question with its choices, without its answer."""
    choices = [] if isinstance(question, Amount) else [f"  {key}  {text}" for key, text in question.choices.items()]
    return "\n".join([f"{question.name} ({ASKS[question.kind]}): {question.text}", *choices])


def _explanations(question: Question) -> list[str]:
    if isinstance(question, Amount):
        return [f"- {exact_text(value)}? {said}" for value, said in question.wrong]
    if isinstance(question, Order):
        return [f"- {pair[0]} before {pair[1]}: {why}" for pair, why in question.why.items()]
    return [f"- **{key}** {why}" for key, why in question.why.items()]
