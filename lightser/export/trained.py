"""From a finished training to a model folder: what its card says, and whose numbers it quotes."""

from pathlib import Path

from lightser.card import Card, TrainedOn
from lightser.corpora import CORPORA
from lightser.corpora.heard import digests, read_heard
from lightser.export.folder import CardFacts, write_model_folder
from lightser.features.pretrained import Pretrained
from lightser.training.crossval import Plan, commit, facts_of
from lightser.training.final import calibrate
from lightser.training.jobs import build_system
from lightser.training.scores import scores_for_card
from lightser.training.system import System

LONGEST_WINDOW_S = 10.0  # for a network that takes clips of any length

INTENDED_USE = (
    "Research on speech emotion recognition, and products in which people know that it listens and "
    "can disagree with it. One voice at a time, one window at a time."
)
_WHAT_FOR = (
    "It says what a voice sounds like, not what a person feels. Not for judging, hiring, policing, "
    "diagnosing or watching people."
)


def limits_of(plan: Plan) -> str:
    """Say what a model that was trained on all utterances of a plan has not learned."""
    table = plan.table
    speakers = len({speaker for speaker in table["speaker"] if speaker})
    languages = sorted({language for language in table["language"] if language})
    named = ", ".join(languages) or "languages that nobody has named"
    spoken = f"in one language ({named})" if len(languages) == 1 else f"in {named}"
    if (table["style"] == "acted").all():
        heard = f"{len(table)} acted utterances by {speakers} speakers {spoken}"
        unheard = "Spontaneous speech, other languages, noise, children and overlapping voices"
    else:
        heard = f"{len(table)} utterances by {speakers or 'unknown'} speakers {spoken}"
        unheard = "Other voices, languages, rooms, microphones and ways of speaking"
    if initial := plan.jobs[0].initial:
        heard += f", beginning from {initial.card.name}"
    if isinstance(front := build_system(plan.recipe, 2).frontend, Pretrained):
        heard += f", on top of {front.source}, which has heard speech of many languages"
    return (
        f"Trained on {heard}. {unheard} are not what it learned, and scores there are lower, often "
        f"by far. {_WHAT_FOR}"
    )


def corpora_of(plan: Plan) -> tuple[TrainedOn, ...]:
    """Return what a plan's utterances are from: each corpus that has a name of its own here.

    A table of one's own may hold corpora that we know and others, which then are that table. Those
    of the model that the network began from come last.
    """
    own = plan.recipe.corpus.name
    names = plan.table["corpus"].map(lambda name: name if name in CORPORA else own)
    initial = plan.jobs[0].initial
    trained_on = [
        TrainedOn(
            corpus=corpus.name,
            title=corpus.title,
            license=corpus.license,
            url=corpus.url,
            utterances=len(rows),
            speakers=int(rows["speaker"].nunique()),
            language=corpus.language,
        )
        for name, rows in plan.table.groupby(names, sort=False)
        for corpus in [CORPORA[str(name)]]
    ]
    return (*trained_on, *(initial.card.trained_on if initial else ()))


def write_trained_model(
    system: System,
    plan: Plan,
    folder: Path,
    *,
    seed: int,
    results: Path | None,
    overwrite: bool = False,
) -> Card:
    """Write the model folder of a system that was trained on all of a plan's utterances.

    Args:
        system: the trained system; its temperature is set here if there are results.
        plan: of the recipe that trained it.
        folder: where the model goes.
        seed: that it was trained with.
        results: cross-validation of the same recipe, for the card's scores and the temperature.
            Without it the card has no score and confidences are as the softmax gives them.
        overwrite: whether a model folder that is there is replaced.

    Raises:
        BadModel: ``folder`` is in the way, or the export does not answer as PyTorch does.
    """
    if results is not None:
        calibrate(system, results)
    longest = getattr(system.frontend, "window_s", None)  # what the front end itself cuts a clip to
    window_s = plan.recipe.window_s or longest or LONGEST_WINDOW_S
    heard_in = corpora_of(plan)
    licenses = [corpus.license for corpus in heard_in]
    if isinstance(system.frontend, Pretrained):
        licenses.append(system.frontend.license)
    facts = CardFacts(
        labels=plan.labels,
        window_s=float(window_s),
        trained_on=heard_in,
        license=" AND ".join(dict.fromkeys(licenses)),
        scores=() if results is None else scores_for_card(facts_of(results)),
        recipe=plan.name,
        commit=commit(),
        seed=seed,
        intended_use=INTENDED_USE,
        limits=limits_of(plan),
    )
    code = plan.recipe.code
    return write_model_folder(
        system, facts, folder, overwrite=overwrite, code=code, heard=heard_by(plan)
    )


def heard_by(plan: Plan) -> frozenset[bytes]:
    """Return the digests of a plan's clips, and of those that its network had heard before."""
    heard = frozenset(one for one in digests(plan.table) if one is not None)
    if initial := plan.jobs[0].initial:
        heard |= read_heard(initial.folder, initial.card) or frozenset()
    return heard
