"""Another order in memory changes nothing that a caller can see but the strides."""

import torch

from transformer_lib import DecoderLM, presets
from transformer_lib.generation import generate, store_by_column


def test_the_weights_are_the_same_in_another_order():
    model = DecoderLM(presets.tiny(vocab_size=50)).double().eval()
    prompts = torch.randint(50, (2, 5), generator=torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits, text = model(prompts), generate(model, prompts, max_new_tokens=8)
    store_by_column(model)
    linear = model.blocks[0].attention.to_qkv.weight
    assert linear.stride() == (1, len(linear))
    assert model.head.weight is model.embedding.tokens.weight and model.head.weight.stride() == (1, 50)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    torch.testing.assert_close(model(prompts), logits, atol=1e-10, rtol=0)
    assert torch.equal(generate(model, prompts, max_new_tokens=8).tokens, text.tokens)


def test_such_a_model_is_saved_and_loaded_like_any_other():
    model, other = (DecoderLM(presets.tiny(vocab_size=50)) for _ in range(2))
    store_by_column(model)
    other.load_state_dict(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
