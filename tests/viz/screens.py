"""What a colour of a figure looks like on a light page and on a dark one, where `_static/figures.css` turns it over."""

import re
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb

CSS = Path(__file__).parents[2] / "_static" / "figures.css"
# What CSS calls hue-rotate(180deg), of red, green and blue (Filter Effects, W3C).
HALF_A_TURN = np.array([[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]])


def seen(colour: str | tuple[float, ...], look: str) -> np.ndarray:
    """Red, green and blue on the screen, from 0 to 1, in the look "light" or "dark"."""
    rgb = np.array(to_rgb(colour))
    if look == "light":
        return rgb
    found = re.search(r"filter: invert\(([\d.]+)\) hue-rotate\(180deg\);", CSS.read_text())
    assert found, "the filter of the dark look is another one"
    amount = float(found[1])
    return np.clip(HALF_A_TURN @ (amount + (1 - 2 * amount) * rgb), 0, 1)


def contrast(one: str | tuple[float, ...], other: str | tuple[float, ...], look: str) -> float:
    """How far apart in lightness, from 1 to 21 (WCAG 2)."""

    def luminance(colour: str | tuple[float, ...]) -> float:
        rgb = seen(colour, look)
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)
