"""The papers' tables beside what was found: whole, partly finished, quick and missing rows."""

import copy
import json
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_report import Page

from lightser.corpora import CORPORA
from lightser.report import html, rows, rows_html, tables
from lightser.report.papers import (
    TITLES,
    Row,
    absence,
    belongs_to_papers,
    ladder,
    paper_tables,
    progress_words,
)
from lightser.report.results import Result, fingerprint, read_result
from lightser.training.recipe import (
    find_recipe,
    find_recipes,
    quick,
    read_recipe,
    recipe_name,
    shortened,
)
from lightser.training.scores import score_predictions

LABELS = list(CORPORA["emodb"].labels)
ROW = "light_sernet/table1/emodb-ce-3s"
RUNGS = [recipe_name(path) for path in find_recipes(["ladder"])]


def made_up(
    root: Path,
    name: str,
    skill: float,
    *,
    is_quick: bool = False,
    length: float = 1.0,
    done: int = 10,
) -> Result:
    """Write and read a result of a recipe on ten voices, right in ``skill`` of the cases."""
    recipe = read_recipe(find_recipe(name))
    ran = quick(recipe) if is_quick else shortened(recipe, length)
    rng = np.random.default_rng([len(name), round(1000 * skill)])
    rows = []
    for i in range(140):
        truth = LABELS[i % 7]
        answer = truth if rng.random() < skill else LABELS[(i + 3) % 7]
        chances = {f"p_{label}": 0.76 if label == answer else 0.04 for label in LABELS}
        rows.append(
            {"utterance": f"u{i}", "corpus": "emodb", "speaker": f"s{i // 14}", "fold": i // 14,
             "seed": 0, "truth": truth, "predicted": answer, **chances}
        )  # fmt: skip
    folder = root / ("quick" if is_quick else f"length-{length:g}") / name
    folder.mkdir(parents=True)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "predictions.csv", index=False)
    protocol = recipe.protocol.name
    facts = {
        "recipe": name,
        "recipe_sha256": ran.sha256(),
        "full_recipe_sha256": recipe.sha256(),
        "title": recipe.title,
        "corpus": "emodb",
        "labels": LABELS,
        "protocol": protocol,
        "selected_on": recipe.protocol.select or ("test_wa" if protocol == "light_sernet" else ""),
        "speaker_independent": protocol in ("loso", "text_speaker"),
        "seeds": [0],
        "epochs": ran.optim.epochs,
        "updates": ran.optim.updates,
        "quick": is_quick,
        "length": length,
        "complete": done == 10,
        "folds_done": done,
        "folds_planned": 10,
        "published": recipe.to_dict().get("published"),
        **score_predictions(table, LABELS, draws=10),
    }
    (folder / "scores.json").write_text(json.dumps(facts))
    return read_result(folder)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[Result]:
    root = tmp_path_factory.mktemp("results")
    return [
        made_up(root, ROW, 0.93),
        made_up(root, f"honest/{ROW}", 0.8),
        made_up(root, "light_sernet/table1/emodb-focal-3s", 0.9, done=3),
        made_up(root, "zhong2020/table4/emodb-n4-ce", 0.7, is_quick=True),
        *(made_up(root, name, 0.92 - 0.07 * i) for i, name in enumerate(RUNGS[:3])),
        made_up(root, "zhong2020/table4/emodb-n2-ce", 0.6, is_quick=True),
        made_up(root, "zhong2020/table4/emodb-n2-ce", 0.65, length=0.1),
        made_up(root, "zhong2020/table4/emodb-n2-ce", 0.64, length=0.05),
    ]


def row(found: list[Result], name: str):
    return {row.name: row for table in paper_tables(found) for row in table.rows}[name]


def test_all_tables_of_the_papers_are_shown_and_one_that_they_could_not_make(found):
    tables = paper_tables(found)
    assert [table.name for table in tables] == list(TITLES)
    assert sum(len(table.rows) for table in tables) == 57 + 5 + 1 + 8 + 4
    first = next(table for table in tables if table.name == "zhong2020/table4").rows[0]
    assert first.part == "Emo-DB", "what anybody can run comes first"


