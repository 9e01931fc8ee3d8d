"""Adversarial learning of text, dialogue, behaviour and text-to-image, on one trainer."""

__version__ = "0.1.0"
