"""The stores: each carries out the same effects."""