def test_design_choices_are_shown_below_the_row_that_they_change(found):
    (table,) = (t for t in paper_tables(found) if t.name == "light_sernet/ablations")
    first, *others = table.rows
    assert first.name == ROW and first.ours is found[0]
    assert len(others) == 7 and all(here.name.startswith(table.name) for here in others)
    assert belongs_to_papers(replace(found[0], scores={"recipe": others[0].name}))


def test_a_row_has_the_printed_figure_ours_the_honest_one_and_what_protocol_is_worth(found):
    here = row(found, ROW)
    assert here.ours is found[0] and here.honest is found[1]
    ours, honest = (100 * result.scores["pooled"]["ua"] for result in found[:2])
    title, printed, as_published, strict, worth = rows.cells(here)
    assert printed == "94.15 / 94.21 / 94.16"
    assert as_published.endswith(f" / {100 * found[0].scores['pooled']['weighted_f1']:.1f}")
    assert as_published.startswith(f"{ours:.1f} [") and strict.startswith(f"{honest:.1f} [")
    assert worth == f"+{ours - honest:.1f}"
    assert title == "Light-SERNet, cross-entropy, 3 s (Emo-DB)"


def with_published(here: Row, **says) -> Row:
    """Return a row whose paper prints something else."""
    recipe = replace(here.recipe, published=replace(here.published, **says))
    return replace(here, recipe=recipe)


def test_f1_stands_beside_ua_and_wa_on_both_sides_only_where_it_is_printed(found):
    here = row(found, ROW)
    without = rows.cells(with_published(here, f1=None))
    assert without[1] == "94.15 / 94.21"
    assert [cell.count(" / ") for cell in without[1:4]] == [1, 1, 1]
    assert [cell.count(" / ") for cell in rows.cells(here)[1:4]] == [2, 2, 2]
    assert rows.published_words(with_published(here, ua=None, wa=None)) == "– / – / 94.16"
    assert rows.published_words(with_published(here, ua=None, wa=None, f1=None)) == "–"


def test_f1_is_of_the_average_that_the_paper_prints(found):
    ours = copy.deepcopy(found[0])
    ours.scores["pooled"] |= {"macro_f1": 0.512, "weighted_f1": 0.634}
    here = replace(row(found, ROW), ours=ours)
    for average, printed in (("weighted", "63.4"), ("macro", "51.2")):
        cell = rows.cells(with_published(here, f1_average=average))[2]
        assert cell.endswith(f" / {printed}")


def test_beside_a_published_mean_over_folds_stands_ours_and_says_so(found):
    here = with_published(row(found, ROW), statistic="fold_mean", f1=None)
    honest = copy.deepcopy(found[1])
    for score, mean in (("ua", 0.5), ("wa", 0.6)):
        honest.scores["fold_mean"][score] = {"mean": mean, "std": 0.074}
    here = replace(here, honest=honest)
    _, printed, ours, strict, worth = rows.cells(here)
    assert printed == "94.15 / 94.21"
    assert ours.endswith(f", fold mean; pooled UA {tables.ua_cell(found[0])}")
    assert strict == f"50.0 ± 7.4 / 60.0, fold mean; pooled UA {tables.ua_cell(honest)}"
    means = found[0].scores["fold_mean"]["ua"]["mean"], 0.5
    assert worth == f"+{100 * (means[0] - means[1]):.1f}"
    text = html.to_html([found[0], honest], rows=[here])
    assert "50.0 ± 7.4" in text.replace("&nbsp;", " ")
    assert '<span class="note">fold mean; pooled&nbsp;UA <span>' in text
    dot = rows_html.Scale([0.0]).result(honest, "fold_mean")
    assert 'dot" style="left:50.0%"' in dot and "span" not in dot
    quickly = replace(row(found, "zhong2020/table4/emodb-n4-ce").ours)
    assert "±" not in rows.score_words(quickly, here) and quickly.is_quick


