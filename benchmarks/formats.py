"""What each exported format of each system weighs, scores and costs: docs/formats.md.

    python benchmarks/formats.py emodb=DIR

Trains the honest recipes with one speaker of Emo-DB left out (ten minutes, once; kept in the
cache), exports them in every format that there is, calibrated on clips of the other speakers alone,
and asks each exported file about the speaker whom neither training nor calibration has heard. Times
are ratios: a format and PyTorch take turns, on one thread. In the same run: the classic, openSMILE
functionals with a linear SVM, and a network of wav2vec 2.0's size with random weights.
"""

import argparse
import hashlib
import json
import math
import os
import pickle
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightser.bundled import find_model
from lightser.corpora import CORPORA, load_corpus
from lightser.errors import LightserError
from lightser.export import EXPORTERS, litert, targets  # noqa: F401  targets register themselves
from lightser.export.deliver import Clip, ClipSet, Job, Order, export_model, open_folder
from lightser.export.manifest import Manifest, Parity
from lightser.export.micro.arena import arena
from lightser.export.trained import write_trained_model
from lightser.metrics import confusion, ua
from lightser.models.functionals_svm import FunctionalsSvm, extractor, functionals_of
from lightser.training.crossval import make_plan
from lightser.training.jobs import cache_folder, run_job
from lightser.training.recipe import find_recipe, read_recipe
from lightser.training.system import System
from lightser.whole import write_whole

PAGE = Path(__file__).parent.parent / "docs" / "formats.md"
RECIPES = ("honest/emodb-light_sernet", "honest/emodb-zhong2020")
WARM_UP = 3
WHOLE = ("onnx", "litert")  # from samples to probabilities in one file
ORDER = (*WHOLE, *sorted(set(EXPORTERS) - set(WHOLE)))
TAKES = {"in": "samples", "out": "features"}


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A recipe with one speaker left out, trained.

    Attributes:
        recipe: its name.
        labels: classes in order.
        model: a model folder that has not heard the speaker.
        heard: rows of the speakers that trained it.
        unheard: rows of the one who did not.
    """

    recipe: str
    labels: tuple[str, ...]
    model: Path
    heard: pd.DataFrame
    unheard: pd.DataFrame

    @property
    def truth(self) -> list[int]:
        """The class of each unheard clip."""
        return [self.labels.index(label) for label in self.unheard["label"]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table; None where a figure says nothing."""

    system: str
    format: str
    takes: str
    bytes: int
    ua: float | None
    parity: Parity | None
    time: float
    arena: int | None = None

    def cells(self) -> Iterator[str]:
        """Yield the figures as they are printed."""
        yield from (self.system, self.format, self.takes, f"{self.bytes:,}")
        yield "" if self.ua is None else f"{100 * self.ua:.1f}"
        yield "" if self.parity is None else f"{100 * self.parity.label_agreement:.1f}"
        yield "" if self.parity is None else f"{self.parity.max_difference:.1g}"
        yield f"{self.time:.2f}"
        yield "" if self.arena is None else f"{self.arena:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="emodb=DIR")
    parser.add_argument("--runs", type=int, default=20, help="to time, of each format")
    parser.add_argument("--only", choices=RECIPES, help="measure this one, and write no page yet")
    parser.add_argument("--again", action="store_true", help="forget what was measured before")
    arguments = parser.parse_args()
    if arguments.again:
        shutil.rmtree(kept_folder(), ignore_errors=True)
    name, _, root = arguments.corpus.partition("=")
    torch.set_num_threads(1)
    litert.to_litert = remembering(litert.to_litert)  # half a minute each, for six formats
    table = load_corpus(name, root)
    rows, shipped = [], []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in [arguments.only] if arguments.only else RECIPES:
            fold = train(recipe, table)
            rows += list(measure(fold, Path(folder), arguments.runs))
            shipped += list(measure_shipped(recipe, table, Path(folder)))
        if not arguments.only:
            rows.append(kept("classic", partial(classic, fold, arguments.runs)))
            rows.append(kept("wav2vec2", partial(wav2vec2_sized, fold, arguments.runs)))
            shown = [row for row in rows if row is not None]
            write_whole(PAGE, as_markdown(shown, [row for row in shipped if row], fold))


def kept_folder() -> Path:
    """Return where rows are kept until all are there, or are measured again."""
    return cache_folder().parent / "formats" / "rows"


