"""What a Transformer is made of, as data.

A model is described by one frozen `ModelConfig`, composed of small parts. Where there is a choice, the part is a sum
type (`Mlp | SwiGlu | Glu`, `Rope | Alibi | ...`), so that a mixture which makes no sense cannot be written, and the
code that builds it is one `match`. Every field is checked when the config is made, and `to_json` / `from_json` are
exact inverses. Nothing here imports torch.

Left out: anything about training (see `transformer_lib.training`) and about devices.
"""

from transformer_lib.checks import require as require
from transformer_lib.checks import require_flags as require_flags
from transformer_lib.checks import require_numbers as require_numbers
from transformer_lib.checks import require_positive as require_positive
from transformer_lib.config.as_json import from_json as from_json
from transformer_lib.config.as_json import to_json as to_json
from transformer_lib.config.attention import AttentionConfig as AttentionConfig
from transformer_lib.config.experts import ClampedSwish as ClampedSwish
from transformer_lib.config.experts import Experts as Experts
from transformer_lib.config.experts import Groups as Groups
from transformer_lib.config.experts import SharedExpert as SharedExpert
from transformer_lib.config.feedforward import Activation as Activation
from transformer_lib.config.feedforward import Glu as Glu
from transformer_lib.config.feedforward import Mlp as Mlp
from transformer_lib.config.feedforward import SwiGlu as SwiGlu
from transformer_lib.config.mixers import GatedDelta as GatedDelta
from transformer_lib.config.mixers import LatentAttention as LatentAttention
from transformer_lib.config.mixers import LinearAttention as LinearAttention
from transformer_lib.config.model import FeedForwardConfig as FeedForwardConfig
from transformer_lib.config.model import LayerConfig as LayerConfig
from transformer_lib.config.model import Mixer as Mixer
from transformer_lib.config.model import ModelConfig as ModelConfig
from transformer_lib.config.model import Norm as Norm
from transformer_lib.config.model import NormOrder as NormOrder
from transformer_lib.config.model import Seq2SeqConfig as Seq2SeqConfig
from transformer_lib.config.positions import Alibi as Alibi
from transformer_lib.config.positions import Learned as Learned
from transformer_lib.config.positions import NoPositions as NoPositions
from transformer_lib.config.positions import Positions as Positions
from transformer_lib.config.positions import Rope as Rope
from transformer_lib.config.positions import Sinusoidal as Sinusoidal
from transformer_lib.config.scaling import LinearScaling as LinearScaling
from transformer_lib.config.scaling import Llama3Scaling as Llama3Scaling
from transformer_lib.config.scaling import NtkScaling as NtkScaling
from transformer_lib.config.scaling import RopeScaling as RopeScaling
from transformer_lib.config.scaling import YarnScaling as YarnScaling
from transformer_lib.config.words import in_words as in_words
