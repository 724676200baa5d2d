"""``fogsim serve``: a checkpoint answers over HTTP until Ctrl-C."""

from __future__ import annotations

import signal
import socket
from asyncio import CancelledError
from logging import LogRecord, getLogger
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from fogsim.errors import UserError, one_line

if TYPE_CHECKING:
    from starlette.applications import Starlette

GRACE = 3  # s for the answers in the making, once it is to end


def serve(path: Path, host: str, port: int, draws: int, compact: bool) -> None:
    """Answer by the Open Inference Protocol until Ctrl-C or SIGTERM.

    Parameters
    ----------
    path : Path
        Checkpoint of `filters.posterior`, or of `fogsim train classifier`; its stem is the model's name.
    host, port : str, int
        Where to listen; any free port if 0.
    draws : int
        Of the weights, by which is predicted; no more than come with the checkpoint of a classifier.
    compact : bool
        Whether these are kept in eight bits.

    Raises
    ------
    UserError
        If the extra is not installed, the port is in use, or the checkpoint cannot be used.
    """
    check_extra()
    with listening(host, port) as listener:
        application = loaded(path, draws, compact)
        where = f"[{host}]" if ":" in host else host
        name = quote(path.stem)
        print(f"http://{where}:{listener.getsockname()[1]}/v2/models/{name}: Ctrl-C ends it", flush=True)
        answer(application, listener)


def check_extra() -> None:
    """Refuse where nothing can serve."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(f"found no {error.name}, which serves: pip install 'fogsim[serve]'") from error


def listening(host: str, port: int) -> socket.socket:
    """A socket to which clients can connect; they are answered once the checkpoint is loaded."""
    try:
        made = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError) as error:
        what = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"cannot listen at {host}, port {port} ({what}): choose another --port or --host") from error
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does not for such a socket: 40 ms an answer
    return made


def loaded(path: Path, draws: int, compact: bool) -> Starlette:
    """The checkpoint as an application, with torch in one thread."""
    from filters.posterior import served
    from fogsim.serving import application

    served.use_one_thread()
    try:
        return application(path.stem, served.load(path, draws, compact))
    except ValueError as error:
        raise UserError(one_line(error)) from error


def answer(application: Starlette, listener: socket.socket) -> None:
    """Until a signal says that it is enough."""
    import uvicorn

    settings = uvicorn.Config(
        application,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    server = uvicorn.Server(settings)

    def end(*_: object) -> None:  # uvicorn raises again what it has heeded, which would be an error
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    getLogger("uvicorn.error").addFilter(is_news)
    server.run(sockets=[listener])


def is_news(record: LogRecord) -> bool:
    """Not that a client which had not sent all its question was not waited for."""
    return not (record.exc_info and isinstance(record.exc_info[1], CancelledError))