def kept(name: str, make: Callable[[], Row | None]) -> Row | None:
    """Return a row that an earlier run has measured, or measure it now."""
    path = kept_folder() / f"{name}.json"
    if path.is_file():
        facts = json.loads(path.read_text(encoding="utf-8"))
        parity = facts["parity"] and Parity(**facts["parity"])
        return Row(**{**facts, "parity": parity})
    row = make()
    if row is not None:
        say(" | ".join(row.cells()))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(row)))
    return row


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def train(recipe: str, table: pd.DataFrame) -> Fold:
    """Train without the speaker who said most, if that was not done before."""
    settings = read_recipe(find_recipe(recipe))
    out = cache_folder().parent / "formats" / f"{Path(recipe).name}-{settings.sha256()[:12]}"
    plan = make_plan(settings, table, name=recipe, out=out)
    job = max(plan.jobs, key=lambda job: len(job.fold.test))
    if not job.is_done:
        say(f"{recipe} is trained without speaker {job.fold.name}")
        run_job(job)
    heard, unheard = (
        table[table["utterance"].isin(part)] for part in (job.fold.train, job.fold.test)
    )
    assert not set(heard["speaker"]) & set(unheard["speaker"])
    model = out / "model"
    if not model.is_dir():
        system = System.load(job.folder / "weights.safetensors")
        only_heard = replace(plan, table=heard)
        write_trained_model(system, only_heard, model, seed=job.seed, results=None)
    return Fold(recipe=recipe, labels=plan.labels, model=model, heard=heard, unheard=unheard)


def clips_of(rows: pd.DataFrame) -> ClipSet:
    """Return clips to calibrate on: whole files of a corpus."""
    corpus = CORPORA[rows["corpus"].iloc[0]]
    clips = tuple(Clip(file=str(file)) for file in rows["file"])
    return ClipSet(corpus=corpus.name, title=corpus.title, license=corpus.license, clips=clips)


def formats() -> Iterator[tuple[str, str, str]]:
    """Yield target, precision and place of the front end of all that can be exported.

    A microcontroller's file is the same with its front end, which is C; so it comes once.
    """
    for target in ORDER:
        for frontend in EXPORTERS[target].frontends if target in WHOLE else ("out",):
            for precision in EXPORTERS[target].precisions:
                yield target, precision, frontend


def measure(fold: Fold, folder: Path, runs: int) -> Iterator[Row | None]:
    """Yield PyTorch's row, and one for each exported format."""
    card, system = open_folder(fold.model)
    order = Order(precision="float32", frontend="in", n_samples=round(card.window_s * 16000))
    job = Job(
        exporter=EXPORTERS["onnx"],
        order=order,
        model=fold.model,
        card=card,
        system=system,
        clips=None,
    )
    heard = [job.hear(Clip(file=str(file))) for file in fold.unheard["file"]]
    with torch.inference_mode():
        features = [system.features(torch.from_numpy(samples)[None]) for samples in heard]
        expected = [
            system.logits(x).div(system.temperature).softmax(1)[0].numpy() for x in features
        ]
    given = {"in": heard, "out": [x[0].numpy() for x in features]}

    def network(x: NDArray[np.float32]) -> Tensor:
        return system.logits(torch.from_numpy(x)[None]).softmax(1)

    def whole(samples: NDArray[np.float32]) -> Tensor:
        return system(torch.from_numpy(samples)[None])

    pytorch: dict[str, Callable[[NDArray[np.float32]], Any]] = {"in": whole, "out": network}
    for takes in TAKES.values():
        yield Row(
            system=card.system,
            format="PyTorch, eager",
            takes=takes,
            bytes=(fold.model / "weights.safetensors").stat().st_size,
            ua=ua_of(expected, fold),
            parity=None,
            time=1.0,
        )

    def one(target: str, precision: str, place: str) -> Row | None:
        out = folder / f"{card.system}-{target}-{precision}-{place}"
        clips = clips_of(fold.heard.sample(200, random_state=0)) if precision == "int8" else None
        manifest = exported(fold.model, out, (target, precision, place), clips)
        if manifest is None:
            return None
        answer = EXPORTERS[target].open(out, manifest.interface)
        answers = [answer(x) for x in given[place]]
        clip = given[place][0]
        return Row(
            system=card.system,
            format=f"{target} {precision}",
            takes=TAKES[place],
            bytes=size_of(manifest),
            ua=ua_of(answers, fold),
            parity=Parity.of(answers, expected, "the speaker left out"),
            time=ratio(partial(answer, clip), partial(pytorch[place], clip), runs),
            arena=arena_of(manifest, out),
        )

    for form in formats():
        yield kept(f"{card.system}-{'-'.join(form)}", partial(one, *form))


