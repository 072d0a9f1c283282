"""Tables of results: their cells, Markdown and CSV."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from lightser.corpora import CORPORA
from lightser.report.results import Result, interval, protocol_words, published, selection_gain

HONEST = "Honest: the test speakers had no part in training or in choosing the epoch"
LAX = "Lenient: the test speakers, or the test set itself, had a part in training"
ADAPTED = "Transductive: the model was adapted to the test speakers, without their labels"
TRAINING = "Training scores: the model has heard these very utterances"
HEADINGS = (HONEST, ADAPTED, LAX, TRAINING)

HEADERS = (
    "System",
    "Protocol",
    "UA [95 %]",
    "WA",
    "Macro F1",
    "UA, fold mean ± std",
    "Published UA / WA",
    "Parameters",
    "Runs",
)
NOTES = (
    "UA (unweighted accuracy, also UAR: the mean recall of the classes) and WA (accuracy) in per "
    "cent, pooled over folds, mean over seeds. In brackets: 95 % bootstrap interval over speakers.",
    "The fold mean is the mean of each fold's own UA, ± its standard deviation; "
    "papers print one or the other. Differences are taken before rounding.",
)


def percent(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction in per cent, or a dash where it is unknown.

    >>> percent(0.8034), percent(0.9415, 2), percent(None)
    ('80.3', '94.15', '–')
    """
    return "–" if fraction is None else f"{100 * fraction:.{digits}f}"


def heading_of(result: Result) -> str:
    """Return under which of the :data:`HEADINGS` a result stands."""
    if result.is_honest:
        return HONEST
    if result.scores.get("protocol") == "training score":
        return TRAINING
    return ADAPTED if result.is_untaught else LAX


def ordered(results: Iterable[Result]) -> list[Result]:
    """Sort by what was tested, honest results first, the highest UA first."""
    return sorted(
        results,
        key=lambda r: (
            "+" in r.tested,  # several corpora come last
            r.tested,
            HEADINGS.index(heading_of(r)),
            -r.scores["pooled"]["ua"],
            r.name,
        ),
    )


def telling(results: Iterable[Result]) -> list[Result]:
    """Return what says something about a system: of each recipe what reaches furthest.

    Quick runs say nothing, and are told only where there is nothing else.
    """
    everything = list(results)
    slow = [result for result in everything if not result.is_quick]
    furthest: dict[str, tuple[bool, bool, float]] = {}
    for result in slow:
        furthest[result.name] = max(furthest.get(result.name, result.reach), result.reach)
    return [result for result in slow if result.reach == furthest[result.name]] or everything


