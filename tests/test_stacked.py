"""The engine ``stacked``: many folds as one batched network, with the result of each alone."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from test_training import own_cache, predictions, recipe  # noqa: F401  # a fixture among them
from tiny_corpus import tiny_corpus

from lightser.errors import BadRecipe
from lightser.training import loop, precision
from lightser.training.crossval import Plan, make_plan, missing_jobs, run
from lightser.training.jobs import run_job
from lightser.training.recipe import Augment, Choice, Loss, Optim, Recipe

PLACED = {
    "frontend": Choice(name="relative_logmel", options={"window_s": 1.0}),
    "window_s": 1.0,
    "augment": Augment(place=True, mixup=0.3, time_masks=1, time_mask_frames=9),
}
LIGHT_SERNET = recipe(
    optim=Optim(epochs=2, batch_size=4, learning_rate=1e-3, kernel_penalty=1e-6, average=0.9),
    **PLACED,
)
ZHONG = recipe(
    system="zhong2020",
    model=Choice(name="zhong2020", options={"n_blocks": 2, "dropout": 0.2}),
    loss=Loss(name="focal_by_agreement", class_weights=True),
    optim=Optim(updates=3, batch_size=4, learning_rate=1e-3, clip_norm=5.0),
    standardize=True,
    **{**PLACED, "frontend": Choice(name="relative_logmel", options={"window_s": 1.0})},
)
ANY_LENGTH = {
    "frontend": Choice(name="zhong2020"),
    "optim": Optim(updates=3, batch_size=4, learning_rate=1e-3),
    "standardize": True,
}
MORE = {
    f"zhong2020 {name}": recipe(
        system="zhong2020", model=Choice(name="zhong2020", options=options), **ANY_LENGTH
    )
    for name, options in {
        "of any length": {"n_blocks": 3, "dropout": 0.2},
        "masked": {"n_blocks": 2, "masked": True},
        "masked, pooling same": {"n_blocks": 2, "masked": True, "pooling": "same"},
        "no attention": {"n_blocks": 1, "attention": False, "shared": False},
    }.items()
}
MORE |= {
    model: recipe(
        system=model,
        frontend=frontend,
        model=Choice(name=model, options=options),
        optim=Optim(updates=2, batch_size=6, learning_rate=1e-4),
    )
    for model, frontend, options in (
        (
            "acrnn3d",
            Choice(name="three_channel", options={"segment_frames": 30}),
            {"segment_frames": 30, "n_convolutions": 2},
        ),
        (
            "bcrnn",
            Choice(name="three_channel", options={"segment_frames": 60}),
            {"segment_frames": 60, "n_convolutions": 2},
        ),
        ("satt2017", Choice(name="log_spectrogram"), {"segment_frames": 60, "neutral": 0}),
        ("dnn_elm", Choice(name="frame30"), {"n_units": 16}),
    )
}
MORE["yenigalla2018"] = recipe(
    system="yenigalla2018",
    frontend=Choice(name="mel_image"),
    model=Choice(name="yenigalla2018", options={"n_kernels": 4, "stride": 8}),
    optim=Optim(updates=2, batch_size=4, learning_rate=1e-4),
)
DRN = Choice(name="drn", options={"width": 4, "channels": 1})


def plan_of(made: Recipe, out) -> Plan:
    table = tiny_corpus(per_clip=3)
    table.loc[::2, "end"] -= 0.2
    table.loc[::3, "end"] -= 0.1
    fewer = table.drop(
        table.index[table["speaker"] == "s0"][:2]
    )  # a fold is done before the others
    return make_plan(made, fewer, name="t", out=out)


def chances(folder) -> np.ndarray:
    table = predictions(folder)
    return table[[column for column in table if column.startswith("p_")]].to_numpy()


@pytest.mark.parametrize(
    "made", [LIGHT_SERNET, ZHONG, *MORE.values()], ids=["light_sernet", "zhong2020", *MORE]
)
def test_a_stack_gives_each_fold_what_it_has_alone(made, tmp_path):
    alone, together = (plan_of(made, tmp_path / name) for name in ("alone", "together"))
    run(alone, engine="serial")
    run(together, engine="stacked", workers=2)
    np.testing.assert_allclose(chances(together.out), chances(alone.out), atol=5e-3)
    histories = [pd.read_csv(plan.out / "history.csv") for plan in (alone, together)]
    losses = [history["train_loss"].to_numpy() for history in histories]
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-2)
    assert histories[0]["update"].equals(histories[1]["update"])
    assert missing_jobs(together) == []


@pytest.mark.parametrize(
    "made",
    [LIGHT_SERNET, MORE["zhong2020 of any length"], MORE["acrnn3d"], MORE["bcrnn"]],
    ids=["light_sernet", "zhong2020", "acrnn3d", "bcrnn"],
)
def test_products_of_a_stack_are_in_half_precision_where_those_of_one_are(
    made, tmp_path, monkeypatch
):
    monkeypatch.setattr(precision, "_has_bfloat16", lambda kind: True)
    is_number, asked = precision._is_number, []
    monkeypatch.setattr(precision, "_is_number", lambda x: asked.append(x) or is_number(x))
    optim = dataclasses.replace(made.optim, precision="bfloat16", updates=1, epochs=None)
    made = dataclasses.replace(made, optim=optim)
    alone, together = (plan_of(made, tmp_path / name) for name in ("alone", "together"))
    run(alone, engine="serial")
    assert not asked, "autocast does it"
    run(together, engine="stacked", workers=3)
    assert asked
    np.testing.assert_allclose(chances(together.out), chances(alone.out), atol=0.02)


def test_folds_of_a_stack_differ_from_each_other(tmp_path):
    plan = plan_of(LIGHT_SERNET, tmp_path)
    run(plan, engine="stacked", workers=3)
    history = pd.read_csv(plan.out / "history.csv")
    assert history.groupby("fold")["train_loss"].last().nunique() == len(plan.folds)
    assert sorted(history.groupby("fold")["update"].max()) == [2, 4, 4]


def test_a_job_begun_alone_goes_on_in_a_stack_to_the_same_result(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    whole, halved = (plan_of(LIGHT_SERNET, tmp_path / name) for name in ("whole", "halved"))
    for job in whole.jobs:
        run_job(job)

    class Stopped(Exception):
        pass

    def stop(task, optim, device, step=loop.take_step, seen=[]):  # noqa: B006
        seen.append(task)
        if len(seen) == 4:
            raise Stopped
        return step(task, optim, device)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", stop)
        with pytest.raises(Stopped):
            run_job(halved.jobs[0])
    assert (halved.jobs[0].folder / "checkpoint" / "checkpoint.json").is_file()
    run(halved, engine="stacked", workers=3)
    run(whole, engine="serial")
    np.testing.assert_allclose(chances(halved.out), chances(whole.out), atol=5e-3)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        (
            {**PLACED, "model": DRN},
            "'drn' cannot be computed in stacks: take --engine local",
        ),
        (
            {"frontend": Choice(name="zhong2020"), "model": DRN},
            "needs clips of one length for a network with norms over the batch ('drn')",
        ),
        (
            {
                "frontend": Choice(name="zhong2020"),
                "model": Choice(name="zhong2020", options={"n_blocks": 1, "pooling": "same"}),
            },
            "'zhong2020' cannot be computed in stacks",
        ),
    ],
    ids=["chance inside", "padding in the norms", "a grid for each length"],
)
def test_what_cannot_be_stacked_is_refused_in_one_line(changes, answer, tmp_path):
    made = dataclasses.replace(recipe(optim=Optim(updates=1, batch_size=4)), **changes)
    table = tiny_corpus(per_clip=3)
    table.loc[::2, "end"] -= 0.2
    with pytest.raises(BadRecipe) as caught:
        run(make_plan(made, table, name="t", out=tmp_path), engine="stacked", workers=2)
    assert answer in str(caught.value) and "\n" not in str(caught.value)
