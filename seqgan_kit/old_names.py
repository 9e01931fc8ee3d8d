"""Where parts of earlier versions are today: import paths in YAML files, options and run folders go on working."""

from __future__ import annotations

import re

_MOVED = {
    "algorithms": "objectives f_gan credit estimators trust_region distances",
    "game": "players trainer rewards replay",
    "tokens": "sampling decoding token_policy:policy token_credit:credit token_discriminator:discriminator "
    "soft_text:soft",
    "language": "text.pretrained text.tokenizers text.data text.encoders text.metrics text.mauve",
    "networks.text": "networks.cnn networks.class_head networks.hierarchical networks.histories "
    "networks.judge.Judge:generator_discriminator.GeneratorDiscriminator "
    "networks.language_models networks.lstm networks.minibatch networks.output networks.recurrent:lstm_discriminator "
    "networks.reply_encoder networks.residual_text networks.seq2seq networks.soft networks.value_head",
    "networks.pictures": "networks.picture_discriminator:discriminator networks.picture_features:features "
    "networks.picture_generator:generator networks.picture_layers:layers networks.picture_style:style "
    "networks.joint_embedding networks.upsampling",
    "text": "text.routes:differentiable text.config.GeneratorConfig:network_config.TextGeneratorConfig",
    "engine": "engine.RunConfig:run_config.RunConfig",
    "dialogue": "dialogue.config.GeneratorConfig:config.DialogueGeneratorConfig",
    "images": "images.config.GeneratorConfig:config.PictureGeneratorConfig "
    "images.text.TextConfig:caption_embedding.CaptionEncoderConfig",
    "networks.policies": "networks.actions networks.actor networks.transition networks.normaliser networks.layers",
}  # fmt: skip
OLD_NAMES = {
    f"seqgan_kit.{old}": f"seqgan_kit.{wing}.{new or old.rpartition('.')[2]}"
    for wing, names in _MOVED.items()
    for old, _, new in (name.partition(":") for name in names.split())
} | {"recipes.constant_reward.one": "seqgan_kit.game.rewards.constant"}
"""Where what stands in YAML files and run folders of earlier versions is today."""

AS_THEN = {"data.reading": 1}
"""What a run of an earlier version did, which had no option for it; of others it is today's default."""

_OLD_NAME = re.compile(
    rf"\b({'|'.join(re.escape(name) for name in sorted(OLD_NAMES, key=len, reverse=True))})\b(\.\w+)?"
)


def renamed(text: str) -> str:
    """The text with today's import paths in place of old ones."""
    return _OLD_NAME.sub(_now, text)


def moved(text: str) -> list[str]:
    """A line for each old import path in the text, which names the new one."""
    return [f"{found[0]} is now {_now(found)}" for found in _OLD_NAME.finditer(text)]


def _now(found: re.Match[str]) -> str:
    return OLD_NAMES[found[1]] + (found[2] or "")
