"""Where a word begins and ends, in every script.

A word is a run of letters, digits and the marks that stand on them. Python's own `re` takes a combining mark for a sign
between two words: "Zoë" with the dots as a character of their own would be two words, and "दिल्ली" six. The `regex`
package has the definition of Unicode (UTS 18, annex C), to which the numbers that are no decimal digits, as in "m²",
are added here.

Left out: scripts that write no space between words, as Chinese and Thai; a run of them is one word.
"""

from transformer_lib.contract import checked
from transformer_lib.extras import needed

with needed():
    import regex

LETTER = r"[\w\p{N}]"
MARK = r"[\p{M}\u200c\u200d]"  # a mark, or one of the two characters that join letters or keep them apart
# The last four are white space to Python, and to split() therefore, though not to Unicode.
_WORD = regex.compile(rf"(?!{MARK}){LETTER}+(?:[-'\u2019.]{LETTER}+)*|[^\s\x1c-\x1f]{MARK}*")


@checked
def split_words(text: str) -> tuple[str, ...]:
    """Runs of letters and digits, also around a hyphen, an apostrophe or a point; any other sign is a word."""
    return tuple(text[start:end] for start, end in word_spans(text))


@checked
def word_spans(text: str) -> list[tuple[int, int]]:
    """Of each word of `split_words`, the place of its first character and the place after its last."""
    return [match.span() for match in _WORD.finditer(text)]
