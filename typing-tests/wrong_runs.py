"""Uses of pipelines and runs that type checkers must refuse, where ``refused`` stands."""

from __future__ import annotations

from pathlib import Path

import medpipe


def running(pipeline: medpipe.Pipeline) -> None:
    pipeline.run("run", True)  # refused
    pipeline.run("run", resume="yes")  # refused
    pipeline.run("run", allow_changed="seed")  # refused
    pipeline.run("run", max_time="1 h")  # refused
    pipeline.run_folds()  # refused
    pipeline.run_seeds("3", "runs")  # refused
    pipeline.preview("4")  # refused


def checking(pipeline: medpipe.Pipeline) -> str:
    pipeline.check("deep")  # refused
    pipeline.check_data().ok()  # refused
    pipeline.check().problems[0].field  # refused
    pipeline.check().data.channels  # refused
    return pipeline.check()  # refused


def loaders(pipeline: medpipe.Pipeline) -> None:
    made = pipeline.build_loaders()
    made.train  # refused
    len(made.validation)  # refused
    made.test = None  # refused


def reading(run: medpipe.Run) -> None:
    medpipe.Run("run")  # refused
    run.network("first")  # refused
    run.predictions("training")  # refused
    run.metrics["test"] = {}  # refused
    run.path = Path("other")  # refused
    run.status == "done"  # refused
    run.history["loss"]  # refused
    run.plot.rocs()  # refused
    run.report(image=False)  # refused


def predicting(run: medpipe.Run) -> None:
    run.predict(3)  # refused
    run.predict("a.png", "last")  # refused
    run.predict("a.png", batch_size="8")  # refused
    run.predict("a.png").errors.append("b.png")  # refused
    run.evaluate("folder")  # refused
    run.export()  # refused
    run.export("exported", which="first")  # refused
    run.track(to=3)  # refused


def several(runs: medpipe.RunSet) -> None:
    runs.missing_folds()  # refused
    runs.metrics("training")  # refused
    runs.metrics()["auc"].mean + 1  # refused
    medpipe.compare(3)  # refused
    medpipe.compare(runs, split="all")  # refused


def registered(registry: medpipe.Registry) -> None:
    registry.network  # refused
    registry.plugins = ()  # refused
    registry.plugins.append(registry)  # refused
    registry.with_plugin()  # refused


def exported() -> None:
    medpipe.verify_export(3)  # refused
    medpipe.verify_export("exported").difference = {}  # refused


def problems() -> None:
    medpipe.Problem("trainer", "It is wrong.")  # refused
    raise medpipe.Problem(path="trainer", message="It is wrong.")  # refused


def faults() -> None:
    medpipe.Fault(kind="broken", message="It is wrong.")  # refused
    try:
        medpipe.PipelineBuilder().build().run()
    except medpipe.BadDataError as error:
        print(error.problems)  # refused
    except medpipe.ConfigError as error:
        error.problems.clear()  # refused
