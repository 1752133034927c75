"""Models: calls of language models. One connector per provider speaks its wire format; all else is the same for all."""
