"""The use cases, each once, as generators of effects."""
