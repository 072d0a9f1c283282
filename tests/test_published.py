"""The tables of both papers as data: whole, and in agreement with each other and the networks."""

import csv
import dataclasses
import math
from pathlib import Path

import pytest

from lightser.corpora import CORPORA, load_corpus
from lightser.corpora.splits import PROTOCOLS, make_folds
from lightser.models import MODELS
from lightser.training.recipe import find_recipe, find_recipes, read_recipe

FOLDER = Path(__file__).parent.parent / "recipes" / "published"
COLUMNS = (
    "row", "corpus", "part", "system", "printed_as", "ua", "wa", "f1", "size", "unit", "source",
    "note",
)  # fmt: skip
# Lines of each table, counted in the papers.
ROWS = {
    "zhong2020_table2": 4,
    "zhong2020_table3": 5,
    "zhong2020_table4": 18,
    "zhong2020_table5": 7,
    "light_sernet_table1": 10,
    "light_sernet_table2": 4,
    "light_sernet_table3": 5,
    "light_sernet_table4": 4,
}


def read(table):
    with (FOLDER / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return {line["row"]: line for line in csv.DictReader(file)}


def figures(table, row):
    return tuple(float(line) if (line := read(table)[row][k]) else None for k in ("ua", "wa", "f1"))


def test_every_table_of_both_papers_is_there():
    assert {path.stem for path in FOLDER.glob("*.csv")} == set(ROWS)


@pytest.mark.parametrize("table", ROWS)
def test_every_row_is_whole(table):
    lines = read(table)
    assert len(lines) == ROWS[table]  # so no two rows share a name either
    with (FOLDER / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == ROWS[table] + 1
    for row, line in lines.items():
        assert set(COLUMNS) <= set(line), row
        assert None not in line, row  # no surplus cell
        assert line["corpus"] in CORPORA and row.startswith(line["corpus"])
        assert line["part"] in ("all", "improvised")
        assert line["system"] in MODELS
        assert line["source"] and line["printed_as"]
        printed = [float(line[key]) for key in ("ua", "wa", "f1") if line[key]]
        assert printed and all(20 < number < 100 for number in printed), row
        assert bool(line["size"]) == bool(line["unit"])


@pytest.mark.parametrize(
    ("table", "row", "expected"),
    [
        ("zhong2020_table2", "emodb-no_attention", (80.96, 84.03, 82.83)),
        ("zhong2020_table3", "iemocap-soft", (None, None, 69.29)),
        ("zhong2020_table4", "emodb-n4-ce", (90.10, 91.81, 90.67)),
        ("zhong2020_table4", "emodb-n2-ce", (90.57, 91.42, 90.63)),
        ("zhong2020_table4", "iemocap-n5-focal", (71.72, 70.39, 70.85)),
        ("zhong2020_table4", "iemocap-n6-ce", (69.49, 68.05, 68.58)),
        ("zhong2020_table5", "emodb-bcrnn", (79.7, None, None)),
        ("light_sernet_table1", "emodb-ce-3s", (94.15, 94.21, 94.16)),
        ("light_sernet_table1", "emodb-focal-3s", (92.88, 93.08, 93.05)),
        ("light_sernet_table1", "iemocap-improvised-focal-7s", (70.78, 79.87, 78.84)),
        ("light_sernet_table3", "iemocap-improvised-satt2017", (62.0, 67.3, None)),
    ],
)
def test_known_figures_are_where_they_belong(table, row, expected):
    assert figures(table, row) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("zhong2020_table2", "emodb-attention"), ("zhong2020_table4", "emodb-n4-ce")),
        (("light_sernet_table2", "iemocap-light_sernet"),
         ("light_sernet_table1", "iemocap-focal-7s")),
        (("light_sernet_table3", "iemocap-improvised-light_sernet"),
         ("light_sernet_table1", "iemocap-improvised-focal-7s")),
        (("light_sernet_table4", "emodb-light_sernet"), ("light_sernet_table1", "emodb-ce-3s")),
        (("light_sernet_table4", "emodb-zhong2020"), ("zhong2020_table4", "emodb-n4-ce")),
        (("light_sernet_table2", "iemocap-zhong2020"), ("zhong2020_table4", "iemocap-n5-focal")),
    ],
)  # fmt: skip
def test_what_is_printed_twice_is_the_same(one, other):
    assert figures(*one) == figures(*other)


