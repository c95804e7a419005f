"""The three sorts of exercises that a program can judge: numbers, a function, something made."""

from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

Exercise = Numbers | Function | Made
