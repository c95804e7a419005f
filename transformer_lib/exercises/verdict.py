"""What is said to an answer: whether it is right, and what the reader learns from it."""

from dataclasses import dataclass

from transformer_lib.contract import checked


@checked
@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and what to say to it, in Markdown with $maths$."""

    right: bool
    said: str

    def _repr_markdown_(self) -> str:
        return f"**{'Right' if self.right else 'Not yet'}.** {self.said}".rstrip()

    def __repr__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}. {self.said}".rstrip()
