"""Light-SERNet with its batch norms, and with them folded into the convolutions before them.

    python benchmarks/folding.py emodb=DIR

The design choice that the authors' slides name ("body part 2"), on a speaker of Emo-DB whom the
network has not heard: the model is that of ``benchmarks/formats.py``, trained without the speaker
(nine minutes, once). Both forms run in PyTorch, which changes nothing of its own accord, and take
turns on one thread. Writes the table ``benchmarks/folding.md``.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from formats import ratio, train, ua_of

from lightser.audio.files import read_audio
from lightser.corpora import load_corpus
from lightser.export.fold import fold_batch_norms
from lightser.training.batches import cut_windows
from lightser.training.system import System
from lightser.whole import write_whole

PAGE = Path(__file__).parent / "folding.md"
RECIPE = "honest/emodb-light_sernet"
WINDOW_S, RUNS = 3.0, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="emodb=DIR")
    table = load_corpus("emodb", parser.parse_args().corpus.partition("=")[2])
    torch.set_num_threads(1)
    fold = train(RECIPE, table)
    kept = System.load(fold.model / "weights.safetensors")
    folded = fold_batch_norms(kept)

    rate = int(kept.sample_rate)
    waves = [read_audio(file, rate) for file in fold.unheard["file"]]
    with torch.inference_mode():
        features = [
            [kept.features(torch.from_numpy(window)[None]) for window in cut_windows(
                wave, round(WINDOW_S * rate), int(kept.frontend.min_samples)
            )]
            for wave in waves
        ]  # fmt: skip
        answers = [
            [
                torch.stack([system.logits(x).softmax(dim=1)[0] for x in windows]).mean(dim=0)
                for windows in features
            ]
            for system in (kept, folded)
        ]
    apart = max(float((a - b).abs().max()) for a, b in zip(*answers, strict=True))
    scores = [ua_of([p.numpy() for p in said], fold) for said in answers]
    example = features[0][0]
    times = ratio(lambda: folded.logits(example), lambda: kept.logits(example), RUNS)
    numbers = [sum(p.numel() for p in s.network.parameters()) for s in (kept, folded)]
    speaker = fold.unheard["speaker"].iloc[0]
    rows = [
        "| batch norms | parameters | bytes in float32 | UA | time of the network |",
        "|---|---:|---:|---:|---:|",
        f"| kept | {numbers[0]:,} | {4 * numbers[0]:,} | {100 * scores[0]:.1f} | 1.00 |",
        f"| folded | {numbers[1]:,} | {4 * numbers[1]:,} | {100 * scores[1]:.1f} | {times:.2f} |",
    ]
    words = (
        "# Batch norms, kept and folded\n\nWritten by `benchmarks/folding.py`. Light-SERNet "
        f"(`{RECIPE}`) on the {len(waves)} clips of speaker {speaker} of Emo-DB, whom it has not "
        f"heard; PyTorch {torch.__version__}, one thread, median of {RUNS} turns. Largest "
        f"difference of a probability: {apart:.0e}.\n\n"
    )
    write_whole(PAGE, words + "\n".join(rows) + "\n")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
