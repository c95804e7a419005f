"""What a Transformer is used for: translation, extraction, question answering, and how each is scored."""
