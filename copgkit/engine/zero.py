"""DeepSpeed's ZeRO of stage 1 and 2, as accelerate's configuration asks for it: the optimiser's state, and gradients,
divided among the processes. Weights stay whole, so that generation and evaluation are what they are without it.

    if zero.is_used(accelerator):
        policy.module, optimiser = zero.prepare(accelerator, policy.module, optimiser, settings)

accelerate takes a step within every backward pass and knows the gradient's norm only afterwards. Here a step is taken
when the loop takes it: DeepSpeed's engine is told which backward pass is the last one of a step.
Limits: stage 3 is refused, as generation would have to gather its weights (train.shard divides them); so are its own
optimiser, scheduler and 16-bit loss scaling. What is not finite ends the run: the engine cannot leave out a step.
Tried on a CPU with two gloo processes (deepspeed 0.19); not on GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor

from copgkit.engine import ranks
from copgkit.errors import TrainingError

if TYPE_CHECKING:
    from copgkit.engine.training import TrainingSettings

_OURS = {
    "optimizer": "The recipe's train section describes it.",
    "scheduler": "The recipe's train section describes it.",
    "tensor_parallel": "Only whole layers are computed.",
}


def is_used(accelerator: Accelerator) -> bool:
    """Whether accelerate's configuration asks for DeepSpeed."""
    return bool(accelerator.distributed_type == DistributedType.DEEPSPEED)


def require_taken(accelerator: Accelerator, precision: str) -> None:
    """Raises TrainingError for a configuration that would not do what it says."""
    config: dict[str, Any] = accelerator.state.deepspeed_plugin.deepspeed_config
    stage = config["zero_optimization"]["stage"]
    if stage not in (1, 2):
        raise TrainingError(
            f"accelerate: DeepSpeed ZeRO of stage {stage} is not supported. Use stage 1 or 2; or leave DeepSpeed out"
            " and set train.shard, which divides weights as well."
        )
    for key, remedy in _OURS.items():
        if config.get(key):
            raise TrainingError(f"accelerate: {key} of the DeepSpeed configuration is not supported. {remedy}")
    if config.get("fp16", {}).get("enabled") is True:
        raise TrainingError("accelerate: fp16 of the DeepSpeed configuration is not supported. Leave it out.")
    if precision != "float32":
        raise TrainingError(
            f"train.precision: {precision} is not supported beside DeepSpeed. Set policy.dtype: bfloat16, of which ZeRO"
            " keeps the optimiser's copy in float32."
        )


def prepare(
    accelerator: Accelerator, module: torch.nn.Module, optimiser: torch.optim.Optimizer, settings: TrainingSettings
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """The engine, which stands for the module, and the optimiser that takes its steps."""
    config: dict[str, Any] = accelerator.state.deepspeed_plugin.deepspeed_config
    config |= {
        "train_micro_batch_size_per_gpu": 1,  # only said in its log: passes have as many groups as fit
        "train_batch_size": ranks.count(),
        "gradient_accumulation_steps": 1,  # else it would divide the loss, whose weights are right already
        "gradient_clipping": settings.max_grad_norm or 0.0,
        "bf16": {"enabled": next(module.parameters()).dtype == torch.bfloat16},
    }
    engine, stepped = accelerator.prepare(module, optimiser)
    passes = EnginePasses(engine)
    accelerator.deepspeed_engine_wrapped = passes
    return engine, EngineOptimiser(stepped.optimizer, passes.step)


class EnginePasses:
    """What accelerate asks of an engine, without the step that it would take in every backward pass."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def backward(self, loss: Tensor, sync_gradients: bool = True) -> None:
        """sync_gradients: this is the last pass of the step."""
        self.engine.set_gradient_accumulation_boundary(is_boundary=sync_gradients)
        self.engine.backward(loss)

    def get_global_grad_norm(self) -> Tensor:
        """Of the step that is yet to be taken; NaN if it is not finite, for which DeepSpeed has a number below 0."""
        norm = torch.as_tensor(self.engine.optimizer.scaled_global_norm())
        return torch.where(norm < 0, torch.nan, norm)

    def step(self) -> None:
        """Clips, takes the step and drops the gradients."""
        self.engine.step()


class EngineOptimiser(AcceleratedOptimizer):  # type: ignore[misc]
    """Takes its steps through the engine. A gradient that was not used cannot be dropped."""

    def __init__(self, optimiser: Any, take: Callable[[], None]) -> None:
        super().__init__(optimiser, device_placement=False)
        self._take, self._taken = take, False

    def step(self, closure: None = None) -> None:
        self._take()
        self._taken = True

    def zero_grad(self, set_to_none: bool | None = None) -> None:
        """Does nothing after a step, which drops the gradients. Raises TrainingError without one."""
        if not self._taken:
            raise TrainingError(
                "train.max_bad_steps: the loss or its gradient is not finite, and DeepSpeed cannot leave out a step."
                " Lower the learning rate, raise beta, or set objective.clip."
            )
        self._taken = False
