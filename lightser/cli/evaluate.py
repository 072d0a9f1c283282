"""``lightser evaluate``: a trained model on a corpus that it has not heard."""

import difflib
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightser.card import HEARD, OTHER_CORPUS, Card, Score, read_card, write_card
from lightser.cli import app
from lightser.cli.chosen_labels import Labels, read_labels
from lightser.cli.corpus import Options, progress_bar, read_options
from lightser.cli.corpus_answers import predict_adapted, predict_all
from lightser.cli.corpus_folders import corpus_folders
from lightser.cli.own_code import HELP as CODE_HELP
from lightser.cli.own_code import run_own_code
from lightser.cli.warned import spoken_warnings
from lightser.errors import BadCorpus, BadResults, LightserError, MissingExtra, UnknownName
from lightser.names import printable
from lightser.whole import write_whole

if TYPE_CHECKING:
    import pandas as pd

    from lightser.inference import Recognizer

TRAINING = "training score"


@app.command(
    epilog="Example: lightser evaluate default --corpus ravdess=~/corpora/ravdess "
    "--map calm=neutral --out results/default-on-ravdess"
)
def evaluate(
    model: Annotated[str, typer.Argument(help="A name from: lightser models, or a model folder.")],
    corpus: Annotated[str, typer.Option(metavar="NAME=DIR", help="The corpus and where it is.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Results folder to write: the predictions table and the scores."),
    ] = None,
    map: Annotated[
        str | None,
        typer.Option(
            metavar="CORPUS=MODEL,...",
            help="Labels of the corpus in the model's words, as joy=happiness,calm=neutral; "
            "surprise= leaves one out.",
        ),
    ] = None,
    labels: Labels = None,
    option: Options = None,
    adapt: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Adapt the model to each speaker, by N of their utterances without labels, and "
            "score the others.",
        ),
    ] = None,
    unlabelled: Annotated[
        str,
        typer.Option(
            metavar="leave out|keep",
            help="Rows of a table without a label: keep writes the answers to them to "
            "unlabelled.csv in the results folder.",
        ),
    ] = "leave out",
    code: Annotated[Path | None, typer.Option(help=CODE_HELP)] = None,
    on_card: Annotated[
        bool,
        typer.Option(
            "--on-card", help="Put the score on the model's card, beside those that are there."
        ),
    ] = False,
    threads: Annotated[int, typer.Option(help="Windows to listen to side by side.")] = 1,
) -> None:
    """Score a trained model on every utterance of a corpus.

    Labels are matched by name. Utterances whose label the model does not know are left out, and
    counted. Exit code 2 if some could not be read; the others are scored all the same.
    """
    try:
        from lightser.corpora import CORPORA, load_corpus
        from lightser.corpora.table import UNLABELLED
        from lightser.training.scores import score_predictions, scores_for_card
    except ImportError as error:
        raise MissingExtra("Evaluating", "train") from error
    from lightser.bundled import DEFAULT, find_model, known_models
    from lightser.inference import Recognizer

    run_own_code(code)
    ((name, folder),) = corpus_folders([corpus]).items()
    if out is not None:
        refuse_other_results(out)
    if on_card and adapt:
        raise LightserError("--on-card quotes the model as it is; leave out --adapt")
    if on_card and (model == DEFAULT or model in known_models()):
        raise LightserError(
            f"--on-card: '{model}' comes with lightser, for all who use it here; copy its folder "
            f"({find_model(model)}), and give that"
        )
    with spoken_warnings():
        recognizer = Recognizer.load(model, labels=read_labels(labels), threads=threads)
        options = read_options(CORPORA[name], option or [])
        if unlabelled != "leave out":
            options |= read_options(CORPORA[name], [f"unlabelled={unlabelled}"])
            if out is None:
                raise LightserError("--unlabelled keep writes to a results folder; give --out")
        table = load_corpus(name, folder, **options)
        without = (table["label"] == UNLABELLED) & (unlabelled == "keep")
        blank, table = table[without], table[~without]
        if table.empty:
            raise BadCorpus(
                f"None of the {len(blank)} rows has a label to score by; lightser predict "
                "--manifest hears them"
            )
        match = match_labels(table["label"], recognizer.labels, read_map(map))
        heard = has_heard(recognizer.card, {name, *table["corpus"]})
        kept = table[table["label"].isin(list(match.names))]
        for line in warnings_of(recognizer.card, name, heard, match):
            print(f"lightser: {line}", file=sys.stderr)
        n_again = 0
        if not heard:
            kept, n_again = without_heard(recognizer, kept, name)
        if on_card:
            refuse_for_card(recognizer.card, name, heard, n_again, kept)

        began = time.monotonic()
        with progress_bar(f"Listening to {name}") as tell:
            if adapt:
                answers = predict_adapted(recognizer, kept, match.names, tell, n=adapt)
            else:
                answers = predict_all(recognizer, kept, match.names, tell)
            predictions, problems = answers
        unscored, unheard = predict_all(recognizer, blank, {UNLABELLED: ""}, lambda i, of: None)
    if predictions.empty:
        raise BadCorpus(f"None of the {len(kept)} utterances could be read: {problems[0]}")
    scores = score_predictions(predictions, recognizer.labels)
    minutes = (time.monotonic() - began) / 60
    parts = list(dict.fromkeys(predictions["corpus"]))
    unread = len(problems)
    facts = describe(
        recognizer,
        name,
        parts,
        heard,
        match,
        n_again=n_again,
        adapt=adapt or 0,
        unread=unread,
        minutes=minutes,
    )
    if out is not None:
        write_results(out, predictions, facts | scores)
        if not blank.empty:
            text = unscored.to_csv(index=False, lineterminator="\n")
            write_whole(out / "unlabelled.csv", text)
    print_scores(predictions, recognizer.labels, facts, scores)
    for problem in (*problems, *unheard):
        print(f"lightser: {printable(str(problem))}", file=sys.stderr)
    if problems:
        print(f"lightser: not in the score: {len(problems)} of {len(kept)}", file=sys.stderr)
        if on_card:
            print("lightser: nor on the card, which quotes whole corpora", file=sys.stderr)
    if problems or unheard:
        raise typer.Exit(2)
    if on_card:
        note_on_card(find_model(model), scores_for_card(facts | scores, chosen_from(recognizer)))


