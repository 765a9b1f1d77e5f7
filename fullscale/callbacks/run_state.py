"""Where a run stands, in and out of Lightning: what a checkpoint holds besides its header."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Timer

from fullscale.callbacks.record_trial import hyper_parameters, settings
from fullscale.checkpoints.identity import PARAMETERS
from fullscale.checkpoints.random_state import collect_random_state, restore_random_state
from fullscale.checkpoints.whole_state import gather_state, restore_state
from fullscale.module import Classifier


def identity(trainer: Trainer, module: Classifier) -> dict[str, Any]:
    """Return what makes a run the experiment that it is; nothing about hardware.

    Args:
        trainer: not yet run: a strategy may wrap the network and name its tensors anew.
        module: prepared.
    """
    plan, data = module.data.plan, module.data
    return {
        "model": module.name,
        "optimizer": module.rule.name,
        "data": data.dataset,
        "num_train_examples": plan.num_train_examples,
        "global_batch_size": plan.layout.global_batch_size,
        "seed": data.seed,
        "target": str(module.target),
        **hyper_parameters(module),
        **settings(trainer, module),
        PARAMETERS: {
            name: list(tensor.shape) for name, tensor in module.network.state_dict().items()
        },
    }


def collect_state(trainer: Trainer, module: Classifier) -> dict[str, Any]:
    """Return the state of everything; a collective.

    Args:
        trainer: at a step's boundary.
        module: that it trains.

    Returns:
        Tensors and plain values; complete on rank zero only.
    """
    # Saved within a validation, the gathered tensors would be inference tensors.
    with torch.inference_mode(mode=False), torch.no_grad():
        model, optimizer = gather_state(trainer.strategy.model or module, trainer.optimizers[0])
    ours: dict[str, Any] = {}
    module.on_save_checkpoint(ours)
    random: list[Any] = [collect_random_state()]
    if trainer.world_size > 1:
        random *= trainer.world_size
        torch.distributed.all_gather_object(random, collect_random_state())
    callbacks = {each.state_key: each.state_dict() for each in _kept_callbacks(trainer)}
    return {
        "model": model,
        "optimizer": optimizer,
        "schedules": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "precision": trainer.precision_plugin.state_dict(),
        "module": ours,
        "callbacks": {key: state for key, state in callbacks.items() if state},
        "random": random,
    }


def put_back_state(trainer: Trainer, module: Classifier, state: dict[str, Any]) -> int:
    """Put everything back, on any number of processes; a collective.

    Args:
        trainer: at the start of training.
        module: that it trains.
        state: as `collect_state` returned it, on rank zero; {} elsewhere.

    Returns:
        The number of processes that saved. With another number now, the random state of ranks is
        left as it is: there is no telling whose draws are whose.
    """
    restore_state(
        trainer.strategy.model or module,
        trainer.optimizers[0],
        model_state=state.get("model", {}),
        optimizer_state=state.get("optimizer", {}),
    )
    small = {name: value for name, value in state.items() if name not in {"model", "optimizer"}}
    small = trainer.strategy.broadcast(small)
    for config, saved in zip(trainer.lr_scheduler_configs, small["schedules"], strict=True):
        config.scheduler.load_state_dict(saved)
    trainer.precision_plugin.load_state_dict(small["precision"])
    module.on_load_checkpoint(small["module"])
    for callback in _kept_callbacks(trainer):
        if callback.state_key in small["callbacks"]:
            callback.load_state_dict(small["callbacks"][callback.state_key])
    random = small["random"]
    if len(random) == trainer.world_size:
        restore_random_state(random[trainer.global_rank])
    return len(random)


def set_progress(trainer: Trainer, steps: int) -> None:
    """Let Lightning count on from here: steps, evaluations and loggers.

    Args:
        trainer: at the start of training.
        steps: optimizer steps done.
    """
    loop = trainer.fit_loop.epoch_loop
    forwards: Any = loop.batch_progress.total
    forwards.ready = forwards.started = forwards.processed = forwards.completed = (
        steps * trainer.accumulate_grad_batches
    )
    done = loop.automatic_optimization.optim_progress.optimizer.step.total
    done.ready = done.completed = steps
    loop._batches_that_stepped = steps  # noqa: SLF001 - the loggers' step; no public way


def _kept_callbacks(trainer: Trainer) -> list[Callback]:
    """Return those whose state goes on with the run: not the clock of --trainer.max_time.

    That is a limit of each part, as a job's is: a whole run's limit would end every further part
    after one step.
    """
    return [each for each in callbacks_of(trainer) if not isinstance(each, Timer)]


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Return the trainer's callbacks."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks
