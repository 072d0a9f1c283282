"""A recipe times its folds times its seeds: plan the jobs, run what is missing, write the results.

The results folder holds ``predictions.csv`` (every score is computed from it and from nothing
else), ``history.csv``, ``scores.json``, ``folds.json`` and ``recipe.toml``. While jobs run, and
until the folder is complete, ``jobs/`` holds what each has written.
"""

import contextlib
import dataclasses
import itertools
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

import lightser
from lightser.corpora import CORPORA
from lightser.corpora.splits import (
    CONTENT,
    PROTOCOLS,
    Fold,
    make_folds,
    read_folds,
    speakers_on_both_sides,
    write_folds,
)
from lightser.corpora.utterances import content_hashes
from lightser.errors import BadRecipe, BadResults
from lightser.training import classic
from lightser.training.engines import ENGINES, Progress
from lightser.training.initial import Initial
from lightser.training.jobs import (
    Job,
    build_system,
    cache_folder,
    parameter_count,
    pretrained_sha256,
    read_strings,
    refuse_other_job,
    run_names,
)
from lightser.training.recipe import Recipe, quick, shortened
from lightser.training.scores import read_predictions, score_predictions
from lightser.training.teacher import Teaching, find_teacher
from lightser.whole import held, writable_folder, write_whole

