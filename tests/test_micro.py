"""On a microcontroller: equal answers in stripes, features in C as in PyTorch, and it compiles."""

import ctypes
import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from lightser.audio.files import read_audio
from lightser.bundled import find_model
from lightser.errors import BadModel, LightserError
from lightser.export import EXPORTERS, Order, targets  # noqa: F401  targets register themselves
from lightser.export.deliver import open_folder
from lightser.export.micro import compiled, frontend, sources
from lightser.export.profile import measure_arena
from lightser.export.targets import litert as phone
from lightser.inference.adaptation import Adaptation, Norm
from lightser.training.system import System

pytest.importorskip("litert_torch", reason="needs the extra litert")
pytest.importorskip("tflite_micro", reason="needs the extra micro")

from lightser.export.litert import open_litert
from lightser.export.micro import arena, plan
from lightser.export.micro.striped import in_stripes
from lightser.export.targets import micro

SAMPLES = sorted((Path(sources.C).parents[2] / "samples").glob("*.flac"))
LABELS = ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")
SYSTEMS = {  # each front end that is written in C, in each of its forms
    "relative MFCC": ("relative_logmel", {"n_bands": 128, "coefficients": 40}),
    "relative log-mel": ("relative_logmel", {"range_db": 60.0, "window_s": 2.0}),
    "published MFCC": ("light_sernet", {}),
    "published log-mel": ("light_sernet", {"kind": "logmel", "window_s": 7.0, "hop": 200}),
}


@pytest.fixture(scope="module")
def cc():
    try:
        return compiled.compiler()
    except LightserError:
        pytest.skip("needs a C compiler")


def spoken(file, n_samples):
    """Return the first samples of a file in 16 bits, and as PyTorch takes them."""
    floats = read_audio(file, 16000)[:n_samples]
    samples = np.round(floats * 32768).clip(-32768, 32767).astype(np.int16)
    return samples, torch.from_numpy(samples / np.float32(32768))[None]


@pytest.fixture(scope="module")
def system():
    return open_folder(find_model("default"))[1]


def order_for(n_samples):
    """Return an order for int8 that is calibrated on the recordings that come with lightser."""
    clips = [soundfile.read(file, dtype="float32")[0] for file in SAMPLES]
    return Order(
        precision="int8",
        frontend="out",
        n_samples=n_samples,
        labels=LABELS,
        calibration=[np.resize(clip[i::2], n_samples) for clip in clips for i in (0, 1)],
    )


@pytest.fixture(scope="module")
def bundled(system, tmp_path_factory):
    """Return folder and facts of the bundled model, for a phone and for a microcontroller."""
    order, made = order_for(48000), {}
    for name, target, place in (("phone", phone, "out"), ("micro", micro, with_features())):
        folder = tmp_path_factory.mktemp(name)
        made[name] = folder, target.write(system, replace(order, frontend=place), folder)
    return made


def with_features():
    try:
        return "in" if compiled.compiler() else "out"
    except LightserError:
        return "out"


def contents(made):
    return [(made[name][0] / phone.MODEL).read_bytes() for name in ("phone", "micro")]


def codes_of(system, files, taken):
    for file in files:
        wave = spoken(file, 48000)[1]
        with torch.inference_mode():
            yield phone.to_codes(system.features(wave)[0].numpy(), taken)


