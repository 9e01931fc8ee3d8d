"""What the tasks `text` and `dialogue` share: data, tokenizers, pretrained models, metrics, training."""