QUICK_FOLDS = 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All jobs of a recipe on a corpus, and where their results go.

    Attributes:
        name: of the recipe.
        recipe: what to do; if quick or short, already cut down.
        labels: classes in order.
        table: utterances.
        folds: of the protocol.
        select: how the epoch is chosen.
        jobs: fold × seed.
        part: those of them that are run here; others may be run by another process.
        out: the results folder.
        quick: whether epochs, folds and seeds were cut down to see it work.
        length: share of the epochs or updates that is run, if not all.
        full_sha256: digest of the recipe that is not cut down.
    """

    name: str
    recipe: Recipe
    labels: tuple[str, ...]
    table: pd.DataFrame
    folds: tuple[Fold, ...]
    select: str
    jobs: tuple[Job, ...]
    part: tuple[Job, ...]
    out: Path
    quick: bool
    length: float
    full_sha256: str


def make_plan(
    recipe: Recipe,
    table: pd.DataFrame,
    *,
    name: str,
    out: Path,
    is_quick: bool = False,
    length: float = 1.0,
    device: str = "cpu",
    tensorboard: bool = False,
) -> Plan:
    """Deal the folds and list the jobs.

    Raises:
        BadRecipe: a label of the table that the corpus does not know; a selection that the
            protocol has no data for; a length that is not a share; a model to begin from that has
            heard the corpus.
        BadCorpus: the table lacks what the protocol needs.
        BadModel: the model to begin from is none, or the weights of a pretrained front end.
    """
    full_sha256 = recipe.sha256()
    if is_quick:
        recipe = quick(recipe)
    elif recipe.is_classic:
        length = 1.0  # there is nothing to cut
    elif length != 1:
        recipe = shortened(recipe, length)
    options = dict(recipe.protocol.options)
    # One deal for all seeds: these vary weights and chance, not who is tested when.
    deal = options.pop("deal", 0)
    if CONTENT not in table:  # equal audio never comes to lie on two honest sides
        table = table.assign(**{CONTENT: content_hashes(table)})
    folds = make_folds(recipe.protocol.name, table, deal, **options)
    if is_quick:
        folds = folds[:QUICK_FOLDS]
    select = selection(recipe)
    if select == "valid_ua" and not all(fold.valid for fold in folds):
        raise BadRecipe(
            f"protocol '{recipe.protocol.name}' is set to no validation part, so the epoch cannot "
            'be chosen on it: select = "last", or give it validation speakers'
        )
    if (
        recipe.is_classic
        and PROTOCOLS[recipe.protocol.name].text_independent
        and any(fold.valid for fold in folds)
    ):
        raise BadRecipe(
            f"'{recipe.model.name}' trains on validation parts too, and those of protocol "
            f"'{recipe.protocol.name}' say the sentences that are tested: give it "
            "valid_speakers = 0"
        )
    present = set(table["label"])
    labels = tuple(label for label in CORPORA[recipe.corpus.name].labels if label in present)
    labels = labels or tuple(sorted(present))
    if unknown := sorted(present - set(labels)):
        raise BadRecipe(f"label '{unknown[0]}' is not one of {recipe.corpus.name}'s labels")
    initial = None if recipe.init is None else Initial.of(recipe.init)
    if initial is not None:
        initial.refuse_heard({recipe.corpus.name, *table["corpus"]})
        initial.refuse_clips(table)
        initial.known_to(build_system(recipe, len(labels)))
    pretrained = pretrained_sha256(recipe, len(labels))
    teaching = None
    if recipe.teacher is not None:
        teacher = find_teacher(recipe.teacher)
        if is_quick:
            teacher = quick(teacher)
        teaching = Teaching(recipe=teacher, pretrained=pretrained_sha256(teacher, len(labels)))
    jobs = tuple(
        Job(
            recipe=recipe,
            labels=labels,
            table=table,
            fold=fold,
            seed=seed,
            select=select,
            folder=out / "jobs" / f"{fold.name}-seed{seed}",
            cache=cache_folder(),
            initial=initial,
            pretrained=pretrained,
            teaching=teaching,
            device=device,
            tensorboard=tensorboard,
            commit=commit(),
        )
        for seed in recipe.seeds
        for fold in folds
    )
    return Plan(
        name=name,
        recipe=recipe,
        labels=labels,
        table=table,
        folds=tuple(folds),
        select=select,
        jobs=jobs,
        part=jobs,
        out=out,
        quick=is_quick,
        length=length,
        full_sha256=full_sha256,
    )


def selection(recipe: Recipe) -> str:
    """Return what a recipe chooses its epoch on; the classic has none to choose."""
    if recipe.is_classic:
        return "last"
    return recipe.protocol.select or PROTOCOLS[recipe.protocol.name].select


def run(
    plan: Plan,
    *,
    engine: str = "local",
    workers: int = 1,
    progress: Progress = lambda states: None,
    done: Callable[[Job, dict[str, Any]], None] = lambda job, scores: None,
) -> dict[str, Any]:
    """Run the jobs that are missing, collecting results after each, and return the scores."""
    writable_folder(plan.out)
    _refuse_other_results(plan)
    _write_folds_and_recipe(plan)
    missing = missing_jobs(plan)
    scores = collect(plan)
    for job in ENGINES[engine](missing, workers, progress) if missing else ():
        scores = collect(plan)
        done(job, scores)
    return scores


def found_elsewhere(plan: Plan, root: Path) -> Path | None:
    """Return the folder below ``root`` of another row with the same recipe that was run whole.

    Tables repeat each other: the best line of one is a line of the next. None also where this row
    has results of its own.
    """
    if (plan.out / "scores.json").is_file():
        return None
    for path in sorted(root.rglob("scores.json")):
        facts = facts_of(path.parent)
        same = facts.get("recipe_sha256") == plan.recipe.sha256()
        same = same and facts.get("complete") and facts.get("seeds") == list(plan.recipe.seeds)
        is_whole = same and (path.parent / "predictions.csv").is_file()
        if is_whole and not other_data(plan, path.parent):
            return path.parent
    return None


def adopt(plan: Plan, root: Path) -> Path | None:
    """Take over what is :func:`found_elsewhere`, so that it is not run twice; return its folder.

    Raises:
        BadRecipe: something else was begun in this row's folder.
    """
    if (plan.out / "scores.json").is_file():
        return None
    for job in plan.jobs:
        refuse_other_job(job)
    found = found_elsewhere(plan, root)
    if found is not None:
        plan.out.mkdir(parents=True, exist_ok=True)
        # The classic has no history; scores come last, and say that all is there.
        files = [found / name for name in ("history.csv", "predictions.csv", "scores.json")]
        for file in filter(Path.is_file, files):
            write_whole(plan.out / file.name, file.read_text(encoding="utf-8"))
        _write_folds_and_recipe(plan)
        collect(plan)  # under this row's own name
    return found


def _write_folds_and_recipe(plan: Plan) -> None:
    write_folds(plan.folds, plan.out / "folds.json")
    write_whole(plan.out / "recipe.toml", to_toml(plan.recipe.to_dict()))
    if (code := plan.recipe.code) is not None:
        write_whole(plan.out / code.name, code.text)


def missing_jobs(plan: Plan) -> list[Job]:
    """Return the jobs to be run here that neither the results nor a finished folder hold."""
    finished = set() if (table := _read(plan.out / "predictions.csv")) is None else run_names(table)
    return [job for job in plan.part if job.name not in finished and not job.is_done]


def share_out(
    plans: Sequence[Plan], number: int, count: int, but: Container[str] = ()
) -> list[Plan]:
    """Return plans of which every ``count``-th job is run here, counted over all of them.

    Processes that take different numbers, from 1 to ``count``, run every job once. They may write
    to the same folders, at once or one after another; who comes last finds all results.

    Args:
        plans: what is to be run.
        number: which part is run here.
        count: how many parts there are.
        but: names of plans of which nothing is run.
    """
    turns = itertools.cycle(range(1, count + 1))
    return [
        dataclasses.replace(
            plan,
            part=tuple(j for j in plan.jobs if plan.name not in but and next(turns) == number),
        )
        for plan in plans
    ]


def collect(plan: Plan) -> dict[str, Any]:
    """Gather finished jobs into the results folder, score them, and return the scores.

    When all are there, what they have left is removed.
    """
    lock = plan.out / ".lock"
    with held(lock, wait=True):  # others may run other parts, and be done just now
        facts = _collect(plan)
        if facts["complete"]:
            shutil.rmtree(plan.out / "jobs", ignore_errors=True)
            with contextlib.suppress(OSError):  # Windows keeps what is open
                lock.unlink()
    return facts


def _collect(plan: Plan) -> dict[str, Any]:
    tables: dict[str, pd.DataFrame] = {}
    for file in ("predictions.csv", "history.csv"):
        kept = _read(plan.out / file)
        fresh = [_read(job.folder / file) for job in plan.jobs if job.is_done]
        if kept is not None and fresh:
            kept = kept[~(kept["fold"] + "-seed" + kept["seed"]).isin(run_names(pd.concat(fresh)))]
        table = pd.concat([t for t in [kept, *fresh] if t is not None] or [pd.DataFrame()])
        if len(table):
            order = {job.name: i for i, job in enumerate(plan.jobs)}
            rank = (table["fold"] + "-seed" + table["seed"]).map(order)
            table = table.assign(_rank=rank).sort_values("_rank", kind="stable")
            table = table.drop(columns="_rank")
            write_whole(plan.out / file, table.to_csv(index=False))
        tables[file] = table
    facts = describe(plan, tables["predictions.csv"])
    if len(tables["predictions.csv"]):
        predictions = read_predictions(plan.out / "predictions.csv", plan.labels)
        facts |= score_predictions(predictions, plan.labels)
        write_whole(plan.out / "scores.json", json.dumps(facts, indent=1, ensure_ascii=False))
    return facts


def describe(plan: Plan, predictions: pd.DataFrame) -> dict[str, Any]:
    """Return everything in ``scores.json`` but the scores.

    What an earlier run found stays as it was found: its commit, its machine, its minutes.
    """
    protocol = PROTOCOLS[plan.recipe.protocol.name]
    finished = run_names(predictions) if len(predictions) else set()
    known = facts_of(plan.out)
    minutes = known.get("minutes_by_job", {})
    fresh = {j.name: _progress(j) for j in plan.jobs if j.is_done and j.name not in minutes}
    commits = known.get("commit_by_job", dict.fromkeys(minutes, known.get("commit", "")))
    asked = {} if plan.recipe.is_classic else dict.fromkeys(minutes, plan.recipe.optim.precision)
    precisions = known.get("precision_by_job", asked)
    minutes |= {name: round(facts["seconds"] / 60, 2) for name, facts in fresh.items()}
    commits |= {name: facts.get("commit", commit()) for name, facts in fresh.items()}
    precisions |= {
        name: facts["precision"] for name, facts in fresh.items() if "precision" in facts
    }
    digests = known.get("digest_by_job", {})
    digests |= {job.name: job.digest for job in plan.jobs if job.name in fresh}
    costs = known.get("costs", {})
    costs |= {name: facts["cost"] for name, facts in fresh.items() if "cost" in facts}
    packages = ("numpy", *classic.PACKAGES) if plan.recipe.is_classic else ("torch", "numpy")
    here = {
        "machine": f"{platform.machine()}, {plan.jobs[0].device}",
        "versions": _versions(packages) | {"lightser": lightser.__version__},
    }
    return {
        "recipe": plan.name,
        "recipe_sha256": plan.recipe.sha256(),
        "title": plan.recipe.title,
        "system": plan.recipe.system,
        "commit": _each(commits.values()) or commit(),
        "commit_by_job": commits,
        "seeds": list(plan.recipe.seeds),
        "epochs": plan.recipe.optim.epochs,
        "updates": plan.recipe.optim.updates or None,
        "quick": plan.quick,
        "length": plan.length,
        "full_recipe_sha256": plan.full_sha256,
        "complete": len(finished) == len(plan.jobs),
        "folds_done": len(finished),
        "folds_planned": len(plan.jobs),
        "protocol": protocol.name,
        "protocol_note": protocol.note,
        "selected_on": plan.select,
        "speaker_independent": not speakers_on_both_sides(plan.folds, plan.table),
        "text_independent": protocol.text_independent,
        "transductive": False,
        "corpus": plan.recipe.corpus.name,
        "labels": list(plan.labels),
        "n_utterances": len(plan.table),
        "n_predictions": len(predictions),
        "parameters": parameter_count(plan.recipe, len(plan.labels)),
        **({"init": initial.facts} if (initial := plan.jobs[0].initial) else {}),
        **({"pretrained_sha256": sha} if (sha := plan.jobs[0].pretrained) else {}),
        **({"code": code.facts} if (code := plan.recipe.code) else {}),
        **({"digest_by_job": digests} if digests else {}),  # not of runs before it was kept
        **({"precision_by_job": precisions} if precisions else {}),
        **({"costs": costs} if costs else {}),  # of the classic, which chooses one for each fold
        "published": plan.recipe.to_dict().get("published"),
        # Where and with what it was run, not where results are looked at again.
        **(here if fresh or not known else {key: known[key] for key in here}),
        "minutes": round(sum(minutes.values()), 1),
        "minutes_by_job": minutes,
    }


def _each(lists: Iterable[str]) -> str:
    """Return what lists with commas name, each once."""
    return ", ".join(dict.fromkeys(filter(None, ", ".join(lists).split(", "))))


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Return those that are installed; openSMILE is not needed for functionals that are kept."""
    found = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@cache