def exported(model: Path, out: Path, what: tuple[str, str, str], clips: ClipSet) -> Manifest | None:
    """Export, or say why that is refused."""
    target, precision, frontend = what
    try:
        return export_model(
            model, out, target=target, precision=precision, frontend=frontend, clips=clips
        )
    except LightserError as error:
        say(str(error))
        return None


def measure_shipped(recipe: str, table: pd.DataFrame, folder: Path) -> Iterator[Row | None]:
    """Yield the parity of the bundled weights, on clips that int8 was not calibrated on."""
    name = Path(recipe).name

    def one(target: str, precision: str) -> Row | None:
        out = folder / f"{name}-{target}-{precision}"
        manifest = exported(find_model(name), out, (target, precision, "in"), clips_of(table))
        if manifest is None:
            return None
        return Row(
            system=name,
            format=f"{target} {precision}",
            takes="samples",
            bytes=size_of(manifest),
            ua=None,
            parity=manifest.parity,
            time=math.nan,
        )

    for target in WHOLE:
        for precision in EXPORTERS[target].precisions:
            yield kept(f"{name}-{target}-{precision}", partial(one, target, precision))


def arena_of(manifest: Manifest, out: Path) -> int | None:
    """Return what TensorFlow Lite Micro asks for, if it can run this file."""
    if "arena_bytes" in manifest.interface:
        return int(manifest.interface["arena_bytes"]["total"])
    if (manifest.target, manifest.precision, manifest.frontend["place"]) != (
        "litert",
        "int8",
        "out",
    ):
        return None
    try:
        return arena((out / next(iter(manifest.files))).read_bytes()).total
    except LightserError as error:
        say(str(error))
        return None


def remembering(convert: Callable[[nn.Module, Tensor], bytes]) -> Callable[..., bytes]:
    """Return a converter that takes its time only once for the same module and shape."""
    known: dict[str, bytes] = {}

    def remembered(module: nn.Module, example: Tensor) -> bytes:
        key = hashlib.sha256(
            repr((module, vars(module).get("standardize"), example.shape)).encode()
        )
        for tensor in module.state_dict().values():
            key.update(tensor.numpy().tobytes())
        if key.hexdigest() not in known:
            known[key.hexdigest()] = convert(module, example)
        return known[key.hexdigest()]

    return remembered


def size_of(manifest: Manifest) -> int:
    """Return the bytes of the model itself, without what stands beside it."""
    first = next(iter(manifest.files.values()))
    return int(manifest.interface.get("model_bytes", first.bytes))


def ua_of(answers: list[NDArray[np.float32]], fold: Fold) -> float:
    decided = [int(p.argmax()) for p in answers]
    return ua(confusion(fold.truth, decided, len(fold.labels)))


def ratio(run: Callable[[], Any], reference: Callable[[], Any], runs: int) -> float:
    """Return the median of how many times longer ``run`` takes; the two take turns."""
    ratios = []
    with torch.inference_mode():
        for i in range(WARM_UP + runs):
            began = time.perf_counter()
            run()
            between = time.perf_counter()
            reference()
            if i >= WARM_UP:
                ratios.append((between - began) / (time.perf_counter() - between))
    return float(np.median(ratios))


def classic(fold: Fold, runs: int) -> Row:
    """Train openSMILE's ComParE functionals and a linear SVM on the same speakers."""
    say("ComParE functionals and a linear SVM")
    _, system = open_folder(find_model("emodb-light_sernet"))
    cache = cache_folder().parent
    x, unheard = (
        functionals_of("compare", rows["file"], rows["start"], rows["end"], cache=cache)
        for rows in (fold.heard, fold.unheard)
    )
    machine = FunctionalsSvm((1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 0.1))
    machine.fit(x, *(fold.heard[column].to_numpy(dtype=str) for column in ("label", "speaker")))
    decided = machine.labels[machine.probabilities(unheard).argmax(axis=1)]
    extract = extractor("compare")
    samples = np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32)
    clip = torch.from_numpy(samples)[None]
    return Row(
        system="openSMILE ComParE, linear SVM",
        format="scikit-learn",
        takes="samples",
        bytes=len(pickle.dumps(machine)),
        ua=ua(confusion(fold.truth, [fold.labels.index(x) for x in decided], len(fold.labels))),
        parity=None,
        time=ratio(
            lambda: machine.probabilities(extract(samples)[None]), lambda: system(clip), runs // 4
        ),
    )