def test_a_row_that_repeats_another_shows_the_same_result(found):
    assert row(found, "light_sernet/table4/emodb-light_sernet").ours is found[0]


def test_what_is_partly_finished_quick_or_missing_says_so(found):
    partly = rows.cells(row(found, "light_sernet/table1/emodb-focal-3s"))
    assert partly[2].endswith("(3 of 10 hold-outs)") and partly[3] == "not run"
    assert partly[4] == "–", "what is not whole is not compared"
    quick_cell = rows.cells(row(found, "zhong2020/table4/emodb-n4-ce"))[2]
    assert quick_cell.endswith("(quick run)") and "[" not in quick_cell
    short = row(found, "zhong2020/table4/emodb-n2-ce")
    assert rows.cells(short)[2].endswith("(10 % of the updates)"), "the longest run counts"
    assert not short.ours.is_whole
    assert rows.cells(row(found, "zhong2020/table4/iemocap-n4-ce"))[2:4] == ("needs IEMOCAP",) * 2
    assert progress_words(found[0]) == ""


def test_a_short_run_of_all_speakers_counts_before_a_part_of_the_whole_length(found, tmp_path):
    name = "light_sernet/table1/emodb-focal-3s"
    short, quickly = (
        made_up(tmp_path, name, 0.8, length=0.1),
        made_up(tmp_path, name, 1, is_quick=True),
    )
    part, whole = found[2], made_up(tmp_path, name, 0.7)
    assert row([quickly, part], name).ours is part
    assert row([quickly, short, part], name).ours is short
    assert row([quickly, short, part, whole], name).ours is whole
    assert tables.telling([quickly, short, part]) == [short]
    assert tables.telling([quickly, short, part, whole]) == [whole]
    (recalls,) = rows.recalls_to_markdown([quickly, short, part, whole])
    assert recalls.count("\n") == 2 and f"| {whole.title} | lenient |" in recalls


def test_what_a_row_needs_depends_on_the_corpora_that_are_given():
    emodb, iemocap = (
        read_recipe(find_recipe(f"zhong2020/table4/{row}"))
        for row in ("emodb-n1-ce", "iemocap-n1-ce")
    )
    assert (absence(emodb), absence(iemocap)) == ("not run", "needs IEMOCAP")
    assert absence(emodb, ()) == "needs Emo-DB"
    assert absence(iemocap, ("iemocap",)) == "not run"


def test_results_of_another_version_of_a_recipe_are_not_shown(found):
    changed = replace(found[0], scores={**found[0].scores, "recipe_sha256": "0" * 64})
    assert row([changed], ROW).ours is None


def test_a_rung_says_what_it_takes_away_from_the_one_before(found):
    rungs = ladder(found)
    uas = [found[4 + i].scores["pooled"]["ua"] for i in range(3)]
    assert [rung.step for rung in rungs] == [
        None, pytest.approx(uas[1] - uas[0]), pytest.approx(uas[2] - uas[1]), None,
    ]  # fmt: skip
    assert rungs[3].result is None
    assert "not run" in rows.ladder_to_markdown(found).splitlines()[-1]
    assert rungs[0].words == "random split, epoch chosen on test"


def test_the_first_step_of_the_ladder_is_told_apart_from_its_criterion(found):
    """By WA the jobs chose epochs with a UA of 0.8 and 0.6; by UA they would have 0.9 and 0.7."""
    history = pd.DataFrame(
        {
            "fold": ["0", "0", "1", "1"],
            "seed": 0,
            "epoch": [1, 2, 1, 2],
            "update": [9, 18, 9, 18],
            "train_loss": 1.0,
            "valid_ua": 0.5,
            "test_wa": [0.9, 0.8, 0.8, 0.9],
            "test_ua": [0.8, 0.9, 0.7, 0.6],
            "chosen": [1, 0, 0, 1],
        }
    )
    told = [*found[:4], replace(found[4], history=history), *found[5:]]
    worth = 100 * (0.8 - rows.score_of(found[5], "ua", "fold_mean"))
    words = f"its fold mean would be 80.0, {worth:.1f} points above the second's"
    for page in (html.to_html, rows.page_to_markdown):
        assert words in unescape(page(told)) and "above the second" not in page(found)


