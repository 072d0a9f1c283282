"""IEMOCAP's rows run end to end on a tree in its exact layout; what is not given is said."""

import json
from pathlib import Path

import iemocap_tree
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import lightser.cli.report  # registers its commands
import lightser.cli.reproduce  # noqa: F401  # likewise
from lightser.cli import app
from lightser.corpora.iemocap import LABELS

TARGETS = [
    "light_sernet/table1/emodb-ce-3s",
    "light_sernet/table1/iemocap-improvised-focal-3s",
    "zhong2020/table4/iemocap-n1-focal",
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Path, str, str]:
    """The rows reproduced with their honest twins: where results are, and what was said."""
    root = tmp_path_factory.mktemp("world")
    iemocap_tree.write_tree(root / "iemocap", rng=np.random.default_rng(0), turns=5)
    words = ["reproduce", *TARGETS, "--honest", "--quick", "--engine", "serial"]
    words += ["--corpus", f"iemocap={root / 'iemocap'}", "--out", str(root / "results")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTSER_CACHE", str(root / "cache"))
        done = CliRunner().invoke(app, [*words, "--table", str(root / "table.md")])
        again = CliRunner().invoke(app, [*words, "--table", str(root / "table.html")])
    assert done.exit_code == 0, done.stderr
    assert again.exit_code == 0, again.stderr
    assert again.stderr.count(": 2 jobs, 2 done") == 4, "nothing is run twice"
    assert again.stdout == done.stdout
    return root, done.stdout, done.stderr


def scores(root: Path, name: str) -> dict:
    return json.loads((root / "results" / "quick" / name / "scores.json").read_text())


@pytest.mark.parametrize(
    ("row", "labels"), [(TARGETS[1], LABELS), (TARGETS[2], LABELS)], ids=["improvised", "all"]
)
@pytest.mark.parametrize("at", ["", "honest/"])
def test_improvised_and_all_of_iemocap_run_under_both_protocols(ran, row, labels, at):
    root, _, _ = ran
    facts = scores(root, f"{at}{row}")
    assert facts["quick"] and facts["complete"] and facts["corpus"] == "iemocap"
    assert set(facts["labels"]) <= set(labels) and len(facts["labels"]) == 4
    assert facts["speaker_independent"] == bool(at)
    assert facts["protocol"] == ("loso_session" if at else row.partition("/")[0])
    table = pd.read_csv(root / "results" / "quick" / f"{at}{row}" / "predictions.csv")
    assert table["utterance"].str.contains("script").any() == ("improvised" not in row)


def test_the_cost_is_said_first_with_how_it_was_measured(ran):
    _, _, said = ran
    assert "In all 8 jobs, 0 done; the others take about" in said
    assert "timed on this machine" in said


def test_the_table_has_a_line_for_each_row_and_says_what_is_quick_and_what_is_not_given(ran):
    root, printed, said = ran
    markdown = (root / "table.md").read_text()
    for text in (printed, markdown):
        assert "68.37 / 77.41" in text and "70.48 / 69.25" in text and "94.15 / 94.21" in text
        assert text.count("(quick run)") == 4
        assert "needs Emo-DB" in text
        assert "Quick run: a few epochs" in text
    assert "needs the corpus emodb (--corpus emodb=DIR)" in said
    html = (root / "table.html").read_text()
    assert "Quick run: a few epochs" in html and "needs Emo-DB" in html and "quick run" in html


# Rows of the systems that the papers compare with; the large ones with less of their networks.
OTHERS = {
    "light_sernet/table2/iemocap-dnn_elm": "",
    "light_sernet/table3/iemocap-improvised-satt2017": "",
    "light_sernet/table3/iemocap-improvised-yenigalla2018": "",
    "light_sernet/table2/iemocap-drn": "width = 8",
    "light_sernet/table3/iemocap-improvised-acrnn3d": "n_convolutions = 1",
    "light_sernet/table3/iemocap-improvised-bcrnn": "n_convolutions = 1",
}


def test_rows_of_every_other_system_run_on_iemocap(ran, tmp_path, monkeypatch):
    root, _, _ = ran
    monkeypatch.setenv("LIGHTSER_CACHE", str(root / "cache"))
    for row, less in OTHERS.items():
        cut = f"[model]\n{less}\n" if less else ""
        recipe = f'extends = "{row}"\n[optim]\nepochs = 1\n{cut}'
        (tmp_path / f"{Path(row).name}.toml").write_text(recipe)
    words = ["reproduce", str(tmp_path), "--quick", "--engine", "serial"]
    words += ["--corpus", f"iemocap={root / 'iemocap'}", "--out", str(tmp_path / "results")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    for row in OTHERS:
        (folder,) = tmp_path.glob(f"results/quick/**/{Path(row).name}")
        facts = json.loads((folder / "scores.json").read_text())
        assert facts["complete"] and facts["quick"] and len(facts["labels"]) == 4


def test_a_table_is_written_as_markdown_or_html_and_nothing_else(tmp_path):
    done = CliRunner().invoke(app, ["reproduce", TARGETS[0], "--table", "table.pdf"])
    assert "--table table.pdf must end in .html or .md" in str(done.exception)
