"""Whole models, each made of the parts in `transformer_lib.nn`."""

from transformer_lib.models.classifiers import SequenceClassifier as SequenceClassifier
from transformer_lib.models.classifiers import SpanFinder as SpanFinder
from transformer_lib.models.classifiers import TokenClassifier as TokenClassifier
from transformer_lib.models.decoder import DecoderLM as DecoderLM
from transformer_lib.models.encoder import Encoder as Encoder
from transformer_lib.models.heads import MaskedLM as MaskedLM
from transformer_lib.models.heads import MaskedLMHead as MaskedLMHead
from transformer_lib.models.heads import PooledHead as PooledHead
from transformer_lib.models.heads import Pooler as Pooler
from transformer_lib.models.heads import SequenceHead as SequenceHead
from transformer_lib.models.heads import SpanHead as SpanHead
from transformer_lib.models.heads import TokenHead as TokenHead
from transformer_lib.models.multi_token import MultiTokenLM as MultiTokenLM
from transformer_lib.models.seq2seq import Memory as Memory
from transformer_lib.models.seq2seq import Seq2Seq as Seq2Seq
