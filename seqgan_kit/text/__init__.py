"""The task text: SeqGAN and its relatives."""