def grouped(results: Iterable[Result]) -> list[tuple[str, str, list[Result]]]:
    """Return (what was tested, heading, results) for each group that a table keeps apart.

    Scores on other utterances are another table: which of two is higher would say nothing.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in ordered(results):
        groups.setdefault((result.tested, heading_of(result)), []).append(result)
    return [(tested, heading, group) for (tested, heading), group in groups.items()]


def ua_cell(result: Result) -> str:
    """Return for example ``80.3 [74.1–85.0]``."""
    return percent(result.scores["pooled"]["ua"]) + in_brackets(interval(result, "ua"))


def in_brackets(ends: Sequence[float] | None) -> str:
    """Return an interval as it stands behind a score; "" where there is none."""
    return f" [{percent(ends[0])}–{percent(ends[1])}]" if ends else ""


def published_cell(result: Result) -> str:
    """Return for example ``94.15 / 94.21``, or "" where no paper has this row.

    What a paper prints as means over folds is marked so: the pooled score is another one.
    """
    ua, wa = published(result, "ua"), published(result, "wa")
    if ua is None and wa is None:
        return ""
    mark = ", fold mean" if result.published_statistic == "fold_mean" else ""
    return f"{percent(ua, 2)} / {percent(wa, 2)}{mark}"


def fold_mean_cell(result: Result) -> str:
    """Return for example ``79.2 ± 11.9``, or a dash where there is one fold only."""
    if result.predictions["fold"].nunique() < 2:
        return "–"
    by_fold = result.scores["fold_mean"]["ua"]
    return f"{percent(by_fold['mean'])} ± {percent(by_fold['std'])}"


def parameters_cell(result: Result) -> str:
    parameters = result.scores.get("parameters")
    return f"{parameters:,}" if parameters else "–"


def runs_cell(result: Result) -> str:
    """Return how many jobs stand behind a result, and how many of the planned ones."""
    if result.part_words:
        return result.part_words
    folds, seeds = result.predictions["fold"].nunique(), len(result.seeds)
    return (
        f"{folds} fold{'s' * (folds != 1)} × {seeds} seed{'s' * (seeds != 1)}"
        if folds > 1 or seeds > 1
        else "1"
    )


def protocol_cell(result: Result) -> str:
    """Return protocol, choice of the epoch, and what must be said beside them."""
    unsaid = [words for words in result.caveats if words != "selected on test"]
    chosen = protocol_words(result)
    if result.scores.get("selected_on") == "test_wa":
        chosen = f"{result.scores.get('protocol')}, SELECTED ON TEST"
    return "; ".join([chosen, *unsaid])


def cells(result: Result) -> tuple[str, ...]:
    """Return the texts under :data:`HEADERS`."""
    pooled = result.scores["pooled"]
    return (
        result.title,
        protocol_cell(result),
        ua_cell(result),
        percent(pooled["wa"]),
        percent(pooled["macro_f1"]),
        fold_mean_cell(result),
        published_cell(result),
        parameters_cell(result),
        runs_cell(result),
    )


def parts_of(result: Result) -> list[tuple[str, ...]]:
    """Return the texts under :data:`HEADERS` for each corpus of a result that is on several."""
    return [
        (
            short_title(corpus),
            "",
            percent(scores["pooled"]["ua"])
            + in_brackets((scores["interval_speakers"] or {}).get("ua")),
            percent(scores["pooled"]["wa"]),
            percent(scores["pooled"]["macro_f1"]),
            *("", "", ""),
            f"{scores['n_speakers']} speakers",
        )
        for corpus, scores in sorted(result.scores.get("by_corpus", {}).items())
    ]


def short_title(corpus: str) -> str:
    """Return what people call a corpus, or several; a name that is not known stays.

    >>> [short_title(name) for name in ("emodb", "iemocap", "nemo+ravdess", "ours")]
    ['Emo-DB', 'IEMOCAP', 'nEMO + RAVDESS', 'ours']
    """
    if "+" in corpus:
        return " + ".join(map(short_title, corpus.split("+")))
    if corpus not in CORPORA or not CORPORA[corpus].cite:  # somebody's own
        return corpus
    title = CORPORA[corpus].title
    return title.partition("(")[2].partition(")")[0] or title.partition(":")[0]


def to_markdown(results: Iterable[Result]) -> str:
    """Return one Markdown table per corpus and kind of protocol, notes below."""
    parts = []
    for tested, heading, group in grouped(results):
        name, words = heading.split(":", 1)
        rows = []
        for result in group:
            title, *rest = (escape_markdown(text) for text in cells(result))
            rows.append((f"{title} (`{result.name}`)", *rest))
            rows += [(f"– of these, {name}", *rest) for name, *rest in parts_of(result)]
        table = markdown_table(HEADERS, rows, words=2)
        parts.append(f"**{short_title(tested)}, {name.lower()}**:{words}\n\n{table}")
    return "\n\n".join([*parts, "\n".join(NOTES)]) + "\n"


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Return a table of cells in Markdown; all columns but the first ``words`` are set right."""
    rule = ["---"] * words + ["---:"] * (len(headers) - words)
    lines = [f"| {' | '.join(headers)} |", f"|{'|'.join(rule)}|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def escape_markdown(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is."""
    return re.sub(r"([|\\`*_<])", r"\\\1", text)


def to_csv(results: Iterable[Result]) -> str:
    """Return one row per result, scores as fractions, for a spreadsheet or a program."""
    rows = [_record(result) for result in ordered(results)]
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _record(result: Result) -> dict[str, object]:
    scores = result.scores
    ua_ends, wa_ends = interval(result, "ua"), interval(result, "wa")
    gain = selection_gain(result.history)
    return {
        "recipe": result.name,
        "title": result.title,
        "system": result.system,
        "corpus": result.corpus,
        "protocol": scores.get("protocol", ""),
        "selected_on": scores.get("selected_on", ""),
        "honest": int(result.is_honest),
        "caveats": "; ".join(result.caveats),
        "ua": _rounded(scores["pooled"]["ua"]),
        "ua_low": _rounded(ua_ends[0]) if ua_ends else "",
        "ua_high": _rounded(ua_ends[1]) if ua_ends else "",
        "wa": _rounded(scores["pooled"]["wa"]),
        "wa_low": _rounded(wa_ends[0]) if wa_ends else "",
        "wa_high": _rounded(wa_ends[1]) if wa_ends else "",
        "macro_f1": _rounded(scores["pooled"]["macro_f1"]),
        "weighted_f1": _rounded(scores["pooled"]["weighted_f1"]),
        "ece": _rounded(scores["pooled"]["ece"]),
        "fold_mean_ua": _rounded(scores["fold_mean"]["ua"]["mean"]),
        "fold_std_ua": _rounded(scores["fold_mean"]["ua"]["std"]),
        "selection_gain_wa": _rounded(gain.gain) if gain else "",
        "published_ua": _rounded(published(result, "ua")),
        "published_wa": _rounded(published(result, "wa")),
        "published_source": (scores.get("published") or {}).get("source", ""),
        "parameters": scores.get("parameters") or "",
        "seeds": len(result.seeds),
        "jobs_done": scores.get("folds_done", ""),
        "jobs_planned": scores.get("folds_planned", ""),
        "quick": int(bool(scores.get("quick", False))),
        "length": result.length,
        "utterances": scores["n_utterances"],
        "speakers": scores["n_speakers"],
        "commit": scores.get("commit", ""),
    }


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 6)
