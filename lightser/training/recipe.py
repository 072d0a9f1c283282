"""Recipes: one TOML file per published row or experiment, read into frozen dataclasses.

A recipe says everything that makes a number: corpus, front end, network, loss, optimiser, protocol,
seeds. ``extends`` names another recipe, of which it states the difference: a file, relative to its
own, or one of ours, such as ``honest/emodb-light_sernet``.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import os
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from lightser.errors import BadRecipe, LightserError
from lightser.training.own_code import OwnCode

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(__file__).parent.parent
BASE = "base.toml"  # to be extended, not to be run
LENGTHS = ("epochs", "updates")
SELECTIONS = ("valid_ua", "test_wa", "last")
PRECISIONS = ("float32", "bfloat16")
STATISTICS = ("pooled", "fold_mean")
F1_AVERAGES = ("weighted", "macro")
QUICK_EPOCHS, QUICK_UPDATES = 4, 8
CLASSIC = "functionals_svm"  # the model that is no network: see lightser.training.classic
SCHEDULES = ("constant", "one_cycle", "light_sernet")
SLOWEST, FASTEST = 0.25, 4.0  # what lightser.audio.augment.speed takes
LARGEST_SEED = 2**32 - 1  # chance in an update is drawn from its million-fold, which has 64 bits


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A name out of a registry, and what is given to it: the other keys of its table."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Loss(Choice):
    """The loss; ``class_weights`` takes Zhong's weights from the training part of each fold."""

    class_weights: bool = False


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How the weights are moved.

    Attributes:
        name: ``adam``, ``adamw`` or ``nadam``.
        learning_rate: at its highest.
        betas: Adam's.
        epsilon: Adam's; 1e-7 in TensorFlow, 1e-8 elsewhere.
        weight_decay: AdamW's, on matrices and kernels.
        kernel_penalty: weight of Σw² over the network's ``penalized()`` weights, in the loss.
        clip_norm: largest global norm of the gradient.
        schedule: ``constant``; ``one_cycle`` (a tenth of the way up, then down by a cosine);
            ``light_sernet`` (× e^-0.15 at epochs 60, 80, …, 280 of the published 300, and at the
            same shares of a run of another length).
        batch_size: clips in an update.
        epochs: passes over the training part, each of ⌊n / batch_size⌋ updates, the stream of
            shuffled passes never cut (how Light-SERNet was trained).
        updates: instead of epochs; 0 is for the classic, which has none.
        shuffle_buffer: if not 0, clips come out of a shuffle buffer of this size that is fed with
            the training part again and again (Zhong et al. 2020: 5000).
        equal_corpora: whether each corpus has the same share of the clips that are drawn, whatever
            its size; an epoch is still as many clips as there are.
        evaluate_every: updates between evaluations; 0 is once an epoch.
        evaluate_from: the first update after which an evaluation counts.
        average: decay per update of a running average of the weights, which is then what is
            evaluated and kept; 0 is none.
        precision: ``bfloat16`` computes convolutions and products in half precision while training
            (never while evaluating): about twice as fast on processors and GPUs that have units for
            it. On others products are in float32; ``scores.json`` says what each job had.
    """

    name: str = "adam"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    kernel_penalty: float = 0.0
    clip_norm: float | None = None
    schedule: str = "constant"
    batch_size: int = 32
    epochs: int | None = None
    updates: int | None = None
    shuffle_buffer: int = 0
    equal_corpora: bool = False
    evaluate_every: int = 0
    evaluate_from: int = 0
    average: float = 0.0
    precision: str = "float32"

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.updates is None):
            raise BadRecipe("optim needs either epochs or updates, one of the two")
        _one_of("optim.schedule", self.schedule, SCHEDULES)
        _one_of("optim.precision", self.precision, PRECISIONS)
        _one_of("optim.name", self.name, ("adam", "adamw", "nadam"))
        for what in ("learning_rate", "epsilon", "clip_norm"):
            _within(f"optim.{what}", getattr(self, what), above=0)
        for what in ("batch_size", "epochs"):
            _within(f"optim.{what}", getattr(self, what), least=1)
        for what in ("weight_decay", "kernel_penalty"):
            _within(f"optim.{what}", getattr(self, what), least=0)
        for what in ("updates", "shuffle_buffer", "evaluate_every", "evaluate_from"):
            _within(f"optim.{what}", getattr(self, what), least=0)
        if self.equal_corpora and self.shuffle_buffer:
            raise BadRecipe("optim.equal_corpora and optim.shuffle_buffer: take one of the two")
        _within("optim.average", self.average, least=0, below=1)
        if len(self.betas) != 2:
            raise BadRecipe(f"optim.betas must be two numbers, not {list(self.betas)}")
        for beta in self.betas:
            _within("optim.betas", beta, least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What is varied in training clips, and never in validation or test clips.

    Attributes:
        speeds: factors of playing speed; each clip is heard at 1 or at one of these, at random.
        recordings: how many times each clip, at each speed, is also recorded anew: in a room, over
            a line, with noise (:func:`lightser.audio.augment.record_anew`).
        devices: whether those recordings also come by other microphones, levels, telephone lines
            and codecs (:func:`lightser.audio.lines.through_devices`); needs the extra ``codecs``.
        place: whether a clip stands at a random place in the window (or a random window in a
            longer clip), instead of in the middle.
        time_masks: stretches of frames set to the mean of all of the clip's values.
        time_mask_frames: longest of them.
        band_masks: runs of bands set to it.
        band_mask_bands: widest of them.
        mixup: Beta parameter of mixup (two clips and their labels, blended); 0 is none.
        mixstyle: share of updates in which the clips of a batch borrow from each other what each
            band's mean and deviation over time are, that is, voices, rooms and microphones; labels
            stay (Freq-MixStyle). 0 is none.
    """

    speeds: tuple[float, ...] = ()
    recordings: int = 0
    devices: bool = False
    place: bool = False
    time_masks: int = 0
    time_mask_frames: int = 0
    band_masks: int = 0
    band_mask_bands: int = 0
    mixup: float = 0.0
    mixstyle: float = 0.0

    def __post_init__(self) -> None:
        for factor in self.speeds:
            _within("augment.speeds", factor, least=SLOWEST, most=FASTEST)
        masks = ("time_masks", "time_mask_frames", "band_masks", "band_mask_bands")
        for what in ("recordings", *masks, "mixup"):
            _within(f"augment.{what}", getattr(self, what), least=0)
        _within("augment.mixstyle", self.mixstyle, least=0, most=1)
        if self.devices and not self.recordings:
            raise BadRecipe("augment.devices are those of recordings anew; set augment.recordings")


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Who teaches the network, beside the labels; see :mod:`lightser.training.teacher`.

    Attributes:
        recipe: of the teacher, which is trained inside every fold.
        share: of the loss that its answers have; the labels have the rest.
        temperature: what both answers are softened by.
        features: weight of the side task, telling the features of its front end; 0 is none.
        groups: of training speakers, each of which is left out by the teacher that it learns from.
    """

    recipe: str
    share: float = 0.7
    temperature: float = 2.0
    features: float = 0.0
    groups: int = 5

    def __post_init__(self) -> None:
        _within("teacher.share", self.share, least=0, most=1)
        _within("teacher.temperature", self.temperature, above=0)
        _within("teacher.features", self.features, least=0)
        _within("teacher.groups", self.groups, least=2)


@dataclass(frozen=True, kw_only=True)
class ProtocolChoice(Choice):
    """The protocol; ``select`` overrides how it chooses the epoch."""

    select: str | None = None

    def __post_init__(self) -> None:
        if self.select is not None:
            _one_of("protocol.select", self.select, SELECTIONS)


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the paper prints for this row, and where.

    Attributes:
        ua: unweighted accuracy (mean recall of the classes), percent.
        wa: accuracy, percent.
        f1: F1, percent.
        f1_average: which of ours it is to be compared with: ``weighted``, by the number of clips of
            each class, or ``macro``, each class alike. Weighted too where the paper does not say.
        source: paper, page, table.
        protocol: how the paper tested, in words.
        statistic: which of our figures it is to be compared with: ``pooled``, of the decisions of
            all folds and seeds together, or ``fold_mean``, the mean of the figures of each.
    """

    ua: float | None = None
    wa: float | None = None
    f1: float | None = None
    f1_average: str = "weighted"
    source: str = ""
    protocol: str = ""
    statistic: str = "pooled"

    def __post_init__(self) -> None:
        for what in ("ua", "wa", "f1"):
            _within(f"published.{what}", getattr(self, what), least=0, most=100)
        _one_of("published.f1_average", self.f1_average, F1_AVERAGES)
        _one_of("published.statistic", self.statistic, STATISTICS)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that makes a number.

    Attributes:
        title: one line for tables.
        system: which of the systems this is, for grouping.
        corpus: loader and its options.
        frontend: waveform to features.
        standardize: whether bands are standardised with the training part's mean and deviation.
        window_s: seconds given to the network at once; a longer clip is cut into windows whose
            probabilities are averaged, and one of which is drawn at random in training; a shorter
            one is padded. None gives it the whole clip.
        model: the network.
        init: a trained model that the network begins from, of the same front end and network: the
            name of a bundled one, or its folder. It may have other labels. None begins afresh.
        code: a file of Python, beside the recipe, that registers networks, losses, front ends or
            corpora of one's own, which the recipe then names.
        loss: what is minimised.
        optim: how; networks need it.
        augment: what is varied.
        teacher: who says more of the training clips than their labels do.
        protocol: folds, and how the epoch is chosen.
        seeds: the whole protocol is run once for each.
        published: the row of the paper.
    """

    title: str
    system: str
    corpus: Choice
    frontend: Choice
    model: Choice
    protocol: ProtocolChoice
    optim: Optim = field(default_factory=lambda: Optim(updates=0))
    loss: Loss = Loss(name="cross_entropy")
    standardize: bool = True
    window_s: float | None = None
    init: str | None = None
    code: OwnCode | None = None
    augment: Augment = field(default_factory=Augment)
    teacher: Teacher | None = None
    seeds: tuple[int, ...] = (0,)
    published: Published | None = None

    def __post_init__(self) -> None:
        _within("window_s", self.window_s, above=0)
        if self.is_classic:
            for what in _OF_NETWORKS:
                if getattr(self, what) != _default(what):
                    raise BadRecipe(f"'{CLASSIC}' is no network and knows no {what}: leave it out")
            if self.protocol.select not in (None, "last"):
                raise BadRecipe(f"'{CLASSIC}' has no epoch to choose: leave out protocol.select")
        elif self.optim.updates == 0:
            raise BadRecipe(
                f"optim must give the network '{self.model.name}' epochs or updates, at least 1"
            )
        if self.teacher is not None and self.augment.mixup:
            raise BadRecipe(
                "teacher and augment.mixup: of a blend it says nothing; take one of them"
            )
        if not self.seeds:
            raise BadRecipe("seeds must name at least one, such as [0]; it is empty")
        for i, seed in enumerate(self.seeds):
            _within("seeds", seed, least=0, most=LARGEST_SEED)
            if seed in self.seeds[:i]:
                raise BadRecipe(f"seeds names {seed} twice, and one seed is one run")

    @property
    def is_classic(self) -> bool:
        """Whether it is of openSMILE functionals and a linear machine, not of a network."""
        return self.model.name == CLASSIC

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as TOML would hold it, everything written out.

        What recipes could not say at first is left out where it is as usual, so that older files
        and their digests stay as they are.
        """
        facts = {
            key: value
            for key, value in _plain(self).items()
            if value is not None and value != {} and not (self.is_classic and key in _OF_NETWORKS)
        }
        for key, values in (("statistic", STATISTICS), ("f1_average", F1_AVERAGES)):
            if facts.get("published", {}).get(key) == values[0]:
                del facts["published"][key]
        for part, key in _SINCE:
            if part in facts and not facts[part][key]:
                del facts[part][key]
        return facts

    def sha256(self) -> str:
        """Return a digest of what makes the number: not of titles or published figures."""
        facts = self.to_dict()
        for words in ("title", "published", "seeds"):
            facts.pop(words, None)
        if self.code is not None:
            facts["code"] = self.code.sha256
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


