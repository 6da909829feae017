"""Train the captioner: `python -m transformer.train WORK`.

A straight script: configuration, data, model, loop, checkpoint. It resumes from the last checkpoint in WORK/runs/NAME;
the same seed and data give the same run on the same machine. What it printed for the shipped model is in LOG.md.
"""

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from transformer import config as configs
from transformer.align import collapse
from transformer.audio import normalise
from transformer.config import ModelConfig
from transformer.data import (
    Batch,
    Corpus,
    Example,
    Utterance,
    collate,
    is_dev,
    load,
    make_batch,
    plan_epoch,
)
from transformer.lexicon import read_lexicon
from transformer.metrics import edit_distance
from transformer.model import Captioner, Output

AVERAGE = 0.999  # of the weights that are evaluated: an exponential average over about 1000 steps (Polyak 1992)


# What is learnt from, and what is listened to after each epoch: people kept for it, and a held-out voice of festival.
GROUPS: dict[str, Callable[[Utterance], bool]] = {
    "train": lambda utterance: utterance.split == "train" and not is_dev(utterance),
    "people": is_dev,
    "wordless": lambda utterance: utterance.source == "none",
    "ked": lambda utterance: utterance.split == "t3dev",
}


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to learn."""

    epochs: int = 10
    frames: int = 9_000  # feature frames a batch: 90 s of sound, for each process
    muon_lr: float = 2e-3  # of the matrices inside the blocks
    adam_lr: float = 1.5e-3  # of everything else
    warmup: int = 300  # steps
    weight_decay: float = 0.02
    letter_weight: float = 0.3
    auxiliary_weight: float = 0.3
    phone_weight: float = 1.0
    harden: float = 0.7  # in the end: the share drawn from all variants, and again the share that is masked and mixed
    ramp: float = 2 / 3  # of the epochs, until which that share rises from none; 0: hard from the start
    steps: int = 0  # stop after so many in all, 0: after the epochs
    seed: int = 1

    def hardness(self, epoch: int) -> float:
        """Return the share of examples to make harder in an epoch, the first being 0."""
        return self.harden * min(1.0, epoch / (self.ramp * self.epochs)) if self.ramp else self.harden


def losses(output: Output, batch: Batch) -> dict[str, Tensor]:
    """Return the CTC loss of each head in nats, a mean over the encoder frames of the batch."""

    def ctc(log_probs: Tensor, targets: str) -> Tensor:
        labels, counts = (torch.from_numpy(getattr(batch, name)) for name in (targets + "s", targets + "_counts"))
        loss = functional.ctc_loss(
            log_probs.transpose(0, 1), labels, output.lengths, counts, reduction="sum", zero_infinity=True
        )
        return loss / output.lengths.sum()

    found = {"phone": ctc(output.phones, "phone"), "letter": ctc(output.letters, "letter")}
    if output.auxiliary is not None:
        found["auxiliary"] = ctc(output.auxiliary, "phone")
    return found


def make_optimizers(model: Captioner, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return Muon for the blocks' matrices (Jordan 2024: equal steps in every direction), AdamW for the rest."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("blocks")]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return [
        torch.optim.Muon(
            matrices, lr=config.muon_lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw", momentum=0.95
        ),
        torch.optim.AdamW(others, lr=config.adam_lr, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True),
    ]


def learning_rate(step: int, total: int, warmup: int) -> float:
    """Return the share of the full learning rate: a linear rise, then a linear fall to a hundredth."""
    if step < warmup:
        return (step + 1) / warmup
    return max(0.01, 1 - (step - warmup) / max(1, total - warmup))


@dataclass
class Run:
    """A training run and where it stands."""

    folder: Path
    model: Captioner
    average: Captioner
    optimizers: list[torch.optim.Optimizer]
    config: TrainConfig
    epoch: int = 0
    step: int = 0
    total: int = 0

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "shape": asdict(self.model.config),
            "train": asdict(self.config),
            "at": (self.epoch, self.step, self.total),
        }
        torch.save(state, self.folder / "checkpoint.part")
        (self.folder / "checkpoint.part").rename(self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one. Raises ValueError if it was trained with other settings."""
        path = self.folder / "checkpoint.pt"
        if path.exists():
            state = torch.load(path, weights_only=True)
            if state["train"] != asdict(self.config):
                raise ValueError(f"{path} is of a run with other settings: {state['train']}")
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.epoch, self.step, self.total = state["at"]

    def log(self, **facts: object) -> None:
        """Write a line to the run's log and to the screen."""
        line = json.dumps({"epoch": self.epoch, "step": self.step, **facts})
        print(line, flush=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(line + "\n")


def start_run(folder: Path, shape: ModelConfig, config: TrainConfig) -> Run:
    """Return a new run, or the one in `folder` where it stopped."""
    torch.manual_seed(config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    model, average = Captioner(shape), Captioner(shape)
    average.load_state_dict(model.state_dict())
    run = Run(folder, model, average.eval().requires_grad_(requires_grad=False), make_optimizers(model, config), config)
    run.resume()
    return run


@dataclass(frozen=True)
class Team:
    """The processes that train together, each with one thread on half a batch (two threads on one batch wait more)."""

    rank: int = 0
    size: int = 1

    def average(self, model: Captioner) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size > 1:
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            distributed.all_reduce(flat)
            parts = (flat / self.size).split([gradient.numel() for gradient in gradients])
            torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])