# --- labels ---


@dataclass(frozen=True)
class Match:
    """Which labels of a corpus are which of a model.

    Attributes:
        names: label of the corpus to label of the model.
        left_out: label of the corpus to how many utterances it has, where the model has none.
        never_true: labels of the model that the corpus does not have.
    """

    names: dict[str, str]
    left_out: dict[str, int]
    never_true: tuple[str, ...]


def read_map(text: str | None) -> dict[str, str]:
    """Return label of the corpus to label of the model; "" leaves one out.

    >>> read_map("joy=happiness,surprise=")
    {'joy': 'happiness', 'surprise': ''}
    """
    pairs: dict[str, str] = {}
    for part in text.split(",") if text else []:
        ours, equals, theirs = (word.strip() for word in part.partition("="))
        if not equals or not ours:
            raise LightserError(
                f"--map takes CORPUS=MODEL,..., such as joy=happiness, not '{part}'"
            )
        if pairs.setdefault(ours, theirs) != theirs:
            raise LightserError(f"--map says both '{ours}={pairs[ours]}' and '{ours}={theirs}'")
    return pairs


def match_labels(
    found: "Sequence[str] | pd.Series[str]", known: Sequence[str], mapped: Mapping[str, str]
) -> Match:
    """Match the labels of a corpus with those of a model, by ``mapped`` and else by name.

    Args:
        found: the label of each utterance.
        known: the model's labels.
        mapped: from :func:`read_map`.

    Raises:
        UnknownName: ``mapped`` has a label that corpus or model does not.
        BadCorpus: a label that the model does not have by this name, but perhaps by another; or
            no label in common.

    >>> match_labels(["joy", "calm", "fear"], ["fear", "happiness"], {"joy": "happiness"}).names
    {'fear': 'fear', 'joy': 'happiness'}
    """
    counts = Counter(str(label) for label in found)
    for ours, theirs in mapped.items():
        if ours not in counts:
            raise UnknownName("label of the corpus", ours, counts)
        if theirs and theirs not in known:
            raise UnknownName("label of the model", theirs, known)
    names = {label: mapped.get(label, label) for label in sorted(counts)}
    names = {label: name for label, name in names.items() if name in known}
    left_out = {label: counts[label] for label in sorted(counts) if label not in names}
    for label in left_out:
        like = alike(label, known)
        if like and label not in mapped:
            raise BadCorpus(
                f"The corpus has '{label}', the model '{like}'. Say whether they are the same with "
                f"--map {label}={like}, or leave '{label}' out with --map {label}="
            )
    if not names:
        raise BadCorpus(
            f"The corpus has {', '.join(sorted(counts))}; the model tells {', '.join(known)}: "
            "none in common. Say which are the same with --map joy=happiness,..."
        )
    never_true = tuple(label for label in known if label not in names.values())
    return Match(names, left_out, never_true)