def test_where_the_papers_contradict_themselves_a_note_says_so():
    ours, theirs = read("zhong2020_table2")["iemocap-attention"], "iemocap-n5-ce"
    assert figures("zhong2020_table4", theirs)[:2] == (float(ours["ua"]), float(ours["wa"]))
    assert figures("zhong2020_table4", theirs)[2] == 69.97 != float(ours["f1"])
    assert "69.97" in ours["note"]


@pytest.mark.parametrize("blocks", range(1, 7))
def test_printed_parameters_are_those_of_the_network_cut_off_behind_two_digits(blocks):
    network = MODELS["zhong2020"](4, n_blocks=blocks)
    parameters = sum(p.numel() for p in network.parameters())
    for line in read("zhong2020_table4").values():
        if line["blocks"] == str(blocks):
            assert line["size"] == f"{math.floor(parameters / 1e4) / 100:.2f}"


@pytest.mark.parametrize(
    ("table", "row", "bytes_each"),
    [
        ("light_sernet_table3", "iemocap-improvised-yenigalla2018", 4),
        ("light_sernet_table3", "iemocap-improvised-satt2017", 4),
        ("light_sernet_table3", "iemocap-improvised-light_sernet", 2),
    ],
)
def test_printed_megabytes_are_mebibytes_at_this_precision(table, row, bytes_each):
    line = read(table)[row]
    network = MODELS[line["system"]](4)
    mebibytes = sum(p.numel() for p in network.parameters()) * bytes_each / 2**20
    digits = len(line["size"].rstrip("0").partition(".")[2])
    assert round(mebibytes, digits) == float(line["size"])


# --- recipes ---

LINES = [(table.replace("_table", "/table"), row) for table in ROWS for row in read(table).values()]


def name_of(line):
    return f"{line[0]}/{line[1]['row']}"


@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_every_row_of_the_papers_has_a_recipe_that_carries_its_figures(line):
    table, row = line
    recipe = read_recipe(find_recipe(f"{table}/{row['row']}"))
    assert recipe.published is not None
    for score in ("ua", "wa", "f1"):
        printed = float(row[score]) if row[score] else None
        assert getattr(recipe.published, score) == printed
    assert recipe.published.source == row["source"]
    assert recipe.published.protocol
    assert recipe.system == row["system"]
    assert recipe.corpus.name == row["corpus"]
    improvised = recipe.corpus.options.get("styles") == "improvised"
    assert improvised == (row["part"] == "improvised")


# Who averages over folds, or rotations, or says so of what they quote; the others pool.
FOLD_MEANS = {"zhong2020", "acrnn3d", "bcrnn"}


@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_every_row_says_which_statistic_its_figures_are(line):
    table, row = line
    published = read_recipe(find_recipe(f"{table}/{row['row']}")).published
    mean = row["system"] in FOLD_MEANS
    assert published.statistic == ("fold_mean" if mean else "pooled")
    assert ("mean" in published.protocol) == mean, "its words say the same"
    assert ("pooled" in published.protocol) == (row["system"] == "light_sernet")
    twin = read_recipe(find_recipe(f"honest/{table}/{row['row']}"))
    assert twin.published == published
    macro = row["system"] == "zhong2020" and row["f1"]
    assert published.f1_average == ("macro" if macro else "weighted")


def test_dnn_elm_on_emodb_is_compared_as_chen_measured_it():
    published = read_recipe(find_recipe("baselines/dnn_elm/emodb")).published
    assert (published.ua, published.statistic) == (71.56, "fold_mean")
    assert "pp. 1440–1444" in published.source and "mean of folds" in published.protocol


