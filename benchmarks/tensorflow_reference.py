"""Light-SERNet as published, in TensorFlow, on hold-outs that lightser trained on too.

    pip install tensorflow-cpu==2.15.1 soundfile   # in an environment of its own
    LIGHTSER_DATA=DIR python benchmarks/tensorflow_reference.py holdout0
    python benchmarks/tensorflow_reference.py --table

A second implementation, in the framework of the paper, of all that the paper and its published code
say: level, 16-bit clips, tf.signal's features, Keras's layers, Adam, schedule and batches of an
endless shuffled stream. What it shares with lightser is the list of clips in each part
(``results/light_sernet/table1/emodb-ce-3s/folds.json``). Each epoch's test accuracy goes to
``benchmarks/tensorflow/<hold-out>.csv``, half an hour of one core for each; ``--table`` writes
``benchmarks/tensorflow_reference.md``, both side by side.
"""

import csv
import json
import os
import statistics
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "light_sernet" / "table1" / "emodb-ce-3s"
CLASSES = {letter: i for i, letter in enumerate("WLEAFNT")}  # Emo-DB's own letters
RATE, SAMPLES, EPOCHS, BATCH, SEED = 16_000, 48_000, 300, 32, 42
LAST = 100  # epochs that the table averages over


def train(holdout: str) -> None:
    """Train and test one hold-out, and write its history."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import numpy as np
    import soundfile
    import tensorflow as tf
    from tensorflow.keras import layers, regularizers

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.random.set_seed(SEED)
    np.random.seed(SEED)
    folds = json.loads((RESULTS / "folds.json").read_text())["folds"]
    (fold,) = [f for f in folds if f["name"] == holdout]
    root = Path(os.environ["LIGHTSER_DATA"]) / "emodb"
    files = {path.stem: path for path in root.rglob("*") if path.suffix in (".wav", ".flac")}
    mel = tf.signal.linear_to_mel_weight_matrix(128, 513, RATE, 80.0, 7600.0)

    def features(name: str) -> np.ndarray:
        x, rate = soundfile.read(files[name], dtype="int16")
        assert rate == RATE
        x = x.astype(np.float32) / 32768
        if (surplus := len(x) - SAMPLES) > 0:
            x = x[surplus // 2 : len(x) - (surplus - surplus // 2)]
        x = np.clip(x / (np.percentile(np.abs(x), 99.9) + np.finfo(float).eps), -1, 1)
        missing = SAMPLES - len(x)
        x = np.pad(x, (missing // 2, missing - missing // 2)).astype(np.float32)
        x = tf.squeeze(tf.audio.decode_wav(tf.audio.encode_wav(x[:, None], RATE))[0], -1)
        magnitude = tf.abs(tf.signal.stft(x, 1024, 256, 1024))
        log_mel = tf.math.log(tf.tensordot(magnitude, mel, 1) + 1e-6)
        mfcc = tf.signal.mfccs_from_log_mel_spectrograms(log_mel)[..., :40]
        return tf.clip_by_value(mfcc, -10, 10).numpy()

    def part(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([features(n) for n in names])[..., None], np.array(
            [CLASSES[n[5]] for n in names]
        )

    learned, tested = part(fold["train"]), part(fold["test"])
    given = layers.Input(learned[0].shape[1:])
    paths = [layers.Conv2D(32, k, padding="same")(given) for k in ((11, 1), (1, 9), (3, 3))]
    paths = [layers.ReLU()(layers.BatchNormalization()(x)) for x in paths]
    x = layers.Concatenate()([layers.AveragePooling2D(2, padding="same")(x) for x in paths])
    for width, kernel, pool in ((64, 3, 2), (96, 3, 2), (128, 3, (2, 1)), (160, 3, (2, 1))):
        x = convolution(layers, regularizers, width, kernel)(x)
        x = layers.AveragePooling2D(pool, padding="same")(
            layers.ReLU()(layers.BatchNormalization()(x))
        )
    x = convolution(layers, regularizers, 320, 1)(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.Dense(len(CLASSES), activation="softmax")(layers.Dropout(0.3)(x))
    model = tf.keras.Model(given, x)
    assert model.count_params() == 463_431  # with the statistics of batch norms
    model.compile(
        tf.keras.optimizers.Adam(1e-4),
        tf.keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    stream = tf.data.Dataset.from_tensor_slices(learned).shuffle(len(learned[1])).repeat()
    out = HERE / "tensorflow" / f"{holdout}.csv"
    out.parent.mkdir(exist_ok=True)

    class Written(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            with open(out, "a" if epoch else "w") as file:
                if not epoch:
                    file.write("epoch,train_loss,test_wa\n")
                file.write(f"{epoch + 1},{logs['loss']:.6g},{logs['val_accuracy']:.6g}\n")

    model.fit(
        stream.batch(BATCH).prefetch(2),
        steps_per_epoch=len(learned[1]) // BATCH,
        epochs=EPOCHS,
        validation_data=tf.data.Dataset.from_tensor_slices(tested).batch(BATCH),
        callbacks=[tf.keras.callbacks.LearningRateScheduler(rate_at), Written()],
        verbose=0,
    )


def convolution(layers, regularizers, width: int, kernel: int):  # type: ignore[no-untyped-def]
    """Return a convolution of the body."""
    penalty = regularizers.l2(1e-6)
    return layers.Conv2D(width, kernel, padding="same", use_bias=False, kernel_regularizer=penalty)


def rate_at(epoch: int, rate: float) -> float:
    """Return the learning rate of an epoch, counted from 0, out of that before it."""
    return rate if epoch < 50 or epoch % 20 else rate * 0.8607079764250578  # exp(-0.15)


def table() -> str:
    """Return both implementations side by side."""
    ours = defaultdict(list)
    with open(RESULTS / "history.csv") as file:
        for row in csv.DictReader(file):
            ours[row["fold"]].append(float(row["test_wa"]))
    lines = []
    for path in sorted((HERE / "tensorflow").glob("*.csv")):
        with open(path) as file:
            theirs = [float(row["test_wa"]) for row in csv.DictReader(file)]
        if len(theirs) == EPOCHS:
            cells = [f"{100 * x:.1f}" for x in (*facts(theirs), *facts(ours[path.stem]))]
            lines.append(f"| {path.stem} | {' | '.join(cells)} |")
    return f"""# Light-SERNet as published, in TensorFlow and here

Written by `benchmarks/tensorflow_reference.py`: test accuracy over {EPOCHS} epochs on the same
clips of Emo-DB, cross-entropy, 3 s; TensorFlow 2.15 (seed {SEED}), and the recipe
`light_sernet/table1/emodb-ce-3s` (seed 0). Best: of all epochs, as the paper chooses. Mean and
lowest: of the last {LAST} epochs.

| hold-out | TensorFlow: best | last | mean | lowest | lightser: best | last | mean | lowest |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
""" + "\n".join([*lines, ""])


def facts(accuracy: list[float]) -> tuple[float, float, float, float]:
    """Return best and last of a history, mean and lowest of its end."""
    end = accuracy[-LAST:]
    return max(accuracy), accuracy[-1], statistics.mean(end), min(end)


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        (HERE / "tensorflow_reference.md").write_text(table())
    else:
        for name in sys.argv[1:]:
            train(name)
