"""One page about results: a single HTML file that asks nothing of the network.

The honest results come first, and are apart from those whose protocol saw the test speakers or
the test set: by colour, by shape, by pattern and in words.
"""

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

import lightser
from lightser.corpora import CORPORA
from lightser.report import plots
from lightser.report.papers import (
    Row,
    belongs_to_papers,
    classics,
    is_rung,
    lacking,
    paper_tables,
)
from lightser.report.results import (
    Result,
    families,
    fingerprint,
    protocol_words,
    published,
    selection_gain,
)
from lightser.report.rows import looked_at
from lightser.report.rows_html import (
    Scale,
    ladder_section,
    papers_section,
    rows_section,
    uas_of,
)
from lightser.report.tables import (
    HEADERS,
    fold_mean_cell,
    grouped,
    in_brackets,
    ordered,
    parameters_cell,
    parts_of,
    percent,
    protocol_cell,
    published_cell,
    runs_cell,
    short_title,
    telling,
)
from lightser.whole import write_whole

OTHER_CORPUS = "other corpus"  # the protocol of `lightser evaluate`
CSS = Path(__file__).with_name("page.css")

TERMS = (
    ("UA", "unweighted accuracy: the mean over classes of the share of each that is recognised."),
    ("WA", "weighted accuracy: the share of all utterances that is recognised."),
    (
        "Pooled",
        "the decisions of all folds go into one confusion matrix. With several seeds, each seed is "
        "scored on its own, and the mean of these scores is printed.",
    ),
    (
        "Fold mean",
        "each fold of each seed is scored on its own; mean and standard deviation of these. Small "
        "folds that lack a class make it differ from the pooled score.",
    ),
    (
        "95 % interval",
        "whole speakers are drawn with replacement, 2000 times: what if other people had been "
        "recorded? Under protocols that train on the test speakers it says nothing about voices "
        "unheard.",
    ),
    (
        "Honest",
        "no speaker is both in training or validation and in test, the epoch is not chosen on "
        "test, and nothing is normalised with the test speaker's other utterances.",
    ),
    (
        "Lenient",
        "the test speakers, or the test set itself, had a part in training, with or without a "
        "paper that did the same.",
    ),
    (
        "Selection on test",
        "the test accuracy is looked at after every epoch and the best is reported. The curves "
        "show what that is worth: the mean of the best epochs less the mean of the last ones.",
    ),
    (
        "Calibration error",
        "how far the confidence of an answer is from the share of answers of that confidence that "
        "are right, on average (ECE, 15 bins).",
    ),
    ("Published", "as printed in the paper, under the paper's own protocol."),
    ("CE", "cross-entropy, the usual loss; weighted CE counts rare classes for more."),
    ("loso, loco", "leave one speaker out, leave one corpus out: who or what is tested in turn."),
)


def write_page(results: Sequence[Result], path: Path, *, title: str = "Results") -> None:
    """Write the page about ``results`` to ``path``, whole or not at all."""
    write_whole(path, to_html(results, title=title))


