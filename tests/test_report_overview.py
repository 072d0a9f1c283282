"""What a README shows of results: what counts, which of several, and what is left alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from test_report_papers import ROW, RUNGS, made_up

from lightser.errors import BadResults
from lightser.report import overview, tables
from lightser.report.results import Result

FOCAL = "light_sernet/table1/emodb-focal-3s"
OURS = "honest/emodb-light_sernet"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    root = tmp_path_factory.mktemp("results")
    return [
        made_up(root, ROW, 0.93),
        made_up(root, f"honest/{ROW}", 0.72),
        made_up(root, FOCAL, 0.9),
        made_up(root, f"honest/{FOCAL}", 0.15, is_quick=True),
        made_up(root, "zhong2020/table4/emodb-n4-ce", 0.7),
        made_up(root, "zhong2020/table4/emodb-n2-ce", 0.99, done=3),
        made_up(root, "zhong2020/table4/emodb-n1-ce", 0.98, length=0.1),
        made_up(root, OURS, 0.97, is_quick=True),
        made_up(root, OURS, 0.96, length=0.1),
        made_up(root, OURS, 0.8),
        made_up(root, "honest/emodb-zhong2020", 0.95, length=0.1),
        *(made_up(root, name, 0.99) for name in RUNGS),
    ]


def score(result: Result) -> str:
    return tables.percent(result.scores["pooled"]["ua"])


def table(text: str, first: str) -> dict[str, list[str]]:
    """Return the cells behind the first one of each row of the table that begins with ``first``."""
    start = text.rindex(f"\n| {first} |") + 1
    lines = text[start:].split("\n\n")[0].splitlines()
    return {cells[0]: cells[1:] for cells in (line[2:-2].split(" | ") for line in lines)}


def test_each_system_has_its_best_of_the_longest_runs_on_strangers(found: list[Result]) -> None:
    rows = table(overview.overview(found), "System")
    assert rows["System"] == ["Parameters (Emo-DB)", "Emo-DB, 7 emotions, loso"]
    zhong, ours = "Zhong 2020, our training", "Light-SERNet, our training"
    assert rows[ours][1].startswith(score(found[9])), "neither shorter, lax nor a rung"
    assert rows[zhong][1].startswith(score(found[10]))
    assert rows[zhong][1].endswith("(10 % of the epochs)"), "all there is"
    assert list(rows)[2:] == [zhong, ours], "the highest score comes first"


def test_other_corpora_have_columns_of_their_own(found: list[Result]) -> None:
    elsewhere = {"corpus": "ravdess", "protocol": "speaker_kfold"}
    other = replace(found[9], scores={**found[9].scores, **elsewhere})
    evaluated = {key: value for key, value in other.scores.items() if key != "recipe"}
    evaluated |= {"corpus": "nemo", "model": "emodb-light_sernet"}
    rows = table(overview.overview([*found, other, replace(other, scores=evaluated)]), "System")
    assert rows["System"][1:] == ["Emo-DB, 7 emotions, loso", "RAVDESS, 7 emotions, speaker_kfold"]
    assert rows["Light-SERNet, our training"][2].startswith(score(other))
    assert rows["Zhong 2020, our training"][2] == "–"


def test_rows_of_the_papers_are_those_run_whole_each_once(found: list[Result]) -> None:
    rows = table(overview.overview(found), "Row")
    assert list(rows)[2:] == [
        # three tables have it
        "Zhong 2020, 4 blocks, weighted CE (Emo-DB), `zhong2020/table2/emodb-attention`",
        "Light-SERNet, focal, 3 s (Emo-DB), `light_sernet/table1/emodb-focal-3s`",
        "Light-SERNet, cross-entropy, 3 s (Emo-DB), `light_sernet/table1/emodb-ce-3s`",
    ]
    focal, ce = list(rows.values())[3:]
    assert focal[0].startswith("92.88 / 93.08") and focal[1].startswith(score(found[2]))
    assert focal[2] == "not run", "a quick run says nothing"
    assert ce[2].startswith(score(found[1])) and ce[3].startswith("+1")


def test_the_overview_ends_with_the_ladder(found: list[Result]) -> None:
    rows = table(overview.overview(found), "Protocol")
    start, first, *rungs = list(rows)[2:]
    assert start == "as published, full length" and len(rungs) == len(RUNGS) - 1
    assert rows[start][0].startswith(f"printed 94.15 / 94.21; ours {score(found[0])} [")
    assert first == "random split, epoch chosen on test"
    assert rows[first][0].startswith(score(found[11]))
    assert rows[first][1] == tables.fold_mean_cell(found[11])


def test_what_was_not_run_has_no_table(found: list[Result]) -> None:
    text = overview.overview(found[:1])
    (only,) = list(table(text, "Row"))[2:]
    assert only.endswith("(Emo-DB), `light_sernet/table1/emodb-ce-3s`")
    assert "| System |" not in text and "\n| Protocol |" not in text


def test_results_of_no_paper_are_shown_as_in_a_report(found: list[Result]) -> None:
    own = replace(found[1], scores={**found[1].scores, "recipe": "mine", "recipe_sha256": "1"})
    assert overview.overview([own, found[7]]) == tables.to_markdown([own])


def test_a_readme_gets_it_once_and_keeps_the_rest(found: list[Result], tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(
        "before\n<!-- results -->\nstale words\n<!-- /results -->\nafter\n", encoding="utf-8"
    )
    overview.put_into_readme(readme, found)
    first = readme.read_text(encoding="utf-8")
    overview.put_into_readme(readme, found)
    assert readme.read_text(encoding="utf-8") == first
    assert first.startswith("before\n<!-- results -->\n")
    assert first.endswith("<!-- /results -->\nafter\n")
    assert overview.overview(found) in first
    assert "stale words" not in first and "quick run" not in first


def test_a_readme_without_the_place_is_left_as_it_is(found: list[Result], tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results -->\n", encoding="utf-8")
    with pytest.raises(BadResults, match="has no place marked"):
        overview.put_into_readme(readme, found)
    assert readme.read_text(encoding="utf-8") == "<!-- results -->\n"