_SINCE = (
    ("augment", "recordings"),
    ("augment", "devices"),
    ("augment", "mixstyle"),
    ("optim", "equal_corpora"),
)
_OF_NETWORKS = ("optim", "loss", "augment", "window_s", "standardize", "init", "teacher")


def _default(key: str) -> Any:
    (found,) = (f for f in dataclasses.fields(Recipe) if f.name == key)
    return (
        found.default if found.default_factory is dataclasses.MISSING else found.default_factory()
    )


def quick(recipe: Recipe) -> Recipe:
    """Return the recipe cut down to minutes: a few epochs (or updates), one seed."""
    return _cut(recipe, lambda n: min(n, QUICK_EPOCHS), lambda n: min(n, QUICK_UPDATES))


def shortened(recipe: Recipe, share: float) -> Recipe:
    """Return the recipe with a share of its epochs (or updates), and one seed.

    Raises:
        BadRecipe: the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise BadRecipe(f"a run's length is above 0 and at most 1, the whole recipe; not {share:g}")

    def part(n: int) -> int:
        return min(n, max(1, round(share * n)))

    return _cut(recipe, part, part)


def _cut(
    recipe: Recipe, epochs_of: Callable[[int], int], updates_of: Callable[[int], int]
) -> Recipe:
    """Return the recipe with one seed, and other numbers of epochs or updates."""
    optim = recipe.optim
    epochs = None if optim.epochs is None else epochs_of(optim.epochs)
    updates = None if optim.updates is None else updates_of(optim.updates)
    shorter = dataclasses.replace(optim, epochs=epochs, updates=updates)
    return dataclasses.replace(recipe, optim=shorter, seeds=recipe.seeds[:1])


def recipe_folder() -> Path:
    """Return where the recipes are: in the installed package, or beside it in a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