def alike(label: str, known: Sequence[str]) -> str | None:
    """Return the known label that ``label`` may be another spelling of.

    >>> alike("hap", ["happiness", "anger"]), alike("angry", ["happiness", "anger"])
    ('happiness', 'anger')
    >>> alike("surprise", ["happiness", "anger"])
    """
    for name in known:
        if label.lower()[:3] == name.lower()[:3]:
            return name
    close = difflib.get_close_matches(label.lower(), known, n=1, cutoff=0.75)
    return close[0] if close else None


def warnings_of(card: Card, corpus: str, heard: bool, match: Match) -> list[str]:
    """Return what must be said before anybody reads the scores."""
    lines = []
    if heard:
        line = (
            f"WARNING: {card.name} was trained on utterances of {corpus}. This is a training "
            "score, not a test; "
        )
        if card.scores:
            line += f"its card quotes a score on unheard voices: lightser models {card.name}"
        else:
            line += f"lightser reproduce {card.recipe} makes one"
        lines.append(line)
    if match.left_out:
        counted = ", ".join(f"{label} ({n})" for label, n in match.left_out.items())
        lines.append(f"left out, as not among the labels to choose from: {counted}")
    if match.never_true:
        missing = " and no ".join(match.never_true)
        line = f"{corpus} has no {missing}; answers of that kind are wrong"
        occur = sorted(set(match.names.values()))
        if len(occur) > 1:  # there must be something to choose from
            line += f" (--labels {','.join(occur)} chooses from the others)"
        lines.append(line)
    return lines


def without_heard(
    recognizer: "Recognizer", table: "pd.DataFrame", corpus: str
) -> "tuple[pd.DataFrame, int]":
    """Return the utterances that a model was not trained on, by their sound, and how many it was.

    Raises:
        BadCorpus: it was trained on all of them.
    """
    from lightser.corpora.heard import digests, read_heard

    name = recognizer.card.name
    known = read_heard(recognizer.folder, recognizer.card)
    if known is None:
        print(
            f"lightser: {name} keeps no {HEARD}: what it was trained on is known by the names of "
            "corpora alone, and not seen where clips have come into another",
            file=sys.stderr,
        )
        return table, 0
    is_new = [one not in known for one in digests(table)]
    n_again = len(table) - sum(is_new)
    if n_again == len(table):
        raise BadCorpus(
            f"{name} was trained on all {n_again} of these clips of {corpus}, by their sound: "
            "nothing is left to test it on"
        )
    if n_again:
        print(
            f"lightser: left out, as {name} was trained on them: {n_again} of {len(table)} clips; "
            "others may be of the same voices",
            file=sys.stderr,
        )
    return table[is_new], n_again


def has_heard(card: Card, corpora: set[str]) -> bool:
    """Return whether a model was trained on one of the corpora that utterances are of.

    A table or a folder of somebody's own may hold what the model was trained on under another name;
    see :func:`without_heard`.
    """
    return any(trained.corpus in corpora for trained in card.trained_on)


