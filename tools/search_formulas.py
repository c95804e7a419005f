"""A formula as one line of plain text, for the search: the TeX `\\frac{QK^\\top}{\\sqrt{d_k}}` becomes `(QKᵀ)/√d_k`.

A reader types `d_k` or `sqrt(d_k)`, not TeX, and an excerpt in a list of hits is text. The layout is lost; all symbols
stay, in their order.
"""

import re

from docutils.utils.math import tex2unichar

TABLES = ("mathalpha", "mathbin", "mathclose", "mathop", "mathopen", "mathord", "mathrel")
SIGNS = {name: sign for table in TABLES for name, sign in getattr(tex2unichar, table).items()}
SIGNS |= {"cdot": "·", "dots": "…", "epsilon": "ε", "iff": "⇔", "lVert": "‖", "mid": "|", "prod": "∏", "rVert": "‖"}
SIGNS |= {"sum": "∑"}
OPEN, CLOSE = "\ue000", "\ue001"  # braces that are to be seen, while the others are read
WORD = r"(?![a-zA-Z])"  # the end of a command
GROUP = r"\s*\{([^{}]*)\}"  # a group with no group inside
LAYOUT = rf"\\(?:begin|end){GROUP}|\\(?:left|right|[bB]igg?[lr]?|textstyle){WORD}|\\\\|\\q?quad{WORD}|\\[,;:!> ]|[&~]"
DRESS = rf"\\(?:[a-z]*bar|hat|tilde|(?:over|under)[a-z]+|text[a-z]*|math[a-z]+|operatorname\*?){GROUP}"


def plain(tex: str) -> str:
    """The formula as somebody would type it."""
    text = re.sub(LAYOUT, " ", tex).replace(r"\{", OPEN).replace(r"\}", CLOSE)
    text = re.sub(r"(\\(?:[dt]?frac|sqrt|hat|bar|tilde))\s*(\w)", r"\1{\2}", text)
    text = re.sub(r"(\\[dt]?frac\{[^{}]*\})\s*(\w)", r"\1{\2}", text)
    text = re.sub(r"\\[a-zA-Z]+|[a-zA-Z](?=[a-zA-Z]_)", _product, text)
    before = ""
    while text != before:  # from the innermost groups outwards
        before = text
        text = re.sub(DRESS, r" \1", text)
        text = re.sub(rf"\\[dt]?frac{GROUP}{GROUP}", lambda m: f" {_whole(m[1])}/{_whole(m[2])}", text)
        text = re.sub(rf"\\sqrt{GROUP}", lambda m: f"√{_whole(m[1])}", text)
        text = re.sub(rf"([_^]){GROUP}", lambda m: m[1] + _whole(m[2]), text)
        text = re.sub(rf"(?<![a-zA-Z_^}}]){GROUP}", r"\1", text)
    text = re.sub(rf"\^\s*\\top{WORD}", "ᵀ", text)
    text = re.sub(r"\\([a-zA-Z]+)(?=(\\|[a-zA-Z])?)", lambda m: SIGNS.get(m[1], m[1] + " " * bool(m[2])), text)
    text = text.replace(OPEN, "{").replace(CLOSE, "}")
    text = re.sub(r"[ \n]+", " ", text)
    return re.sub(r" ([,.;:)])|([(^_√]) ", r"\1\2", text).strip()


def _product(match: re.Match[str]) -> str:
    """A thin space after a factor: `XW_Q` holds the symbol `W_Q`, and no `XW_Q`."""
    return match[0] if match[0].startswith("\\") else f"{match[0]}\u2009"


def _whole(part: str) -> str:
    """What stands under a root, over a bar or below the line: in brackets, unless it is one symbol."""
    part = part.strip()
    return part if re.fullmatch(r"[\\√]?\w+(\^\\top)?|\(\w*\)|.?", part) else f"({part})"