class Wav2Vec2Sized(nn.Module):
    """A network of the shape of wav2vec 2.0 base (Baevski et al. 2020), its weights random."""

    def __init__(self, n_classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        n_in = 1
        for kernel, stride in [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]:
            layers += [nn.Conv1d(n_in, 512, kernel, stride, bias=False)]
            layers += [nn.GroupNorm(512, 512)] if n_in == 1 else []
            layers += [nn.GELU()]
            n_in = 512
        self.convolutions = nn.Sequential(*layers)
        self.project = nn.Sequential(nn.LayerNorm(512), nn.Linear(512, 768))
        self.position = nn.Conv1d(768, 768, 128, padding=64, groups=16)
        layer = nn.TransformerEncoderLayer(768, 12, 3072, activation="gelu", batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 12)
        self.classifier = nn.Linear(768, n_classes)

    def forward(self, samples: Tensor) -> Tensor:
        x = self.project(self.convolutions(samples[:, None]).transpose(1, 2))
        position = self.position(x.transpose(1, 2))[..., : x.shape[1]]
        x = self.transformer(x + nn.functional.gelu(position).transpose(1, 2))
        return self.classifier(x.mean(dim=1)).softmax(dim=1)


def wav2vec2_sized(fold: Fold, runs: int) -> Row:
    say("a network of wav2vec 2.0's size")
    _, system = open_folder(find_model("emodb-light_sernet"))
    big = Wav2Vec2Sized(len(fold.labels)).eval()
    clip = torch.randn(1, 48000, generator=torch.Generator().manual_seed(0)) / 10
    return Row(
        system="wav2vec 2.0 base's size, random",
        format="PyTorch, eager",
        takes="samples",
        bytes=4 * sum(p.numel() for p in big.parameters()),
        ua=None,
        parity=None,
        time=ratio(lambda: big(clip), lambda: system(clip), max(5, runs // 8)),
    )


HEAD = (
    "system", "format", "takes", "bytes", "UA", "same label, %", "largest difference",
    "time / PyTorch", "arena",
)  # fmt: skip


def as_markdown(rows: list[Row], shipped: list[Row], fold: Fold) -> str:
    speaker, n_clips = fold.unheard["speaker"].iloc[0], len(fold.unheard)
    n_shipped = max(row.parity.clips for row in shipped if row.parity is not None)
    lines = [
        "# Formats: bytes, scores, time",
        "",
        *paragraph(
            """Generated by `python benchmarks/formats.py emodb=DIR`; edit that, not this page. How
            a model is exported is said in [Ship a model](export.md)."""
        ),
        *paragraph(
            f"""The honest recipes, trained without speaker {speaker} of Emo-DB and exported, int8
            calibrated on clips of the other nine. UA (in percent) and the comparison with PyTorch
            are of the {n_clips} clips of speaker {speaker}, whom neither training nor calibration
            has heard. That is one speaker: differences within a system mean something, those
            between systems little."""
        ),
        *paragraph(
            """Times are for 3 s of speech on one thread, divided by what PyTorch takes for the
            same (in the last two rows: for Light-SERNet from samples), the two taking turns. Bytes
            are of the model file; with the front end inside, its float32 constants count. The arena
            is what TensorFlow Lite Micro asks for."""
        ),
        "| " + " | ".join(HEAD) + " |",
        "|---|---|---|" + "---:|" * (len(HEAD) - 3),
        *("| " + " | ".join(row.cells()) + " |" for row in rows),
        "",
        *paragraph(
            """openSMILE's licence forbids commercial use; its library and configuration, some
            megabytes, are not in the bytes of its row. The network of the size of wav2vec 2.0 base
            has random weights: only its bytes and its time mean something."""
        ),
        "## The bundled models",
        "",
        *paragraph(
            f"""On {n_shipped} clips of Emo-DB that int8 was not calibrated on. These models have
            heard all of Emo-DB in training: the table says how near an export is to its model, and
            not how good it is."""
        ),
        "| model | format | bytes | same label, % | largest difference | mean difference |",
        "|---|---|---:|---:|---:|---:|",
        *(
            f"| {row.system} | {row.format} | {row.bytes:,} "
            f"| {100 * row.parity.label_agreement:.1f} "
            f"| {row.parity.max_difference:.1g} | {row.parity.mean_difference:.1g} |"
            for row in shipped
            if row.parity is not None
        ),
    ]
    return "\n".join(lines) + "\n"


def paragraph(words: str) -> list[str]:
    """Return lines of a paragraph, and an empty one."""
    return [*textwrap.wrap(" ".join(words.split()), 100, break_on_hyphens=False), ""]


if __name__ == "__main__":
    try:
        main()
    except LightserError as error:
        raise SystemExit(f"Error: {error}") from None
