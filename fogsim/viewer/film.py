"""Films: pictures at an even pace into an mp4 (H.264) or a gif, by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pygame

from fogsim.errors import UserError, one_line
from fogsim.viewer.picture import check_new

RATE = 30  # pictures a second of what a window records
SUFFIXES = (".mp4", ".gif")
FASTEST_GIF = 50  # pictures a second: viewers show no more
CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mp4": ("h264", "yuv420p", {"crf": "20", "preset": "veryfast"}),  # 4:2:0, as players ask for
    ".gif": ("gif", "pal8", {}),
}


class Film:
    """A film that gets its name when it is finished; a context manager. After an error nothing is left of it.

    Parameters
    ----------
    path : path
        New, of one of `SUFFIXES`.
    size : (int, int)
        Of its pictures, px; odd ones lose a line, for 4:2:0 has none.
    rate : Fraction or int
        Pictures a second.
    samples : pictures
        From which a gif's 256 colours are taken; an mp4 needs none.

    Raises
    ------
    UserError
        If the file exists, its folder does not, or it cannot be such a film.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], rate: Fraction | int, samples: Sequence[pygame.Surface] = ()
    ) -> None:
        check_new(path)
        check_film(path, rate)
        import av

        path.touch(exist_ok=False)  # nobody else's, from now on
        self.path, self.size, self.pictures = path, (size[0] // 2 * 2, size[1] // 2 * 2), 0
        self._passing = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
        self._step = 1 / Fraction(rate).limit_denominator(1000)
        codec, pixels, options = CODECS[path.suffix.lower()]
        try:
            self._file: Any = av.open(str(self._passing), "w", format=path.suffix[1:].lower())
        except OSError as error:
            path.unlink()
            raise UserError(f"cannot write {path} ({error.strerror}): choose another folder") from error
        stream: Any = self._file.add_stream(codec, rate=1 / self._step, options=options)
        (stream.width, stream.height), stream.pix_fmt = self.size, pixels
        stream.codec_context.time_base, self._stream = self._step, stream
        self._colours = Colours([self._frame(sample) for sample in samples]) if samples else None

    def add(self, picture: pygame.Surface) -> None:
        """The next picture."""
        frame = self._frame(picture)
        self.pictures += 1
        self._encode(frame if self._colours is None else self._colours.of(frame))

    def _frame(self, picture: pygame.Surface) -> Any:
        """A picture as PyAV has it, at its time."""
        import av

        (width, height), (columns, rows) = picture.get_size(), self.size
        pixels = np.frombuffer(pygame.image.tobytes(picture, "RGB"), np.uint8).reshape(height, width, 3)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:rows, :columns]), format="rgb24")
        frame.pts, frame.time_base = self.pictures, self._step
        return frame

    def _encode(self, frame: Any) -> None:
        try:
            self._file.mux(self._stream.encode(frame))
        except OSError as error:
            cause = one_line(error)
            raise UserError(f"cannot write {self.path} ({cause}): make room, or choose another folder") from error

    def close(self) -> None:
        """Finish it; of a film without a picture nothing is left."""
        try:
            self._encode(None)
            self._file.close()
            if self.pictures:
                self._passing.replace(self.path)
        except OSError as error:
            self.pictures = 0
            cause = one_line(error)
            raise UserError(f"cannot write {self.path} ({cause}): make room, or choose another folder") from error
        finally:
            self._forget()

    def _forget(self) -> None:
        """Leave nothing but a film that is finished."""
        self._passing.unlink(missing_ok=True)
        if self.path.exists() and not (self.pictures and self.path.stat().st_size):
            self.path.unlink()

    def __enter__(self) -> Film:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return self.close()
        with suppress(OSError):
            self._file.close()
        self._forget()


def check_film(path: Path, rate: Fraction | int) -> None:
    """Refuse what cannot be a film."""
    if path.suffix.lower() not in SUFFIXES:
        found, expected = path.suffix or "no suffix", " or ".join(SUFFIXES)
        raise UserError(f"cannot film into {path}: found {found}, expected {expected}")
    if path.suffix.lower() == ".gif" and rate > FASTEST_GIF:
        found, most = f"{float(rate):g} pictures a second", FASTEST_GIF
        raise UserError(f"found {found}, a gif shows {most} at most: lower --speed, or name a .mp4")


class Colours:
    """Brings frames down to 256 colours, those that tell the samples best (FFmpeg's palettegen and paletteuse)."""

    def __init__(self, samples: list[Any]) -> None:
        import av

        palette, like = self._palette(samples), samples[0]
        self._graph = av.filter.Graph()
        frames = self._graph.add_buffer(
            width=like.width, height=like.height, format=like.format, time_base=like.time_base
        )
        colours = self._graph.add_buffer(width=16, height=16, format=palette.format, time_base=like.time_base)
        use, sink = self._graph.add("paletteuse", "dither=none:diff_mode=rectangle"), self._graph.add("buffersink")
        frames.link_to(use, 0, 0)
        colours.link_to(use, 0, 1)
        use.link_to(sink)
        self._graph.configure()
        palette.pts, palette.time_base = 0, like.time_base
        colours.push(palette)
        colours.push(None)
        self._frames, self._sink = frames, sink

    @staticmethod
    def _palette(samples: list[Any]) -> Any:
        """Of all samples, as a picture of 16 x 16."""
        import av

        like, graph = samples[0], av.filter.Graph()
        source = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=like.time_base)
        generate, sink = graph.add("palettegen"), graph.add("buffersink")
        source.link_to(generate)
        generate.link_to(sink)
        graph.configure()
        for sample in samples:
            source.push(sample)
        source.push(None)
        return sink.pull()

    def of(self, frame: Any) -> Any:
        """A frame in these colours."""
        self._frames.push(frame)
        return self._sink.pull()
