"""How recordings are listened to: whole, or in segments, perhaps of each channel for itself."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lightser.audio.channels import stream_channels
from lightser.audio.files import Source, audio_info, read_audio, stream_audio
from lightser.inference.adaptation import Adaptation
from lightser.inference.recognizer import Prediction, Recognizer
from lightser.inference.segments import Segment, Wave
from lightser.inference.smoothing import Smoothing
from lightser.inference.sources import Audio, mono_blocks, opened
from lightser.inference.stream import Stream
from lightser.inference.vad import SpeechGate


@dataclass(frozen=True, kw_only=True)
class Manner:
    """What is wanted of a recording; segments are wanted where any but the track says something.

    Attributes:
        window_s: seconds that a segment lasts; None is the model's own, if segments are wanted.
        hop_s: seconds from one segment's start to the next; None is half a window.
        per_channel: whether each channel has segments of its own.
        smoothing: of labels over time.
        gate: by which a segment counts as silence.
        track: the audio track, from 1 on, or "all", one after another; None is the one that a
            player plays.
    """

    window_s: float | None = None
    hop_s: float | None = None
    per_channel: bool = False
    smoothing: Smoothing | None = None
    gate: SpeechGate | None = None
    track: int | Literal["all"] | None = None

    @property
    def wants_segments(self) -> bool:
        """Whether recordings are cut; otherwise they are clips, and taken whole."""
        return replace(self, track=None) != CLIPS


CLIPS = Manner()  # recordings are taken whole


class Listening:
    """A recogniser that listens in a manner.

    Raises:
        LightserError: the window or hop does not fit.
        MissingExtra: the gate needs the extra ``live``.
    """

    def __init__(self, recognizer: Recognizer, manner: Manner):
        self.recognizer = recognizer
        self.manner = manner
        self._by_channel: Sequence[Recognizer] = ()  # where each hears another voice
        if manner.wants_segments:
            self.new_stream()  # refuses what does not fit, before anything is listened to

    def new_stream(self, channel: int = 0) -> Stream:
        """Return what gives the segments of one recording, or of one channel, counted from 0."""
        manner = self.manner
        return Stream(
            self._by_channel[channel] if channel < len(self._by_channel) else self.recognizer,
            window_s=manner.window_s,
            hop_s=manner.hop_s,
            smoothing=manner.smoothing,
            gate=manner.gate,
        )

    def tracks_of(self, source: Source) -> list[int | None]:
        """Return the tracks of a file that are wanted.

        Raises:
            BadAudio: it cannot be read.
        """
        if self.manner.track != "all":
            return [self.manner.track]
        return list(range(1, audio_info(source, track=1).tracks + 1))

    def learn(self, source: Audio, before: Sequence[Adaptation] = ()) -> list[Adaptation]:
        """Listen to the voice of a recording, or to that of each channel, where these are wanted.

        It is the same in all tracks. Where segments count as silence, these do not count.

        Args:
            source: as :meth:`segments` takes it, and can be read again.
            before: what was heard of each voice before.

        Raises:
            BadAudio: it cannot be read.
            BadAdaptation: the model cannot be adapted.
        """
        recognizer, window_s = self.recognizer, self.recognizer.card.window_s
        tracks = self.tracks_of(opened(source))  # type: ignore[arg-type]
        if not self.manner.wants_segments:
            heard = before[0] if before else None
            for track in tracks:
                heard = recognizer.adapt([source], before=heard, track=track)
            return [] if heard is None else [heard]

        def new_stream(channel: int) -> Stream:
            return Stream(
                recognizer,
                window_s=window_s,
                hop_s=window_s,
                gate=self.manner.gate,
                adaptation=before[channel] if channel < len(before) else recognizer.adapt([]),
            )

        rate = recognizer.card.sample_rate
        streams: list[Stream] = []
        for track in tracks:
            blocks: Iterable[Wave]
            if self.manner.per_channel:
                blocks = stream_channels(opened(source), rate, track=track)  # type: ignore[arg-type]
            else:
                waves = mono_blocks(source, None, rate, track=track)
                blocks = (wave[:, None] for wave in waves)
            for block in blocks:
                more = range(len(streams), block.shape[1])  # tracks may have more of them
                streams += [new_stream(channel) for channel in more]
                for stream, wave in zip(streams, block.T, strict=False):
                    stream.push(wave)
            for stream in streams:
                stream.flush()
        return [stream.adaptation for stream in streams if stream.adaptation is not None]

    def adapted(self, heard: Sequence[Adaptation]) -> "Listening":
        """Return one that goes by what :meth:`learn` has heard; by one, all channels if need be.

        Raises:
            BadAdaptation: it is of another model.
        """
        one = copy.copy(self)
        recognizers = [self.recognizer.adapted(adaptation) for adaptation in heard]
        if len(recognizers) > 1:
            one._by_channel = recognizers
        else:
            (one.recognizer,) = recognizers
        return one

    def segments(
        self, source: Audio, sample_rate: int | None = None, *, track: int | None = None
    ) -> Iterator[tuple[int | None, Segment]]:
        """Yield the segments of a recording, each with its channel, in the order of their ends.

        Args:
            source: as :meth:`Recognizer.predict` takes it; with ``per_channel``, a file.
            sample_rate: hertz, of samples in memory.
            track: of a file with several.

        Raises:
            BadAudio: it cannot be read; segments before the damage have been given.
        """
        rate, heed = self.recognizer.card.sample_rate, self.recognizer.heed_rate
        if not self.manner.per_channel:
            yield from self._segments_of(mono_blocks(source, sample_rate, rate, heed, track), None)
            return
        streams: list[Stream] = []
        file: Source = opened(source)  # type: ignore[assignment]
        for block in stream_channels(file, rate, recorded_at=heed, track=track):
            streams = streams or [self.new_stream(channel) for channel in range(block.shape[1])]
            yield from _by_end(s.push(c) for s, c in zip(streams, block.T, strict=True))
        yield from _by_end(stream.flush() for stream in streams)

    def stretch(
        self,
        source: Source,
        *,
        start: float | None = None,
        end: float | None = None,
        channel: int | None = None,
        track: int | None = None,
    ) -> Iterator[tuple[int | None, Segment]]:
        """Yield what is heard in a stretch of a file: its segments, or all of it as one.

        Times are those of the file. A stretch is held in memory, and so is a channel that is not
        cut into segments; nothing else grows with the file.

        Args:
            source: a path or a binary file object.
            start: seconds; None is the beginning.
            end: seconds; None is the end.
            channel: from 1 on; None is all of them mixed.
            track: of a file with several.

        Raises:
            BadAudio: as :meth:`segments`; or it has no such channel or stretch.
        """
        if start is None and end is None and self.manner.wants_segments:
            if channel is None:
                yield from self.segments(source, track=track)
            else:
                rate = self.recognizer.card.sample_rate
                waves = stream_audio(source, rate, channel=channel, track=track)
                yield from self._segments_of(waves, channel)
            return
        heard, hertz = self.cut_out(source, start=start, end=end, channel=channel, track=track)
        offset = start or 0.0
        if not self.manner.wants_segments:
            yield channel, as_segment(self.recognizer.predict(heard, hertz), offset)
            return
        for _, said in self.segments(heard, hertz):
            moved = replace(said, start=offset + said.start, end=offset + said.end)
            yield channel, moved

    def cut_out(
        self,
        source: Source,
        *,
        start: float | None = None,
        end: float | None = None,
        channel: int | None = None,
        track: int | None = None,
    ) -> tuple[Audio, int | None]:
        """Return a stretch as :meth:`Recognizer.predict` takes it: the source, and its rate.

        Raises:
            BadAudio: as :meth:`stretch`.
        """
        rate = self.recognizer.card.sample_rate
        if (start, end, channel, track) == (None,) * 4:
            return source, None
        silence = self.manner.wants_segments  # then it is what they say
        part = {"start": start, "end": end}
        waves = read_audio(source, rate, **part, channel=channel, track=track, silence=silence)
        return waves, rate

    def _segments_of(
        self, waves: Iterable[Wave], channel: int | None
    ) -> Iterator[tuple[int | None, Segment]]:
        stream = self.new_stream()
        for wave in waves:
            yield from ((channel, segment) for segment in stream.push(wave))
        yield from ((channel, segment) for segment in stream.flush())


def as_segment(clip: Prediction, start: float) -> Segment:
    """Return what was heard in a whole clip that began at ``start`` seconds."""
    end = start + clip.duration_s
    return Segment(start, end, clip.label, clip.confidence, clip.probabilities)


def _by_end(channels: Iterable[list[Segment]]) -> list[tuple[int, Segment]]:
    """Return the segments of all channels, counted from 1, in the order of their ends."""
    found = [(n, segment) for n, segments in enumerate(channels, 1) for segment in segments]
    return sorted(found, key=lambda item: (item[1].end, item[0]))
