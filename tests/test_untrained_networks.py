"""Network steps that load trained weights themselves: when they do, and when they must not."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs

import medpipe
from medpipe.plugin import DataInfo, NetworkStep, Task, hookimpl
from support.tiny_runs import small_network

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


@attrs.frozen(kw_only=True)
class FromFile(NetworkStep):
    """A small network that may start from a file of torch.

    Attributes:
        file: The file.
    """

    name: ClassVar[str] = "from_file"
    file: str = ""

    def untrained(self) -> Self:
        return attrs.evolve(self, file="")

    def build(self, data: DataInfo) -> nn.Module:
        import torch

        network: nn.Module = small_network(data)
        if self.file:
            state = torch.load(self.file)
            if torch.get_default_device().type != "meta":
                network.load_state_dict(state)
        return network


@hookimpl
def medpipe_networks() -> list[type[NetworkStep]]:
    return [FromFile]


REGISTRY = medpipe.Registry.discover().with_plugin(
    types.SimpleNamespace(medpipe_networks=medpipe_networks), name="medpipe-from-file"
)


def builder(file: Path) -> medpipe.PipelineBuilder:
    return (
        medpipe.PipelineBuilder(device="cpu", registry=REGISTRY)
        .dataset("phantom", samples=48, size=16)
        .network("from_file", file=str(file))
        .loader(batch_size=16, workers=0)
        .split(validation=0.2, test=0.2)
    )


def test_a_training_starts_from_them_and_its_predictions_need_no_file(tmp_path: Path) -> None:
    import torch

    file = tmp_path / "weights.pth"
    torch.manual_seed(9)
    task = Task(names=tuple(map(str, range(6))))
    data = DataInfo(task=task, channels=1, spatial_shape=(16, 16), spatial_dims=2, outputs=6)
    state: dict[str, Any] = small_network(data).state_dict()
    torch.save(state, file)
    frozen = [{"match": "^0", "freeze": True}]
    pipeline = builder(file).trainer("supervised", max_epochs=1, parameters=frozen).build()
    report = pipeline.check()
    assert report.ok, report
    assert "trainer.learning_rate = 0.0001" in str(report)  # a tenth: they are not to be lost
    begun = pipeline.build_network().state_dict()
    assert all(torch.equal(begun[name], state[name]) for name in state)
    pipeline.run(tmp_path / "run")
    file.unlink()
    network = medpipe.Run.load(tmp_path / "run").network("last", registry=REGISTRY)
    assert torch.equal(network.state_dict()["0.weight"], state["0.weight"])
    assert not torch.equal(network.state_dict()["5.weight"], state["5.weight"])


def test_the_check_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = builder(tmp_path / "none.pth").build().check().problems
    assert problem.path == "network"
    assert "none.pth" in problem.message
