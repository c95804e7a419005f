"""The library of The Executable Transformer: every part of a Transformer, in files short enough to read."""

from transformer_lib.config import ModelConfig as ModelConfig
from transformer_lib.config import Seq2SeqConfig as Seq2SeqConfig
from transformer_lib.folders import load as load
from transformer_lib.folders import save as save
from transformer_lib.generation import generate as generate
from transformer_lib.models import DecoderLM as DecoderLM
from transformer_lib.models import Encoder as Encoder
from transformer_lib.models import Seq2Seq as Seq2Seq
from transformer_lib.models import presets as presets
from transformer_lib.nn import Attention as Attention
from transformer_lib.nn import attend as attend
from transformer_lib.nn import attention_weights as attention_weights
