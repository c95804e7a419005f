"""The rules find what they say, and nothing in a translation that is right."""

import pytest

from transformer_lib.tasks.translation_errors import count_signs, mixes_scripts, signs


@pytest.mark.parametrize(
    ("source", "written", "reference", "found"),
    [
        ("Tom sings.", "汤姆唱歌。", "湯姆唱歌。", set()),
        ("Tom sings.", "他唱歌。", "湯姆唱歌。", {"name lost"}),
        ("Tom sings.", "他唱歌。", "他唱歌。", set()),  # the reference has no name either
        ("Tomatoes are red.", "番茄是红的。", "番茄是红色的。", set()),
        ("I don't sing.", "我唱歌。", "我不唱歌。", {"negation lost"}),
        ("Do you sing?", "你唱歌。", "你唱歌吗?", {"question lost"}),
        ("Do you sing?", "你唱歌吗？", "你唱歌吗?", set()),  # noqa: RUF001
        ("An old car.", "一辆old车。", "一辆旧的车。", {"left in English"}),
        ("I read a long book.", "我读。", "我读了一本很长的书。", {"much too short"}),
        ("I read.", "我读了一本很长的书。", "我读书。", {"much too long"}),
        ("I read long books.", "我读书读书读书。", "我读很长的书了。", {"says a thing twice"}),
        ("He works.", "尽管他继续工作繼續。", "虽然他继续工作了。", {"two scripts in one sentence"}),
        ("He works.", "他工\ufffd作。", "他工作。", {"broken character"}),
    ],
)
def test_a_rule_finds_its_mistake(source: str, written: str, reference: str, found: set[str]) -> None:
    assert signs(source, written, reference) == found


def test_scripts() -> None:
    assert mixes_scripts("这個")
    assert not mixes_scripts("这个") and not mixes_scripts("這個")
    assert not mixes_scripts("大小 abc。") and not mixes_scripts("")


def test_they_are_counted() -> None:
    counts = count_signs(["Tom?", "No.", "Yes."], ["他。", "是。", "是。"], ["汤姆?", "不。", "是。"])
    assert counts == {"name lost": 1, "negation lost": 1, "question lost": 1, "no sign": 1}
    with pytest.raises(ValueError, match=r"^written must be 2"):
        count_signs(["a", "b"], ["a"], ["a", "b"])
