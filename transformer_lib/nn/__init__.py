"""The parts of a Transformer, one idea per file."""

from transformer_lib.nn.attend import attend as attend
from transformer_lib.nn.attend import attend_explicit as attend_explicit
from transformer_lib.nn.attend import attention_weights as attention_weights
from transformer_lib.nn.attention import Attention as Attention
from transformer_lib.nn.attention import KeyValues as KeyValues
from transformer_lib.nn.block import Block as Block
from transformer_lib.nn.cache import KVCache as KVCache
from transformer_lib.nn.cache import LayerCache as LayerCache
from transformer_lib.nn.embedding import Embedding as Embedding
from transformer_lib.nn.feedforward import FeedForward as FeedForward
from transformer_lib.nn.feedforward import GatedFeedForward as GatedFeedForward
from transformer_lib.nn.init import init_weights as init_weights
from transformer_lib.nn.masks import causal_mask as causal_mask
from transformer_lib.nn.masks import padding_mask as padding_mask
from transformer_lib.nn.norm import LayerNorm as LayerNorm
from transformer_lib.nn.norm import RMSNorm as RMSNorm
from transformer_lib.nn.norm import layer_norm as layer_norm
from transformer_lib.nn.norm import rms_norm as rms_norm
from transformer_lib.nn.positions import LearnedPositions as LearnedPositions
from transformer_lib.nn.positions import Rotation as Rotation
from transformer_lib.nn.positions import alibi_bias as alibi_bias
from transformer_lib.nn.positions import alibi_slopes as alibi_slopes
from transformer_lib.nn.positions import apply_rope as apply_rope
from transformer_lib.nn.positions import rope_rotation as rope_rotation
from transformer_lib.nn.positions import sinusoidal as sinusoidal
from transformer_lib.nn.relations import Relations as Relations