# --- what is written and printed ---


def describe(
    recognizer: "Recognizer",
    corpus: str,
    parts: Sequence[str],
    heard: bool,
    match: Match,
    *,
    n_again: int,
    adapt: int,
    unread: int,
    minutes: float,
) -> dict[str, Any]:
    """Return what ``scores.json`` says beside the scores, as after training.

    Args:
        recognizer: that was asked.
        corpus: as it was asked for.
        parts: the corpora that its utterances are of.
        heard: whether the model was trained on one of them.
        match: whose labels were scored.
        n_again: how many other utterances were left out, as it was trained on them.
        adapt: to how many utterances of each speaker it was adapted.
        unread: how many utterances could not be read.
        minutes: that it took.
    """
    import lightser
    from lightser.report.tables import short_title

    card = recognizer.card
    trained = ", ".join(part.corpus for part in card.trained_on)
    if heard:
        note = f"Trained on {trained} and scored on {corpus}: a training score, not a test."
    else:
        some = "" if adapt or unread or n_again else "all "
        note = f"Trained on {trained}, tested on {some}{in_words(match.names)} of {in_words(parts)}"
        note += "." if adapt else ", to which nothing was adapted."
    if adapt:
        note += (
            f" For each speaker anew it was adapted to {adapt} other utterances of theirs, without "
            "labels."
        )
    if n_again:
        note += f" {n_again} clips that it was trained on were left out."
    if unread:
        note += f" {unread} utterance{'s' * (unread != 1)} could not be read."
    if match.left_out:
        note += f" Left out: {', '.join(f'{label} ({n})' for label, n in match.left_out.items())}."
    title = f"{card.name} on {in_words(map(short_title, sorted(parts)))}"
    if chosen := chosen_from(recognizer):
        note += f" It chose from {in_words(chosen)}."
        title += f", choosing from {len(chosen)} labels"
    if adapt:
        title += f", adapted to {adapt} of each speaker"
    return {
        "title": title,
        "system": card.system,
        "model": card.name,
        "commit": card.commit,
        "seeds": [card.seed],
        "quick": False,
        "complete": not unread,
        "unread": unread,
        "folds_done": 1,
        "folds_planned": 1,
        "protocol": TRAINING if heard else OTHER_CORPUS,
        "protocol_note": note,
        "selected_on": "",
        "speaker_independent": not heard and not n_again,
        "transductive": adapt > 0,
        "corpus": corpus,
        "labels": list(recognizer.labels),
        "label_map": match.names,
        "left_out": match.left_out,
        "parameters": card.parameters,
        "published": None,
        "machine": f"{platform.machine()}, cpu",
        "versions": {"lightser": lightser.__version__},
        "minutes": round(minutes, 2),
    }


def chosen_from(recognizer: "Recognizer") -> Sequence[str]:
    """Return the labels that it chose from, or none if from all of its model's."""
    return recognizer.labels if len(recognizer.labels) < len(recognizer.card.labels) else ()


