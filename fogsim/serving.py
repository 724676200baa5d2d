"""A Bayesian network over HTTP, as KServe and Triton would serve it.

    GET   /v2   /v2/health/live   /v2/health/ready
    GET   /v2/models/NAME[/versions/1]   /v2/models/NAME[/versions/1]/ready
    POST  /v2/models/NAME[/versions/1]/infer

The network answers in the event loop's own thread: one core does all the work, and `ROWS` bounds how long others wait.
What is not answered is told as {"error": one line}.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fogsim.errors import one_line
from fogsim.open_inference import INPUT, OUTPUTS, ROWS, RequestError, answer, question

if TYPE_CHECKING:
    from filters.posterior.served import Served

VERSION = "1"
BYTES = 8 * 2**20  # of a body: as many rows as may be, of 1024 inputs in FP64
DRAINED = 4 * BYTES  # of a body that is too long: who is still sending reads no answer
LENGTH = "Inference-Header-Content-Length"


class Endpoints:
    """What is answered where, of one model."""

    def __init__(self, name: str, model: Served) -> None:
        """It is asked once, so that nobody waits for its first answer."""
        self.name, self.model = name, model
        self.widths = {name: part.shape[1] for name, part in self.outputs(model.mean[None]).items()}

    def outputs(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """By their names here."""
        made = self.model.predict(x)
        return {name: made[name.lower()] for name in OUTPUTS}

    def routes(self) -> list[Route]:
        """Their paths."""
        routes = [
            Route("/v2", self.server),
            Route("/v2/health/live", self.health),
            Route("/v2/health/ready", self.health),
        ]
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [Route(path, self.metadata), Route(f"{path}/ready", self.ready)]
            routes += [Route(f"{path}/infer", self.infer, methods=["POST"])]
        return routes

    async def server(self, request: Request) -> Response:
        """What serves."""
        return JSONResponse({"name": "fogsim", "version": version("fogsim"), "extensions": ["binary_tensor_data"]})

    async def health(self, request: Request) -> Response:
        """Whoever answers is live, and ready."""
        return JSONResponse({request.url.path.rpartition("/")[2]: True})

    async def metadata(self, request: Request) -> Response:
        """The model's tensors."""
        self.check(request)
        widths = {INPUT: len(self.model.mean), **self.widths}
        tensors = [{"name": name, "datatype": "FP32", "shape": [-1, width]} for name, width in widths.items()]
        told = {"name": self.name, "versions": [VERSION], "platform": "fogsim"}
        return JSONResponse(told | {"inputs": tensors[:1], "outputs": tensors[1:]})

    async def ready(self, request: Request) -> Response:
        """Whether the model is."""
        self.check(request)
        return JSONResponse({"name": self.name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """The model's answer."""
        self.check(request)
        asked = question(await body_of(request), request.headers.get(LENGTH))
        try:
            outputs = self.outputs(asked.x)
        except ValueError as error:
            raise RequestError(one_line(error)) from None
        body, length = answer({"model_name": self.name, "model_version": VERSION}, asked, outputs)
        if length is None:
            return Response(body, media_type="application/json")
        return Response(body, media_type="application/octet-stream", headers={LENGTH: str(length)})

    def check(self, request: Request) -> None:
        """Refuse another model than there is."""
        found = request.path_params["model"], request.path_params.get("version", VERSION)
        if found != (self.name, VERSION):
            raise RequestError(
                f"found model {found[0]!r}, version {found[1]!r}, expected {self.name!r}, {VERSION!r}", 404
            )


async def body_of(request: Request) -> bytes:
    """All of it, unless it is too long."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise RequestError("found a compressed body, expected a plain one", 415)
    chunks, length = [], 0
    async for chunk in request.stream():
        length += len(chunk)
        if length <= BYTES:
            chunks.append(chunk)
        elif length > DRAINED:
            break
    if length > BYTES:
        raise RequestError(f"found a body of more than {BYTES} bytes: ask in parts of fewer rows than {ROWS}", 413)
    return b"".join(chunks)


async def refused(request: Request, error: Exception) -> Response:
    """Why a question is not answered."""
    assert isinstance(error, RequestError)
    return JSONResponse({"error": str(error)}, error.status)


async def no_such_thing(request: Request, error: Exception) -> Response:
    """What Starlette refuses: paths and methods."""
    assert isinstance(error, HTTPException)
    what = f"{error.detail}: {request.method} {request.url.path!r}"
    return JSONResponse({"error": what}, error.status_code, dict(error.headers or {}))


async def gone(request: Request, error: Exception) -> Response:
    """For a client that has hung up, and reads nothing."""
    return Response(status_code=400)


async def fault(request: Request, error: Exception) -> Response:
    """The traceback is for whoever serves, on stderr, not for the client."""
    return JSONResponse({"error": "a fault of fogsim: the server's own output tells which"}, 500)


def application(name: str, model: Served) -> Starlette:
    """All of it, for a server of ASGI.

    Raises
    ------
    ValueError
        In one line, if the model has no finite answer even at its inputs' mean.
    """
    handlers = {RequestError: refused, HTTPException: no_such_thing, ClientDisconnect: gone, Exception: fault}
    return Starlette(routes=Endpoints(name, model).routes(), exception_handlers=handlers)
