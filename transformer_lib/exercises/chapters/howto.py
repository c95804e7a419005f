"""What `book.check` knows of the exercises of `chapters/howto.ipynb`."""

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

EXERCISES: dict[str, Exercise] = {
    "ex-howto-heads": Numbers(
        right={"weights fewer": 12 * 2 * 8 * 64 * 769},
        wrong={
            "You left the biases out: each of the rows that go has 768 weights and one bias.": {
                "weights fewer": 12 * 2 * 8 * 64 * 768
            },
            "Queries and the output keep their twelve heads; only the two matrices of keys and values get smaller.": {
                "weights fewer": 12 * 4 * 8 * 64 * 769
            },
            "That is half. Either you forgot one of the two matrices, or you took four heads away: four *stay*, and "
            "eight go.": {"weights fewer": 12 * 8 * 64 * 769},
            "That is one layer, and there are twelve.": {"weights fewer": 2 * 8 * 64 * 769},
        },
        why="Nine and a half million of 124 million; the cache gets smaller by two thirds.",
    ),
    "ex-howto-fault": Numbers(
        right={
            "unusable, first": 3,
            "unusable, second": 4,
            "named, but right": 7,
            "missed, first": 10,
            "missed, second": 11,
        },
        wrong={
            "Line 6 contradicts line 5, but it has its tab and both sides, so it can be used.": {"unusable, second": 6},
            "Line 9 says line 8 again, a real double. Which line is named for something that French allows?": {
                "named, but right": 9
            },
            "In line 12 the HTML sign should not be there. Which line looks copied, and is French all the same?": {
                "named, but right": 12
            },
            "A repetition is what a program sees at once. What it cannot see is meaning: look at the numbers.": {
                "missed, first": 8,
                "missed, second": 9,
            },
        },
        why="Only who knows French sees that eight and nine have changed places.",
    ),
    "ex-howto-leak": Numbers(
        right={"sources known": 8},
        wrong={
            "The *lines* of the test are not in the training. Their sources are, one line above.": {"sources known": 0},
            "Every line of the test is the second of its two, so it is each of them, and not every other one.": {
                "sources known": 4
            },
            "There are only 8 lines in the test; each has one other translation.": {"sources known": 16},
            "Those are the sources of the training with two translations. Asked is about the test.": {
                "sources known": 32
            },
        },
        why="All of them: the score is that of a model which has seen every question.",
    ),
    "ex-howto-recipe": Made(
        laws={
            "It is a JSON file.": lambda path: str(path).endswith(".json"),
            "Records lie in the folder `results`, beside the recipe.": lambda path: str(path).startswith("results/"),
            "`NAME` is filled in: the option stands in it by its value.": lambda path: (
                "{" not in str(path) and "heads-2" in str(path)
            ),
            "The seed belongs to the name, so that several seeds do not overwrite each other.": lambda path: (
                str(path) == "results/heads-2-seed0.json"
            ),
        },
        example=lambda: "results/heads-2-seed0.json",
        wrong=lambda: [
            "results/heads-2",
            "heads-2-seed0.json",
            "results/heads-{kv_heads}-seed0.json",
            "results/heads-2.json",
        ],
        why="Two settings get two files.",
    ),
    "ex-howto-batch": Numbers(
        right={"as it is": 47, "logits whole": 21, "recomputed": 271},
        wrong={
            "You filled the whole 24 GB. A tenth should stay free.": {
                "as it is": 53,
                "logits whole": 23,
                "recomputed": 304,
            },
            "You divided the room by what *one* text takes. Weights, gradients and means of AdamW are needed once, "
            "whatever the batch.": {"as it is": 8, "logits whole": 7, "recomputed": 10},
            "Memory is counted here in GB of $10^9$ bytes. You took $2^{30}$.": {
                "as it is": 51,
                "logits whole": 22,
                "recomputed": 293,
            },
            "One text is already in the memory of a batch of one: you counted the others.": {
                "as it is": 46,
                "logits whole": 20,
                "recomputed": 270,
            },
        },
        why="Neither way changes the step; both trade memory for time.",
    ),
    "ex-howto-rank": Numbers(
        right={"numbers": 14592, "rank": 48},
        wrong={
            "That is one layer, and there are two.": {"numbers": 7296},
            "That is attention alone; the feed-forward network has three maps, too.": {"numbers": 6144},
            "Its feed-forward network is *gated*: it has three maps between 96 and 256, and not two.": {
                "numbers": 2 * (4 * 4 * 192 + 2 * 4 * 352)
            },
            "At that rank the correction is twice as large as the matrix: it has two factors.": {"rank": 96},
        },
        why="From half the width on, the correction has more numbers than what it corrects.",
    ),
}
NOT_CHECKED: dict[str, str] = {"ex-howto-positions": "it asks what happens and why, in words"}