def in_words(names: Iterable[str]) -> str:
    """Return names as people list them.

    >>> in_words(["anger", "fear", "sadness"])
    'anger, fear and sadness'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def refuse_other_results(out: Path) -> None:
    """Never write over the results of a training run."""
    path = out / "scores.json"
    if not path.is_file():
        return
    try:
        protocol = json.loads(path.read_text(encoding="utf-8")).get("protocol")
    except (OSError, ValueError, AttributeError):
        protocol = None
    if protocol not in (TRAINING, OTHER_CORPUS):
        raise BadResults(f"{out} holds results of another kind; give another --out")


def refuse_for_card(
    card: Card, corpus: str, heard: bool, n_again: int, table: "pd.DataFrame"
) -> None:
    """Refuse what a card must not quote: training scores, and those that say nothing of others.

    Raises:
        BadResults: with the reason.
    """
    if heard:
        raise BadResults(
            f"{card.name} was trained on utterances of {corpus}; a card quotes no training score"
        )
    if n_again:
        raise BadResults(
            f"{card.name} was trained on {n_again} of the clips; a card quotes whole corpora of "
            "which it has heard nothing"
        )
    for part, rows in table.groupby("corpus"):
        named = rows["speaker"].notna() & (rows["speaker"] != "")
        if not named.all() or rows["speaker"].nunique() < 2:
            raise BadResults(
                f"{part} has one speaker, or some that are unknown: no interval over speakers, "
                "without which a card quotes no score"
            )


def note_on_card(folder: Path, scores: Sequence[Score]) -> None:
    """Put scores on other corpora on a model's card, in the place of earlier ones on the same.

    Args:
        folder: the model's.
        scores: of all utterances, and of each corpus where they are of several.
    """
    card = read_card(folder)
    new = {score.corpus: score for score in scores[1:] or scores}
    others = {score.corpus: score for score in card.scores if score.protocol == OTHER_CORPUS}
    kept = [score for score in card.scores if score.protocol != OTHER_CORPUS]
    write_card(folder, replace(card, scores=(*kept, *(others | new).values())))
    print(f"lightser: now on the card of {card.name}", file=sys.stderr)


def write_results(out: Path, predictions: "pd.DataFrame", scores: Mapping[str, Any]) -> None:
    """Write the results folder; ``scores.json`` comes last, and makes it one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadResults(f"Cannot make the folder {out}: {error.strerror}") from error
    write_whole(out / "predictions.csv", predictions.to_csv(index=False, lineterminator="\n"))
    write_whole(out / "scores.json", json.dumps(scores, indent=1, ensure_ascii=False) + "\n")


def print_scores(
    predictions: "pd.DataFrame",
    labels: Sequence[str],
    facts: Mapping[str, Any],
    scores: Mapping[str, Any],
) -> None:
    """Print the scores with their intervals, and the confusion matrix."""
    pooled, speakers = scores["pooled"], scores["interval_speakers"]
    print(f"{facts['title']}: {scores['n_utterances']} utterances")
    print(f"{facts['protocol']}. {facts['protocol_note']}\n")
    over = f"over {scores['n_speakers']} speakers"
    for name, key in (("UA", "ua"), ("WA", "wa"), ("macro F1", "macro_f1")):
        line = f"{name:<9}{100 * pooled[key]:5.1f}"
        if speakers and key in speakers:
            low, high = speakers[key]
            line += f"  [{100 * low:.1f}–{100 * high:.1f}] {over}"
        print(line)
    print(f"{'ECE':<9}{100 * pooled['ece']:5.1f}")
    if told := scores["activation"]:
        print(
            f"aroused or calm: AUROC {100 * told['auroc']:.1f}, UA {100 * told['ua']:.1f}, "
            f"ECE {100 * told['ece']:.1f}"
        )
    if not speakers:
        print("No interval over speakers: there is one only, or some are unknown.")
    print()
    for line in confusion_lines(predictions, labels):
        print(line)


def confusion_lines(predictions: "pd.DataFrame", labels: Sequence[str]) -> list[str]:
    """Return the confusion matrix as text: counts, rows are the truth; the recall at the end."""
    from lightser import metrics

    matrix = metrics.confusion(
        metrics.class_indices(predictions["truth"], labels),
        metrics.class_indices(predictions["predicted"], labels),
        len(labels),
    )
    first = max(len(label) for label in [*labels, "truth"])
    widths = [max(len(label), 4) for label in labels]
    head = "  ".join(f"{label:>{width}}" for label, width in zip(labels, widths, strict=True))
    lines = [f"{'truth':<{first}}  {head}  recall"]
    for label, row, recall in zip(labels, matrix, metrics.recalls(matrix), strict=True):
        if not row.sum():
            continue
        counts = "  ".join(
            f"{count or '·':>{width}}" for count, width in zip(row, widths, strict=True)
        )
        lines.append(f"{label:<{first}}  {counts}  {100 * recall:6.1f}")
    return lines