def test_the_page_shows_the_ladder_and_every_row_and_all_its_links_lead_somewhere(found):
    text = html.to_html(found)
    page = Page(text)
    words = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    for table in paper_tables(found):
        assert table.title in words
        for here in table.rows:
            assert here.name in words
            assert rows.published_words(here) in words
    top, bottom = (100 * found[i].scores["pooled"]["ua"] for i in (4, 6))
    assert f"{top - bottom:.1f} points are protocol" in words
    assert "lie between the first rung" not in words, "the last rung was not run"
    assert "3 of 10 hold-outs" in words and "12 rows, needs IEMOCAP" in words
    assert fingerprint(found) in text


def test_points_between_the_first_rung_and_the_last_are_not_all_called_protocol(found, tmp_path):
    last = made_up(tmp_path, RUNGS[3], 0.6)
    family = [replace(rung, recipe={"system": "light_sernet"}) for rung in (*found[4:7], last)]
    text = Page(html.to_html(family)).text.replace("\N{NO-BREAK SPACE}", " ")
    worth = 100 * (found[4].scores["pooled"]["ua"] - last.scores["pooled"]["ua"])
    assert f"{worth:.1f} points lie between the first rung and the last" in text
    assert "the last also trains on a fifth less" in text and "points are protocol" not in text
    assert "nothing changed but how it is tested" not in text
    assert "unseen sentences also cost training" in text


def test_pages_say_which_speakers_our_own_recipes_have_seen(found, tmp_path):
    own = made_up(tmp_path, "honest/emodb-light_sernet", 0.8)
    for results, says in (([*found, own], True), (found, False)):
        for page in (html.to_html(results), rows.page_to_markdown(results)):
            assert ("03, 10 and 13" in page) == says


def test_what_has_to_be_known_of_a_table_stands_on_both_pages(found):
    for page in (html.to_html(found), rows.page_to_markdown(found)):
        assert "benchmarks/folding.md" in page and "Not reproduced, and little" in page


def test_the_ladder_ends_with_the_classic(found, tmp_path):
    machine = {"model": {"name": "functionals_svm"}}
    classic = replace(made_up(tmp_path, "honest/emodb-compare-svm", 0.75), recipe=machine)
    last = rows.ladder_to_markdown([*found, classic]).splitlines()[-1]
    assert "classic baseline" in last and rows.score_words(classic) in last
    assert "### What everybody should beat" in rows.page_to_markdown([*found, classic])


def test_the_markdown_page_has_a_cell_under_every_heading_and_the_recalls(found):
    text = rows.page_to_markdown(found, title="All")
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) <= 1, block
    recall = 100 * found[1].scores["recalls"]["anger"]
    title = found[1].title
    assert f"| {title} | honest | {recall:.0f} |" in text
    short = 100 * found[8].scores["recalls"]["anger"]
    assert f"{found[8].title} (10 % of the updates) | lenient | {short:.0f} |" in text
    assert "quick run" in text and fingerprint(found) in text


def test_a_page_about_other_results_has_no_tables_of_papers(found):
    own = replace(found[1], scores={**found[1].scores, "recipe": "mine", "recipe_sha256": "1"})
    assert not belongs_to_papers(own)
    assert 'id="papers"' not in html.to_html([own])


def test_the_fingerprint_follows_the_results_and_not_their_order(found):
    assert fingerprint(found) == fingerprint(found[::-1])
    assert fingerprint(found) != fingerprint(found[1:])