def find_recipe(name: str | os.PathLike[str]) -> Path:
    """Return the file of a recipe, given as a path or as a name such as ``honest/emodb-zhong``.

    Raises:
        BadRecipe: there is no such file and no such name.
    """
    path = Path(name)
    if path.is_file():
        return path
    key, known = _key(name), _bundled()
    if key in known and known[key].name != BASE:
        return known[key]
    raise BadRecipe(f"No recipe '{name}'{_nearest(key)} The recipes are in {recipe_folder()}")


def find_recipes(names: list[str]) -> list[Path]:
    """Return the files of recipes and of folders of recipes, each once, in the order of names.

    A folder is one of ours, such as ``zhong2020/table4`` (``.`` is all of them), or else a folder
    of the user's.

    Raises:
        BadRecipe: a name that is neither, a folder without recipes, or two files of one name.
    """
    root = recipe_folder().resolve()
    found: dict[Path, None] = {}
    for name in names:
        ours = (root / name.removeprefix("recipes/")).resolve()
        folder = ours if ours.is_dir() and ours.is_relative_to(root) else Path(name)
        paths = sorted(folder.rglob("*.toml")) if folder.is_dir() else [find_recipe(name)]
        recipes = {path.resolve(): None for path in paths if path.name != BASE}
        if folder.is_dir() and not recipes:
            raise BadRecipe(
                f"The folder '{name}' holds no recipe: no .toml file but {BASE}, which is there to "
                f"be extended. Ours are in {root}"
            )
        found |= recipes
    named: dict[str, Path] = {}
    for path in found:
        other = named.setdefault(recipe_name(path), path)
        if other != path:  # their results would go into one folder
            raise BadRecipe(
                f"{other} and {path} have one name; rename one of them, or run it alone"
            )
    return list(found)