def commit() -> str:
    """Return the commit of the checkout that runs, with ``+`` if the code has changed since.

    It is looked up when a run begins, with the code that is then in memory.
    """
    here = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(here))
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"v{lightser.__version__}"


def to_toml(facts: dict[str, Any], prefix: str = "") -> str:
    """Write the tables, lists, strings and numbers that recipes are made of as TOML."""
    lines = [f"{_key(key)} = {_value(v)}" for key, v in facts.items() if not isinstance(v, dict)]
    for key, value in facts.items():
        if isinstance(value, dict):
            name = f"{prefix}{_key(key)}"
            lines += ["", f"[{name}]", to_toml(value, f"{name}.").strip()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, (str, bool)):
        return json.dumps(value, ensure_ascii=False)  # the same in TOML
    return repr(value)


def _refuse_other_results(plan: Plan) -> None:
    """Never mix the results of two recipes, or of two states of a corpus, in one folder."""
    for job in plan.jobs:
        refuse_other_job(job)
    names = set() if (table := _read(plan.out / "predictions.csv")) is None else run_names(table)
    known = plan.jobs
    if not (is_scored := (plan.out / "scores.json").is_file()):
        known = tuple(job for job in known if job.is_done)  # stopped before they were scored
    other = is_scored and facts_of(plan.out).get("recipe_sha256") != plan.recipe.sha256()
    if other or names - {job.name for job in known}:
        raise BadRecipe(
            f"{plan.out} holds results of another version of this recipe, or of other seeds or "
            "folds; move that folder away, or give another --out"
        )
    if different := other_data(plan, plan.out):
        raise BadResults(
            f"{plan.out} holds results of other data: {different}; move that folder away, or give "
            "another --out"
        )