def to_html(
    results: Sequence[Result],
    *,
    title: str = "Results",
    rows: Sequence[Row] | None = None,
    remark: str = "",
) -> str:
    """Return the whole page; the same results make the same page, to the byte.

    Args:
        results: in any order.
        title: its heading.
        rows: what it begins with; by default the ladder and all tables of the papers, if one of
            the results belongs there.
        remark: what must be said of all of it.
    """
    results = ordered(results)
    told = telling(results)
    tested = list(dict.fromkeys(result.tested for result in told))
    overviews = "".join(
        _overview(name, [result for result in told if result.tested == name]) for name in tested
    )
    sections = "".join(_section(result) for result in told)
    papers = ""
    if rows is not None:
        papers = rows_section(rows, results, _anchors(results))
    elif any(map(belongs_to_papers, results)):
        papers = _papers(results)
    terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in TERMS)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{CSS.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<p class="kicker">lightser {lightser.__version__}</p>
<h1>{escape(title)}</h1>
{f'<p class="lead lax tone">{escape(remark)}</p>' if remark else ""}
{_lead(results)}
{_contents(tested, papers)}
</header>
<main>
{papers}
{overviews}
<h2 id="results">One by one</h2>
{sections}
</main>
<footer>
<h2 id="terms">How these numbers are made</h2>
<p>Everything here is computed from the predictions tables: one row for each decision about an
utterance, kept beside the recipe that made it.</p>
<dl>{terms}</dl>
</footer>
</body>
</html>
<!-- {fingerprint(results)} -->
"""


def _papers(results: Sequence[Result]) -> str:
    """Return the ladder and the papers' tables, published beside ours."""
    anchors = _anchors(results)
    return ladder_section(results, anchors) + papers_section(
        paper_tables(results), results, anchors
    )


def _anchors(results: Sequence[Result]) -> dict[Path, str]:
    """Return where the page shows each result, by its folder."""
    return {result.folder: _anchor(result) for result in telling(results)}


def _contents(tested: Sequence[str], papers: str) -> str:
    """Return links to the parts of the page."""
    parts = [
        ("ladder", "What protocol is worth"),
        ("papers", "The papers, row by row"),
        ("rows", "Published beside ours"),
    ]
    links = [(at, words) for at, words in parts if f'id="{at}"' in papers]
    links += [(_section_id(name), short_title(name)) for name in tested]
    links += [("results", "One by one"), ("terms", "How these numbers are made")]
    listed = "".join(f'<li><a href="#{at}">{escape(words)}</a></li>' for at, words in links)
    return f'<nav aria-label="On this page"><ul>{listed}</ul></nav>'


def _lead(results: Sequence[Result]) -> str:
    """Say what the page shows: what protocol is worth, and the best of each corpus."""
    told, gap = [], ""
    for tested in dict.fromkeys(result.tested for result in results):
        here = [result for result in results if result.tested == tested]
        honest = [result for result in here if result.is_honest and result.is_whole]
        gap = gap or _gap(here)  # one example is enough; the others are in the tables
        if not honest:
            continue
        best = max(honest, key=lambda result: float(result.scores["pooled"]["ua"]))
        name, score = escape(short_title(tested)), f"{_ua(best, ' UA')}{_ends(best)}"
        if all(result.scores.get("protocol") == OTHER_CORPUS for result in honest):
            told.append(f"{name}, of which it heard nothing: {_link(best)} has {score}.")
            continue
        by = "the classic baseline, " if best.is_classic else ""
        sentence = f"{name}: the best honest result of whole runs is {score} by {by}{_link(best)}."
        classic = classics(honest).get(tested)
        if classic is not None and not best.is_classic:
            sentence += (
                f" The classic baseline, {_link(classic)}, has "
                f"<b>{percent(classic.scores['pooled']['ua'])}</b>."
            )
        told.append(sentence)
    parts = [f'<p class="lead">{gap}</p>'] if gap else []
    if told:
        listed = "".join(f"<li>{sentence}</li>" for sentence in told)
        parts.append(f'<ul class="lead">{listed}</ul>')
    if seen := looked_at(results):
        parts.append(f'<p class="small">{escape(seen)}</p>')
    return "".join(parts)


def _ua(result: Result, unit: str = "") -> str:
    """Return UA in the colour of its kind."""
    ua = percent(result.scores["pooled"]["ua"])
    return f'<b class="tone {result.tone}">{ua}{unit}</b>'


def _gap(results: Sequence[Result]) -> str:
    """Say of a recipe that ran whole under two protocols what the lax one is worth; "" of none."""
    for family in families(results):
        lax, strict = family[0], family[-1]
        has_rungs = any(map(is_rung, family))
        is_whole = lax.is_whole and strict.is_whole
        if is_whole and strict.is_honest and not lax.is_honest and not has_rungs:
            loss = lax.scores["pooled"]["ua"] - strict.scores["pooled"]["ua"]
            return (
                f"One recipe, tested in two ways: {_link(lax)} has {_ua(lax)} under its "
                f"published protocol and {_ua(strict)} under an honest one: "
                f"{percent(loss)} points are the protocol's."
            )
    return ""


def _overview(tested: str, results: Sequence[Result]) -> str:
    figures = [
        _figure(
            plots.to_svg(
                plots.intervals(_by_system(results), plots.PAGE), f"Scores with intervals, {tested}"
            ),
            "How sure each score is",
            "UA with its 95 % interval over speakers. Two whose intervals overlap may still "
            "differ: <code>lightser compare</code>, the paired test, is the way to ask.",
        )
    ]
    for number, family in enumerate(families(results)):
        changed = "nothing changed but how it is tested"
        if any(result.scores.get("protocol") == "text_speaker" for result in family):
            changed = "what changes is how it is tested, and unseen sentences also cost training"
        figures.append(
            _figure(
                plots.to_svg(
                    plots.steps(family, plots.PAGE), f"Steps of protocol {number + 1}, {tested}"
                ),
                "What the protocol is worth",
                f"{escape(family[0].title)}: one recipe, {changed}.",
            )
        )
    return f"""<section id="{_section_id(tested)}">
<h2>{escape(_corpus_title(tested))}</h2>
{_table(results)}
<div class="figures">{"".join(figures)}</div>
{_recalls(results)}
</section>
"""


def _section_id(tested: str) -> str:
    return f"c-{escape(tested)}".replace("+", "-")


def _corpus_title(tested: str) -> str:
    return CORPORA[tested].title if tested in CORPORA else short_title(tested)


def _by_system(results: Sequence[Result]) -> list[Result]:
    """Put the results of one system side by side, the systems in order of their best."""
    best: dict[str, float] = {}
    for result in results:
        ua = float(result.scores["pooled"]["ua"])
        best[result.system] = max(best.get(result.system, 0.0), ua)
    return sorted(results, key=lambda r: (-best[r.system], r.system))


def _table(results: Sequence[Result]) -> str:
    heads = "".join(f'<th scope="col"{_words(i)}>{escape(h)}</th>' for i, h in enumerate(HEADERS))
    scale = Scale(ua for result in results for ua in uas_of(result))
    bodies = []
    for _, heading, group in grouped(results):
        rows = "".join(_row(result, scale) for result in group)
        bodies.append(
            f'<tbody class="{group[0].tone}"><tr class="group"><th colspan="{len(HEADERS)}" '
            f'scope="rowgroup">{escape(heading)}</th></tr>{rows}</tbody>'
        )
    return (
        f'<div class="card wide"><table class="all"><thead><tr>{heads}</tr></thead>'
        f"{''.join(bodies)}</table></div>"
    )


def _words(column: int) -> str:
    return ' class="words"' if column < 2 else ""


def _row(result: Result, scale: Scale) -> str:
    pooled = result.scores["pooled"]
    ua = (
        f'<span class="number">{percent(pooled["ua"])}</span>'
        f'<span class="ends">{_ends(result)}</span>{_bar(result, scale)}'
    )
    plain = (
        percent(pooled["wa"]),
        percent(pooled["macro_f1"]),
        fold_mean_cell(result),
        published_cell(result),
        parameters_cell(result),
        runs_cell(result),
    )
    rest = "".join(
        f'<td data-label="{escape(header)}">{_unbroken(text)}</td>'
        for header, text in zip(HEADERS[3:], plain, strict=True)
    )
    return (
        f'<tr><th scope="row">{_link(result)}<code class="recipe">{escape(result.name)}</code></th>'
        f'<td class="words">{_with_badges(result)}</td>'
        f'<td class="ua" data-label="{HEADERS[2]}">{ua}</td>{rest}</tr>'
        + "".join(map(_part, parts_of(result)))
    )


def _part(part: Sequence[str]) -> str:
    """Show what a result is on one corpus of several, in a row of its own."""
    name, *rest = map(escape, part)
    cells = "".join(
        f'<td data-label="{escape(header)}">{text}</td>'
        for header, text in zip(HEADERS[1:], rest, strict=True)
    )
    return f'<tr class="part"><th scope="row">of these, {name}</th>{cells}</tr>'


def _with_badges(result: Result) -> str:
    protocol = escape(str(result.scores.get("protocol", "")))
    if result.scores.get("selected_on") != "test_wa":
        protocol = escape(protocol_words(result))
    return f"{protocol}<br>{_badges(result)}" if result.caveats else protocol


def _badges(result: Result) -> str:
    return "".join(f'<span class="badge">{escape(words)}</span>' for words in result.caveats)


def _unbroken(text: str) -> str:
    """Let a cell break after a multiplication sign or a comma, and nowhere else."""
    return escape(text).replace(" ", "&nbsp;").replace("×&nbsp;", "× ").replace(",&nbsp;", ", ")


def _bar(result: Result, scale: Scale) -> str:
    """Draw the interval, the score and the published figure on one scale for all rows."""
    ua = published(result, "ua")
    paper = "" if ua is None else scale.mark(ua, "paper")
    return f'<div class="bar" aria-hidden="true">{scale.result(result)}{paper}</div>'


def _recalls(results: Sequence[Result]) -> str:
    """Show each class's recall, in a table for each set of classes."""
    by_labels: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        by_labels.setdefault(tuple(result.labels), []).append(result)
    return f"""<h3 class="apart">Recall by class</h3>
<p class="small">Of each class, the share that is recognised, in per cent.</p>
{"".join(map(_recall_table, by_labels.values()))}"""


def _recall_table(results: Sequence[Result]) -> str:
    labels = results[0].labels
    bodies = []
    for _, heading, group in grouped(results):
        rows = [
            f'<tr class="group {group[0].tone}"><th colspan="{len(labels) + 1}" '
            f'scope="rowgroup">{escape(heading.partition(":")[0])}</th></tr>'
        ]
        for result in group:
            shares = [result.scores["recalls"][label] for label in labels]
            values = "".join(
                f'<td class="recall" style="--share:{share or 0:.3f}">{percent(share, 0)}</td>'
                for share in shares
            )
            rows.append(
                f'<tr class="{result.tone}"><th scope="row">{_link(result)}'
                f"{escape(lacking(result))}</th>{values}</tr>"
            )
        bodies.append(f"<tbody>{''.join(rows)}</tbody>")
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    return f"""<div class="card wide"><table class="recalls" style="--classes:{len(labels)}">
<thead><tr><th scope="col">System</th>{heads}</tr></thead>{"".join(bodies)}
</table></div>"""


def _section(result: Result) -> str:
    scores, pooled = result.scores, result.scores["pooled"]
    numbers = [
        ("UA, pooled" + _ends(result), percent(pooled["ua"])),
        ("WA, pooled" + _ends(result, "wa"), percent(pooled["wa"])),
        ("macro F1", percent(pooled["macro_f1"])),
        ("UA, fold mean ± std", fold_mean_cell(result)),
    ]
    if published_cell(result):
        numbers.append(("published UA / WA", published_cell(result)))
    headline = "".join(
        f"<div><strong>{value}</strong><span>{name}</span></div>" for name, value in numbers
    )
    badges = '<span class="badge good">honest</span>' * result.is_honest + _badges(result)
    facts = [
        ("Recipe", f"<code>{escape(result.name)}</code>"),
        ("Protocol", escape(protocol_cell(result))),
        ("Runs", escape(runs_cell(result))),
        ("Length", escape(_length(result))),
        ("Tested on", f"{scores['n_utterances']} utterances of {scores['n_speakers']} speakers"),
        *(
            (f"Of these, {escape(name)}", f"UA {ua}, WA {wa}, macro F1 {f1}; {who}")
            for name, _, ua, wa, f1, *_, who in parts_of(result)
        ),
        ("Interval over utterances", escape(_ends(result, "ua", "interval_utterances").strip())),
        ("Weighted F1", percent(pooled["weighted_f1"])),
        ("Parameters", parameters_cell(result)),
        ("Published in", escape(str((scores.get("published") or {}).get("source", "")))),
        ("Published protocol", escape(str((scores.get("published") or {}).get("protocol", "")))),
        ("Commit", f"<code>{escape(str(scores.get('commit', '')))}</code>"),
        ("Machine", escape(_machine(result))),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts if text)
    return f"""<article class="result {result.tone}" id="{_anchor(result)}">
<h3>{escape(result.title)}</h3>
{badges}
<div class="headline">{headline}</div>
<p>{escape(str(scores.get("protocol_note", "")))}{_selection(result)}</p>
<div class="figures">{"".join(_figures(result))}</div>
<dl>{listed}</dl>
{_recipe(result)}
</article>
"""


def _figures(result: Result) -> list[str]:
    decisions = f"{result.scores['n_predictions']:,} decisions"
    name = ", ".join(filter(None, [result.name, result.cut_words]))  # runs differ in length, too
    seeds = f" of {len(result.seeds)} seeds" if len(result.seeds) > 1 else ""
    figures = [
        _figure(
            plots.to_svg(plots.confusion(result, plots.PAGE), f"Confusion matrix, {name}"),
            "What is taken for what",
            f"Per cent of each row; below, how many of the {decisions}{seeds}.",
        ),
        _figure(
            plots.to_svg(plots.speakers(result, plots.PAGE), f"UA by speaker, {name}"),
            "Whose voice is hard",
            "UA of each speaker; line and band are the pooled UA and its interval."
            + (" Faint dots are single seeds." if seeds else ""),
        ),
    ]
    if len(result.history):
        figures.append(
            _figure(
                plots.to_svg(plots.learning_curves(result, plots.PAGE), f"Learning curves, {name}"),
                "How training went",
                "Thin: the folds of the first seed. Thick: the mean of all."
                + (
                    " The last epoch is kept." if result.scores.get("selected_on") == "last" else ""
                ),
            )
        )
    figures.append(
        _figure(
            plots.to_svg(plots.reliability(result, plots.PAGE), f"Reliability diagram, {name}"),
            "Whether its confidence can be believed",
            "On the dashed line, an answer given with 70 per cent is right 70 times in 100. "
            "Larger dots stand for more answers.",
        )
    )
    return figures


def _figure(svg: str, heading: str, caption: str) -> str:
    return (
        f'<figure class="card"><figcaption><b>{heading}</b>{caption}</figcaption>{svg}</figure>\n'
    )


def _selection(result: Result) -> str:
    gain = selection_gain(result.history)
    if gain is None:
        return ""
    return (
        f" After the last epoch the test accuracy is {percent(gain.last)} on average, at each "
        f'fold\'s best epoch {percent(gain.best)}: <b class="tone lax">{percent(gain.gain)} '
        f"points come from choosing on test</b>."
    )


def _recipe(result: Result) -> str:
    path = result.folder / "recipe.toml"
    if not path.is_file():
        return ""
    text = escape(path.read_text(encoding="utf-8").strip())
    return f"<details><summary>The whole recipe</summary><pre>{text}</pre></details>"


def _length(result: Result) -> str:
    epochs, updates = result.scores.get("epochs"), result.scores.get("updates")
    length = f"{epochs} epochs" if epochs else f"{updates} updates" if updates else ""
    minutes = result.scores.get("minutes")
    return ", ".join(filter(None, [length, f"{minutes:,.0f} minutes in all" if minutes else ""]))


def _machine(result: Result) -> str:
    versions = result.scores.get("versions") or {}
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    jobs = Counter((result.scores.get("precision_by_job") or {}).values())
    trained = ", ".join(f"{n} {'job' if n == 1 else 'jobs'} in {name}" for name, n in jobs.items())
    return "; ".join(filter(None, [str(result.scores.get("machine", "")), software, trained]))


def _ends(result: Result, score: str = "ua", over: str = "interval_speakers") -> str:
    ends = result.scores[over]
    return in_brackets(ends[score]) if ends else ""


def _anchor(result: Result) -> str:
    return "r-" + "".join(c if c.isalnum() else "-" for c in result.folder.as_posix()).strip("-")


def _link(result: Result) -> str:
    """Return a result's title, as a link where it has a section for sure."""
    title = escape(result.title)
    return title if result.is_quick else f'<a href="#{_anchor(result)}">{title}</a>'