def train_step(run: Run, team: Team, batch: Batch) -> dict[str, float]:
    """Learn from one batch; return its losses."""
    config = run.config
    rate = learning_rate(run.step, run.total, config.warmup)
    for optimizer, full in zip(run.optimizers, (config.muon_lr, config.adam_lr), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = full * rate
    with torch.autocast("cpu", torch.bfloat16):
        output = run.model(torch.from_numpy(batch.features), torch.from_numpy(batch.frames))
    found = losses(output, batch)
    weights = {"phone": config.phone_weight, "letter": config.letter_weight, "auxiliary": config.auxiliary_weight}
    torch.stack([weights[name] * loss for name, loss in found.items()]).sum().backward()
    team.average(run.model)
    nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    keep = min(AVERAGE, (run.step + 1) / (run.step + 10))
    with torch.no_grad():
        torch._foreach_lerp_(list(run.average.parameters()), list(run.model.parameters()), 1 - keep)
    run.step += 1
    return {name: loss.item() for name, loss in found.items()}


@torch.inference_mode()
def error_rates(model: Captioner, examples: list[Example], at_once: int = 16) -> dict[str, float]:
    """Return the phone and letter error rates of greedy decoding."""
    wrong, total = {"phones": 0, "letters": 0}, {"phones": 0, "letters": 0}
    examples = sorted(examples, key=lambda example: len(example.features))
    for start in range(0, len(examples), at_once):
        part = examples[start : start + at_once]
        batch = collate(part, [normalise(example.features.astype("float32")) for example in part])
        with torch.autocast("cpu", torch.bfloat16):
            output = model(torch.from_numpy(batch.features), torch.from_numpy(batch.frames))
        for name in wrong:
            paths = getattr(output, name).argmax(-1)
            for path, length, example in zip(paths, output.lengths, part, strict=True):
                wrong[name] += edit_distance(collapse(path[:length].tolist()), getattr(example, name))
                total[name] += len(getattr(example, name))
    return {name: round(wrong[name] / max(1, total[name]), 4) for name in wrong}


def train(run: Run, team: Team, corpus: Corpus, noises: list[Example], tests: dict[str, list[Example]]) -> None:
    """Run the epochs that are left."""
    config = run.config
    while run.epoch < config.epochs and not (config.steps and run.step >= config.steps):
        started, heard, sums = time.monotonic(), 0, Counter[str]()
        seed = config.seed * 1000 + run.epoch
        torch.manual_seed(seed * team.size + team.rank)  # of dropout: the same after a kill, another in each process
        hardness = config.hardness(run.epoch)
        plan = plan_epoch(corpus, noises, seed=seed, frames=config.frames, by_length=run.epoch == 0, hardness=hardness)
        steps = len(plan) // team.size
        run.total = run.total or config.steps or config.epochs * steps
        if config.steps:
            steps = min(steps, config.steps - run.step)
        first = run.step
        mine = enumerate(plan[: steps * team.size][team.rank :: team.size])
        batches = (make_batch(groups, noises, (seed, team.rank, at), hardness) for at, groups in mine)
        run.model.train()
        for batch in batches:
            sums.update(train_step(run, team, batch))
            heard += int(batch.frames.sum()) * team.size
            if team.rank == 0 and run.step % 50 == 0:
                speed = heard / 100 / (time.monotonic() - started)
                loss = sums["phone"] / (run.step - first)
                print(f"step {run.step}/{run.total} phone {loss:.3f} {speed:.0f} x real time", flush=True)
        run.epoch += 1
        if team.rank == 0:
            seconds = time.monotonic() - started
            facts = {name: round(value / steps, 4) for name, value in sums.items()}
            rates = {name: error_rates(run.average, examples) for name, examples in tests.items()}
            run.log(**facts, seconds=round(seconds), real_time=round(heard / 100 / seconds), **rates)
            run.save()


def pin(rank: int) -> None:
    """Keep a process to one thread on a core of its own (seen: Linux left two on one core for minutes)."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})


def work(rank: int, options: argparse.Namespace) -> None:
    """Load and train, as one process of the team."""
    pin(rank)
    team = Team(rank, options.processes)
    if team.size > 1:
        store = f"file://{options.work.resolve()}/runs/{options.name}.rendezvous"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=team.size)
    lexicon = read_lexicon(options.work / "lexicon.tsv")
    corpora = load(options.work, lexicon, GROUPS)
    config = TrainConfig(epochs=options.epochs, seed=options.seed, harden=options.harden)
    run = start_run(options.work / "runs" / options.name, getattr(configs, options.shape), config)
    if rank == 0:
        run.log(utterances=len(corpora["train"]), parameters=sum(p.numel() for p in run.model.parameters()))
    noises = [variants[0] for variants in corpora["wordless"].values()]
    tests = {name: [variants[0] for variants in corpora[name].values()] for name in ("people", "ked")}
    train(run, team, corpora["train"], noises, tests)


def main() -> None:
    """Read the command line and start the team."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--name", default="captioner")
    parser.add_argument("--shape", default="SMALL", choices=["SMALL", "NANO"])
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--harden", type=float, default=TrainConfig.harden, help="share of examples, in the end")
    parser.add_argument("--seed", type=int, default=TrainConfig.seed)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    (options.work / "runs").mkdir(parents=True, exist_ok=True)
    (options.work / "runs" / f"{options.name}.rendezvous").unlink(missing_ok=True)
    spawn(work, (options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