def other_data(plan: Plan, folder: Path) -> str:
    """Say of the first utterance how a folder's predictions are of other data than a plan's, or "".

    A part of the folds may be there, and other seeds: each row is looked up by its fold.
    """
    if (table := _read(folder / "predictions.csv")) is None:
        return ""
    initial = plan.jobs[0].initial
    known = facts_of(folder)
    if known and known.get("init") != (None if initial is None else initial.facts):
        return "the model that the network begins from has other weights now"
    said = _said_of(plan.table, "label")
    tested = {fold.name: {name: said[name] for name in fold.test} for fold in plan.folds}
    for _, rows in table.groupby(["fold", "seed"], sort=False):
        fold = rows["fold"].iloc[0]
        here, there = tested.get(fold, {}), _said_of(rows, "truth")
        for name in [*here, *there]:
            if here.get(name) != there.get(name):
                was, is_now = (of.get(name, "not tested") for of in (there, here))
                return f"'{name}' in fold '{fold}' was {was}, and is {is_now}"
    if other := _other_parts(plan, folder, set(table["fold"])):
        return f"fold '{other}' has other parts to train and validate on now"
    digests = known.get("digest_by_job", {})
    for job in plan.jobs:
        if job.name in digests and digests[job.name] != job.digest:
            return f"the audio, features, labels or agreement of '{job.name}' have changed"
    return ""


def _other_parts(plan: Plan, folder: Path, tested: set[str]) -> str:
    """Return the first fold of a folder's predictions that was dealt otherwise, or ""."""
    if not (path := folder / "folds.json").is_file():
        return ""
    here = {fold.name: fold for fold in plan.folds}
    for there in read_folds(path):
        fold = here.get(there.name)
        if fold is None or fold.name not in tested:
            continue
        if any(set(getattr(fold, p)) != set(getattr(there, p)) for p in ("train", "valid")):
            return fold.name
    return ""


def _said_of(table: pd.DataFrame, column: str) -> dict[str, str]:
    """Return what a table says of each utterance, in words; its label is in ``column``."""
    rows = zip(table["utterance"], table[column], table["speaker"], strict=True)
    return {name: f"'{label}' of speaker '{speaker}'" for name, label, speaker in rows}


def facts_of(folder: Path) -> dict[str, Any]:
    """Return what ``scores.json`` says; nothing where there is none, or none of ours."""
    try:
        facts = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _read(path: Path) -> pd.DataFrame | None:
    """Return a table as the strings that are in it, if there is one."""
    return read_strings(path) if path.is_file() else None


def _progress(job: Job) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((job.folder / "progress.json").read_text(encoding="utf-8"))
    return facts