def _bundled() -> dict[str, Path]:
    """Return the files that come along, by name; those that are only to be extended, too."""
    root = recipe_folder()
    return {p.relative_to(root).with_suffix("").as_posix(): p for p in root.rglob("*.toml")}


def _key(name: str | os.PathLike[str]) -> str:
    return Path(name).as_posix().removesuffix(".toml").removeprefix("recipes/")


def _nearest(key: str) -> str:
    """Return the end of a sentence that asks for the bundled recipe nearest to a name."""
    known = [name for name, path in _bundled().items() if path.name != BASE]
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else "."


def recipe_name(path: Path) -> str:
    """Return the name of a recipe file: its path below the recipes, without the suffix."""
    root = recipe_folder().resolve()
    path = path.resolve()
    inside = path.is_relative_to(root)
    return (path.relative_to(root) if inside else Path(path.name)).with_suffix("").as_posix()


def read_recipe(path: Path, changes: dict[str, Any] | None = None) -> Recipe:
    """Return the recipe of a TOML file, its ``extends`` followed and ``changes`` laid over it.

    Its ``code`` is run.

    Raises:
        BadRecipe: not TOML, an unknown key (with the nearest known one), a missing or wrong value,
            code that cannot be run, a loss that there is not or that has no such option.
    """
    # Here, because it takes PyTorch, which finding recipes does not.
    from lightser.losses.options import check_options

    facts = _merge(_read_toml(path, ()), changes or {})
    code = facts.pop("code", None)
    try:
        recipe = typing.cast(Recipe, _build(Recipe, facts, ""))
        if code is not None:
            own = OwnCode.read(code)
            own.run()
            recipe = dataclasses.replace(recipe, code=own)
        check_options(recipe.loss.name, recipe.loss.options)
    except LightserError as error:
        raise BadRecipe(f"{path.name}: {error}") from None
    return recipe