def test_every_page_that_a_table_names_is_named_for_all_of_zhongs_rows():
    sources = {row["source"] for table, row in LINES if table.startswith("zhong2020")}
    assert sources == {
        "Zhong et al. 2020, p. 3333, Table 2",
        "Zhong et al. 2020, p. 3333, Table 3",
        "Zhong et al. 2020, p. 3334, Table 4",
        "Zhong et al. 2020, p. 3334, Table 5",
    }


def differences(one, other):
    """Return the fields in which two recipes differ."""
    return {
        f.name for f in dataclasses.fields(one) if getattr(one, f.name) != getattr(other, f.name)
    }


@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_every_row_of_the_papers_has_an_honest_twin(line):
    table, row = line
    published = read_recipe(find_recipe(f"{table}/{row['row']}"))
    honest = read_recipe(find_recipe(f"honest/{table}/{row['row']}"))
    assert honest.protocol.name == ("loso_session" if row["corpus"] == "iemocap" else "loso")
    assert PROTOCOLS[honest.protocol.name].speaker_independent
    assert honest.protocol.select is None, "chosen on validation speakers"
    assert "title" in differences(honest, published) <= {"title", "protocol"}


@pytest.mark.parametrize("row", read("zhong2020_table3"))
def test_the_losses_of_table_3_have_counterparts_on_emodb(row):
    name = f"agreement/{row.replace('iemocap', 'emodb')}"
    ours, honest = (
        read_recipe(find_recipe(f"{at}/{name}")) for at in ("zhong2020", "honest/zhong2020")
    )
    published = read_recipe(find_recipe(f"zhong2020/table3/{row}"))
    assert ours.published is None, "nobody has published this"
    assert differences(ours, published) <= {"title", "corpus", "model", "loss", "published"}
    assert ours.loss.name == published.loss.name
    assert {**ours.loss.options, "medium": 0} == {**published.loss.options, "medium": 0}
    assert differences(honest, ours) == {"title", "protocol"}


# --- the ladder ---

RUNGS = [read_recipe(path) for path in find_recipes(["ladder"])]


def test_rungs_of_the_ladder_change_one_thing_at_a_time():
    for rung in RUNGS[1:]:
        assert differences(rung, RUNGS[0]) == {"title", "protocol"}
    one, two, three, four = (rung.protocol for rung in RUNGS)
    assert (one.name, one.options) == (two.name, two.options)
    assert (one.select, two.select) == ("test_wa", "valid_ua")
    assert (three.name, three.options["valid_speakers"]) == ("loso", 1)
    assert PROTOCOLS[four.name].text_independent and four.options["valid_speakers"] == 1
    assert {PROTOCOLS[p.name].select for p in (three, four)} == {"valid_ua"}


def test_rungs_train_on_as_much_and_test_every_utterance_once(corpus_root):
    table = load_corpus("emodb", corpus_root("emodb"))
    for rung in RUNGS[:3]:
        folds = make_folds(rung.protocol.name, table, **rung.protocol.options)
        assert len(folds) == 10
        assert sorted(u for fold in folds for u in fold.test) == sorted(table["utterance"])
        assert sum(len(fold.train) for fold in folds) == pytest.approx(
            0.8 * 10 * len(table), abs=10
        )
    unseen = make_folds(RUNGS[3].protocol.name, table, **RUNGS[3].protocol.options)
    assert sorted(u for fold in unseen for u in fold.test) == sorted(table["utterance"])


def test_listeners_of_emodb_fill_all_three_levels(corpus_root):
    agreement = load_corpus("emodb", corpus_root("emodb"))["agreement"]
    medium = read_recipe(find_recipe("zhong2020/agreement/emodb-focal-b1-c2")).loss.options[
        "medium"
    ]
    counts = (agreement == 1).sum(), ((agreement >= medium) & (agreement < 1)).sum()
    assert (*counts, (agreement < medium).sum()) == (184, 247, 104)
