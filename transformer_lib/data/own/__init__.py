"""A reader's own data: the file formats in which pairs, annotated sentences, questions and texts are handed around."""

from transformer_lib.data.own.chats import read_chats as read_chats
from transformer_lib.data.own.columns import read_columns as read_columns
from transformer_lib.data.own.found import Fault as Fault
from transformer_lib.data.own.found import Found as Found
from transformer_lib.data.own.found import lines_in as lines_in
from transformer_lib.data.own.kind import Kind as Kind
from transformer_lib.data.own.kind import kind_of as kind_of
from transformer_lib.data.own.kind import read_own as read_own
from transformer_lib.data.own.offsets import read_offsets as read_offsets
from transformer_lib.data.own.pairs import read_pairs as read_pairs
from transformer_lib.data.own.questions import read_questions as read_questions
from transformer_lib.data.own.splits import Sides as Sides
from transformer_lib.data.own.splits import Split as Split
from transformer_lib.data.own.splits import drawn as drawn
from transformer_lib.data.own.splits import sides as sides
from transformer_lib.data.own.survey import Survey as Survey
from transformer_lib.data.own.texts import read_texts as read_texts
