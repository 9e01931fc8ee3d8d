"""SeqGAN (Yu et al. 2017), algorithm 1: likelihood, discriminator warm-up, adversarial rounds; then a control."""

from __future__ import annotations

from pathlib import Path

import torch

from seqgan_kit import bounds
from seqgan_kit.engine import sharding
from seqgan_kit.engine.budget import Part, budgeted
from seqgan_kit.engine.choice import check_best
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.memory import within_memory
from seqgan_kit.engine.run import run
from seqgan_kit.engine.verdict import Score
from seqgan_kit.files import write_json
from seqgan_kit.game.trainer import Hook, evaluated
from seqgan_kit.language.alarms import alarms_of
from seqgan_kit.language.checks import check_parts
from seqgan_kit.language.config import rates_told, settled
from seqgan_kit.language.pretrained import CAUSAL, limits_of, tokenizer_of
from seqgan_kit.language.training import MLE, SHORTER, LanguageTraining, parts
from seqgan_kit.language.units import record, unit_of
from seqgan_kit.samples import Tokens, to
from seqgan_kit.text import checks
from seqgan_kit.text.config import TextConfig
from seqgan_kit.text.evaluation import TextEvaluation, names
from seqgan_kit.text.models import (
    Generator,
    build_discriminator,
    build_generator,
    check_length,
    is_ended,
    save_generator,
)
from seqgan_kit.text.players import columns_of, players
from seqgan_kit.text.sources import load

OWN = {MLE: f"{SHORTER[MLE]}, --data.max_length"}
REAL = "real data"  # the baseline: what sentences of the training set score


def train(config: TextConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it; see `engine.run.run`."""
    bounds.check_numbers(config)
    config, config_text, record = budgeted(config, config_text, resume, parts(config), train)
    with within_memory():
        task = TextTask(settled(config))
    return run(task, config_text, resume, record)


class TextTask:
    """A run of text; see `engine.run.Task`. Raises UserError where data and options do not go together."""

    name = "text"
    shorter = SHORTER | OWN

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        self.alarms = alarms_of(config)
        most, vocabulary = limits_of(config.generator.model, config.generator.config, CAUSAL)
        tokenizer, ended = tokenizer_of(config.generator.model), is_ended(config.generator.model)
        self.source = load(config.data, config.run.seed, tokenizer, vocabulary, ended)
        self.data = self.source.fingerprint()
        check_length("--generator.model" if config.generator.model else "--generator.config", most, self.source)
        checks.check_numbers(config, self.source)
        checks.check_route(config, self.source)
        self.unit = unit_of(config.evaluation.unit, self.source.name, self.source.train_texts)
        torch.manual_seed(config.run.seed)  # the same initial weights on every process
        route = config.adversarial.route
        own = None if route is None else route.network(self.source)
        self.network = own or build_generator(config.generator, self.source, config.run.precision)
        self.judge = build_discriminator(config.discriminator, self.source)
        known = names(self.source, self.unit, self.network, config.evaluation.samples)
        self.best = check_best(config.evaluation, known)
        checks.check_judge(config, self.judge)
        if route is not None:
            route.check_judge(self.source, self.judge)
        else:
            check_parts(config.adversarial, self.source, self.network, self.judge, columns_of(self.source))

    def parts(self) -> list[Part]:
        return parts(self.config)

    def first_lines(self) -> list[str]:
        return [line for line in (*self.source.first_lines(), rates_told(self.config)) if line]

    def build(self, engine: Engine) -> None:
        self.engine = engine
        config, source = self.config, self.source
        if source.oracle is not None:
            source.oracle.to(engine.device)
        unit = config.evaluation.unit or engine.run_folder.unit() or self.unit
        self.evaluation = TextEvaluation(source, judge=config.evaluation.judge, unit=unit, device=engine.device)
        record(engine, config, source, self.evaluation)
        self.training = LanguageTraining(
            engine, config, source, "sentences", self.network, save_generator, self._hooks, self._measured, self.best
        )
        self.policy, self.discriminator = players(self.training, self.judge)

    def play(self) -> None:
        engine, settings = self.engine, self.config.evaluation
        if engine.is_main:
            real = self.evaluation.real(settings.samples, settings.seed)
            count = min(settings.samples, len(self.source.train.ids))
            write_json(engine.folder / "baselines.json", {REAL: {"metrics": real, "samples": count}})
        self.training.likelihood()
        self.training.warm_up(self.policy, self.discriminator)
        self.training.game(self.policy, self.discriminator)
        self.training.control()

    def _measured(self, network: Generator) -> Score:
        return self.evaluation.score(network, self.config.evaluation.samples, self.best)

    def _drawn(self, network: Generator) -> Tokens | None:
        """An evaluation's samples, of which each process draws a share; None of one process, which draws them as it
        scores them."""
        engine, settings = self.engine, self.config.evaluation
        if engine.processes == 1:
            return None
        with engine.fixed_random((settings.seed + 7919 * engine.rank) % 2**32):
            mine = self.evaluation.draw_share(network, settings.samples, engine.rank, engine.processes)
        mine = to(mine, engine.device)
        ids, mask = engine.gather(mine.ids).cpu(), engine.gather(mine.mask).cpu()
        return self.evaluation.joined(ids, mask, settings.samples)

    def _hooks(self, every: int, network: Generator) -> list[Hook]:
        settings = self.config.evaluation

        def measure(phase: str, done: int) -> Metrics:
            sharding.gather(network)
            drawn = self._drawn(network)

            def scored() -> tuple[Metrics, list[str], Score | None]:
                found, texts = self.evaluation(network, settings.samples, drawn=drawn)
                if self.engine.choice is None:
                    return found, texts, None
                return found, texts, self.evaluation.score(network, settings.samples, self.best, found)

            found, texts, score = self.engine.on_main(scored)
            self.engine.save_text(f"{phase}-{done:06d}", texts)
            if self.engine.choice is not None and score is not None:
                self.engine.choice.offer(phase, done, score, network)
            return found

        return [evaluated(self.engine, every, settings.seed, measure)]
