"""Channels computed from the bands, as tensors: the same in training and in prediction."""