def ask_litert(interpreter, codes):
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], codes[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


def ask_micro(interpreter, codes):
    interpreter.set_input(codes[None], 0)
    interpreter.invoke()
    return interpreter.get_output(0)[0]


def check_equal(plain, striped, clips):
    """Ask LiteRT's reference kernels without stripes, with them, and TensorFlow Lite Micro."""
    kernels = [open_litert(content, reference=True) for content in (plain, striped)]
    device = arena.open_micro(striped)
    answers = []
    for codes in clips:
        expected = ask_litert(kernels[0], codes)
        np.testing.assert_array_equal(ask_litert(kernels[1], codes), expected)
        np.testing.assert_array_equal(ask_micro(device, codes), expected)
        answers.append(expected)
    return np.array(answers)


def test_stripes_and_tflite_micro_answer_bit_for_bit_as_litert_does(system, bundled):
    taken = bundled["phone"][1].facts["input"]
    answers = check_equal(*contents(bundled), codes_of(system, SAMPLES, taken))
    assert np.ptp(answers.astype(int), axis=0).max() > 100  # or equality would say nothing


def test_answers_are_bit_equal_on_a_real_corpus(system, bundled, corpus_root):
    taken = bundled["phone"][1].facts["input"]
    wavs = sorted(corpus_root("emodb").rglob("*.wav"))[7::90]
    answers = check_equal(*contents(bundled), codes_of(system, wavs, taken))
    assert len(set(answers.argmax(axis=1))) >= 3


def test_stripes_need_less_than_a_third_of_the_memory(bundled):
    facts = bundled["micro"][1].facts
    assert facts["arena_bytes_without_stripes"] > 400_000
    assert facts["arena_bytes"]["total"] <= 128_000
    assert facts["arena_bytes"]["total"] == sum(
        facts["arena_bytes"][part] for part in ("maps", "kept")
    )


def test_the_arena_that_is_told_is_enough_and_less_is_not(bundled):
    _, content = contents(bundled)
    told = arena.arena_bytes(content)
    for size, works in ((told, True), (told - 1024, False)):
        probe = [sys.executable, "-c", arena.PROBE, str(size)]
        done = subprocess.run(probe, input=content, capture_output=True)
        assert (done.returncode == 0) == works


def test_all_stripes_share_one_copy_of_the_weights(bundled):
    plain, striped = contents(bundled)
    assert len(striped) <= 520_000
    assert len(striped) - len(plain) < 25_000
    assert bundled["micro"][1].facts["operations"]["CONV_2D"] > 10


def test_odd_lengths_and_the_published_features_can_be_cut_too(tmp_path):
    torch.manual_seed(0)
    name, options = SYSTEMS["published MFCC"]
    frontend_of_a_second = (name, {**options, "window_s": 1.0})
    fresh = System.build(frontend_of_a_second, ("light_sernet", {}), 7, standardize=False).eval()
    made = phone.write(fresh, order_for(16000), tmp_path)
    assert made.facts["input"]["shape"] == [1, 59, 40]  # odd before three of five poolings
    rng = np.random.default_rng(0)
    clips = rng.integers(-128, 128, (2, 59, 40), dtype=np.int8)
    plain = (tmp_path / phone.MODEL).read_bytes()
    for rows in (micro.STRIPES[0], {micro.FIRST_BODY: 1}, {micro.SECOND_BODY: 3}):
        check_equal(plain, in_stripes(plain, rows), clips)
    with pytest.raises(BadModel, match="no pooling 9"):
        in_stripes(plain, {9: 4})


def test_a_profile_tells_the_arena_of_a_network_that_nobody_has_trained():
    system = System.build(SYSTEMS["published MFCC"], ("light_sernet", {}), 4, standardize=False)
    taken = measure_arena(system.eval(), 48000)
    assert taken["striped"] < 130_000 < 400_000 < taken["plain"]


def test_planned_tensors_never_lie_on_each_other():
    rng = np.random.default_rng(0)
    spans = [
        plan.Span(tensor=i, size=16 * int(size), first=int(first), last=int(first + length))
        for i, (size, first, length) in enumerate(rng.integers(1, 40, (60, 3)))
    ]
    places = plan.place(spans)
    assert all(offset % plan.ALIGNMENT == 0 for offset in places.values())
    for a, b in itertools.combinations(spans, 2):
        if a.first <= b.last and b.first <= a.last:  # both there at some time
            one, two = places[a.tensor], places[b.tensor]
            assert one + a.size <= two or two + b.size <= one


def built(folder, choice, *options):
    """Write a front end and compile it; return system, library and number of frames."""
    system = System.build(choice, ("light_sernet", {}), 7, standardize=False)
    n_samples = round(system.frontend.window_s * 16000)
    n_frames = system.features(torch.zeros(1, n_samples)).shape[1]
    given = frontend.Quantisation(scale=0.05, zero_point=-3)
    sources.write_frontend(folder, system, n_samples=n_samples, n_frames=n_frames, given=given)
    return system, compiled.library(folder, *options), (n_samples, n_frames)


def in_c(library, samples, shape):
    return compiled.called(library.lightser_features, samples, np.empty(shape, np.float32))


@pytest.mark.parametrize("name", SYSTEMS)
def test_features_in_c_are_those_of_pytorch(name, cc, tmp_path, corpus_root):
    system, library, (n_samples, n_frames) = built(tmp_path, SYSTEMS[name])
    shape = n_frames, system.frontend.n_bands
    try:
        wavs = sorted(corpus_root("emodb").rglob("*.wav"))[::40]
    except pytest.skip.Exception:
        wavs = []
    for file in [*SAMPLES, *wavs]:
        samples, wave = spoken(file, n_samples)
        expected = system.features(wave)[0]
        given = in_c(library, samples, shape)
        np.testing.assert_allclose(given, expected.numpy(), rtol=0, atol=1e-3)
    codes = compiled.called(library.lightser_features_int8, samples, np.empty(shape, np.int8))
    exact = expected / 0.05 - 3
    assert np.abs(codes - exact.clip(-128, 127).numpy()).max() < 0.55


def test_silence_and_full_scale_have_the_same_features_in_c(cc, tmp_path):
    for i, choice in enumerate(SYSTEMS.values()):
        (tmp_path / str(i)).mkdir()
        system, library, (n_samples, n_frames) = built(tmp_path / str(i), choice)
        square = np.where(np.arange(n_samples) // 40 % 2, 32767, -32768).astype(np.int16)
        for samples in (np.zeros(n_samples, np.int16), square, square[:3], square[:1]):
            wave = torch.from_numpy(samples / np.float32(32768))[None]
            expected = system.features(wave)[0]
            given = in_c(library, samples, (n_frames, system.frontend.n_bands))
            # Between a square wave's harmonics all but rounding cancels, and logarithms show it.
            np.testing.assert_allclose(given, expected, rtol=0, atol=2e-3)
        for refused in (0, n_samples + 1):
            with pytest.raises(LightserError, match=f"{refused} samples"):
                in_c(library, np.zeros(refused, np.int16), (n_frames, system.frontend.n_bands))


def test_a_stream_of_hops_has_the_features_of_the_last_window(cc, tmp_path):
    system, library, (_, n_frames) = built(tmp_path, SYSTEMS["relative MFCC"])
    samples = np.concatenate([spoken(file, 48000)[0] for file in SAMPLES])
    hops = samples[: len(samples) // 256 * 256].reshape(-1, 256)
    stream = np.zeros(1 << 20, np.uint8)
    pointer = ctypes.c_void_p(stream.ctypes.data)
    library.lightser_stream_reset(pointer)
    for hop in hops:
        library.lightser_stream_push(pointer, ctypes.c_void_p(hop.ctypes.data))
    given = np.empty((n_frames, 40), np.float32)
    library.lightser_stream_features(pointer, ctypes.c_void_p(given.ctypes.data))
    window = hops.reshape(-1)[-((n_frames - 1) * 256 + 1024) :] / np.float32(32768)
    expected = system.frontend(torch.from_numpy(window)[None])[0]
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-3)


def test_the_example_compiles_without_a_warning_and_runs_under_sanitizers(
    cc, system, bundled, tmp_path
):
    folder, _ = bundled["micro"]
    files = sorted(folder.glob("*.c"))
    names = ["lightser_frontend.c", "lightser_head.c", "lightser_model.c", "lightser_voice.c"]
    assert [file.name for file in files] == [*names, "main.c"]
    clip = spoken(SAMPLES[0], 48000)[0]
    said = []
    for options in ((), ("-fsanitize=address,undefined", "-fno-sanitize-recover", "-g")):
        program = tmp_path / f"lightser{len(said)}"
        try:
            compiled.compiled(files, program, *options)
        except LightserError:
            if not options:
                raise
            pytest.skip("needs a C compiler with sanitizers")
        done = subprocess.run([program], input=clip.tobytes(), capture_output=True, check=True)
        said.append(done.stdout.decode())
    assert said[0] == said[1]
    content = (folder / phone.MODEL).read_bytes()
    assert f"model: {len(content)} bytes" in said[0]
    assert f"labels: {' '.join(LABELS)}" in said[0]
    with torch.inference_mode():
        features = system.features(spoken(SAMPLES[0], 48000)[1])[0].numpy()
    printed = np.array([int(n) for n in said[0].split("frame  46:")[1].split()[:10]])
    codes = phone.to_codes(features, bundled["phone"][1].facts["input"])
    assert np.abs(printed - codes[46, :10]).max() <= 1


def test_the_array_is_the_file_and_is_aligned(cc, bundled, tmp_path):
    folder, _ = bundled["micro"]
    content = (folder / phone.MODEL).read_bytes()
    path = compiled.compiled(
        [folder / "lightser_model.c"], tmp_path / "model.so", "-shared", "-fPIC"
    )
    array = (ctypes.c_ubyte * len(content)).in_dll(ctypes.CDLL(str(path)), "lightser_model")
    assert bytes(array) == content
    assert ctypes.addressof(array) % 16 == 0


def test_what_a_microcontroller_cannot_carry_is_refused_in_a_line(system, tmp_path, monkeypatch):
    order = Order(precision="int8", frontend="in", n_samples=48000, labels=LABELS)
    other = System.build(("relative_logmel", {}), ("zhong2020", {}), 7, standardize=True)
    with pytest.raises(BadModel, match="carries light_sernet, and this is 'zhong2020'"):
        micro.write(other, order, tmp_path)
    for options in ({"kind": "spectrogram"}, {"window_s": None}):
        odd = System.build(("light_sernet", options), ("light_sernet", {}), 7, standardize=False)
        with pytest.raises(BadModel, match="The C front end computes"):
            micro.write(odd, order, tmp_path)
    with pytest.raises(BadModel, match="3 s of features, and the model hears 4 s"):
        micro.write(system, replace(order, n_samples=64000), tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(LightserError, match=r"No C compiler 'no-such-compiler'.*--frontend out"):
        micro.write(system, order, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadModel, match="TensorFlow Lite Micro cannot run"):
        arena.arena(b"nothing of the kind" * 100)


def test_an_answer_is_that_of_the_c_front_end_and_tflite_micro(cc, system, bundled):
    folder, made = bundled["micro"]
    assert set(made.files) == {path.name for path in folder.iterdir()}
    inside = EXPORTERS["micro"].open(folder, made.facts)
    outside = EXPORTERS["micro"].open(folder, bundled["phone"][1].facts)
    for file in SAMPLES:
        wave = spoken(file, 48000)[1]
        with torch.inference_mode():
            expected, features = system(wave)[0], system.features(wave)[0].numpy()
        answer = inside(wave[0].numpy())
        np.testing.assert_allclose(answer, expected, rtol=0, atol=0.1)
        np.testing.assert_allclose(answer, outside(features), rtol=0, atol=0.01)


def test_a_voice_is_adapted_to_in_c_as_in_python(cc, system, bundled, tmp_path):
    folder, made = bundled["micro"]
    names = ("lightser_voice.c", "lightser_head.c", "lightser_model.c")
    path = tmp_path / "voice.so"
    compiled.compiled([folder / name for name in names], path, "-shared", "-fPIC")
    library = ctypes.CDLL(str(path))
    interpreter = arena.open_micro((folder / phone.MODEL).read_bytes())
    taken, given = (made.facts[end] for end in ("embedding", "output"))

    def pointer(array):
        return None if array is None else ctypes.c_void_p(array.ctypes.data)

    def probabilities(answer, embedding, mean=None, std=None):
        out = np.zeros(len(LABELS), np.float32)
        library.lightser_probabilities(*map(pointer, (answer, embedding, mean, std, out)))
        return out

    norm = system.network.embedding
    training = norm.mean.numpy(), norm.std.numpy()
    size = len(training[0])
    voice = np.zeros(1 + 2 * size, np.float32)  # a count in the place of the first
    library.lightser_voice_reset(pointer(voice))
    heard = Adaptation.empty("", size)
    for codes in codes_of(system, SAMPLES, bundled["phone"][1].facts["input"]):
        interpreter.set_input(codes[None], 0)
        interpreter.invoke()
        answer, embedding = interpreter.get_output(0)[0], interpreter.get_output(1).reshape(-1)
        np.testing.assert_array_equal(probabilities(answer, None), phone.from_codes(answer, given))
        values = phone.from_codes(embedding, taken)
        for mean, std in (training, (training[0] + training[1], 2 * training[1])):
            with torch.no_grad():
                exact = system.classify(*map(torch.from_numpy, (values[None], mean, std)))[0]
            got = probabilities(answer, embedding, mean, std)
            np.testing.assert_allclose(got, exact.numpy(), atol=1e-5)
        library.lightser_voice_hear(pointer(voice), pointer(embedding))
        heard.add(values)
    mean, std = np.zeros((2, size), np.float32)
    library.lightser_voice_norm(pointer(voice), pointer(mean), pointer(std))
    expected = heard.norm(Norm(*(x.astype(np.float64) for x in training)))
    np.testing.assert_allclose(mean, expected.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(std, expected.std, rtol=1e-3)