def _read_toml(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path in seen:
        raise BadRecipe(f"{path.name}: extends itself, by way of {seen[-1].name}")
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRecipe(f"Cannot read the recipe {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path.name}: not TOML: {error}") from None
    if (code := facts.get("code")) is not None:
        if not isinstance(code, str):
            raise BadRecipe(f"{path.name}: code must be the name of a file, not {code!r}")
        facts["code"] = path.parent / code
    base = facts.pop("extends", None)
    if base is None:
        return facts
    return _merge(_read_toml(_extended(path, base), (*seen, path)), facts)


def _extended(path: Path, base: Any) -> Path:
    """Return the file that the recipe ``path`` extends: beside it, or else one of ours."""
    if not isinstance(base, str):
        raise BadRecipe(f"{path.name}: extends must be the name of a recipe, not {base!r}")
    beside = path.parent / base
    if beside.is_file():
        return beside.resolve()
    key, known = _key(base), _bundled()
    if key in known:
        return known[key].resolve()
    raise BadRecipe(
        f"{path.name}: extends '{base}', which does not exist: there is no such file in "
        f"{path.parent.absolute()}, and no recipe of that name in {recipe_folder()}{_nearest(key)}"
    )


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for one, other in (LENGTHS, LENGTHS[::-1]):
        if one in change and other not in change:
            merged.pop(other, None)  # a length replaces a length, however it is counted
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            # Another name is another thing, whose options the old ones are not; and what one row of
            # a table prints, another does not.
            renamed = "name" in value and value["name"] != old.get("name", value["name"])
            merged[key] = value if renamed or key == "published" else _merge(old, value)
        else:
            merged[key] = value
    return merged


def _build(kind: Any, facts: Any, where: str) -> Any:
    """Turn TOML's values into the type a dataclass field wants."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        (kind,) = (arm for arm in get_args(kind) if arm is not type(None))
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, facts, where)
    if get_origin(kind) is tuple:
        if not isinstance(facts, list):
            raise BadRecipe(f"{where} must be a list, not {facts!r}")
        return tuple(_build(get_args(kind)[0], item, where) for item in facts)
    if kind is float and isinstance(facts, int) and not isinstance(facts, bool):
        return float(facts)
    if kind in (int, float, str, bool) and type(facts) is not kind:
        raise BadRecipe(f"{where} must be {kind.__name__}, not {facts!r}")
    return facts


def _build_dataclass(kind: Any, facts: Any, where: str) -> Any:
    if not isinstance(facts, dict):
        raise BadRecipe(f"{where} must be a table, not {facts!r}")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}
    values, options = {}, {}
    for key, value in facts.items():
        dotted = f"{where}.{key}" if where else key
        if key in known and key != "options":
            values[key] = _build(hints[key], value, dotted)
        elif "options" in known:
            options[key] = value
        else:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else "."
            raise BadRecipe(f"unknown key '{dotted}'{hint} Known: {', '.join(sorted(known))}")
    if options:
        values["options"] = options
    missing = [
        name
        for name, f in known.items()
        if name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise BadRecipe(f"{where or 'the recipe'} lacks {', '.join(missing)}")
    return kind(**values)


def _plain(thing: Any) -> Any:
    """Turn dataclasses into what TOML and JSON hold, options laid beside the name."""
    if isinstance(thing, OwnCode):
        return thing.name
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        facts = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
        facts = {**facts.pop("options", {}), **facts}
        return {key: _plain(value) for key, value in sorted(facts.items()) if value is not None}
    if isinstance(thing, tuple):
        return [_plain(item) for item in thing]
    return thing


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "."
        raise BadRecipe(f"{what} cannot be '{value}'{hint} Known: {', '.join(known)}")


def _within(
    what: str,
    value: float | None,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Refuse a number out of its range, or none at all; None is what is not given."""
    if value is None:
        return
    if not -math.inf < value < math.inf:
        raise BadRecipe(f"{what} must be a finite number, not {value!r}")
    if least <= value <= most and above < value < below:
        return
    bounds = {"at least": least, "above": above, "at most": most, "below": below}
    words = " and ".join(f"{word} {at:.12g}" for word, at in bounds.items() if math.isfinite(at))
    raise BadRecipe(f"{what} must be {words}, not {value!r}")
