"""The server, as the real command: Triton's own client is answered as the ensemble answers, all else is refused."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filters.posterior import checkpoint, served
from filters.posterior.ensemble import Ensemble
from filters.posterior.likelihoods import Categorical, Gaussian
from filters.posterior.mlp import Mlp
from filters.posterior.reparameterised import Reparameterised
from filters.posterior.spec import predict
from fogsim.cli import main
from fogsim.open_inference import OUTPUTS, ROWS, RequestError, question
from fogsim.serve_command import listening
from fogsim.serving import BYTES, application

DRAWS = 40
MEAN, DEVIATION = [1.0, -2.0, 0.5], [2.0, 0.5, 3.0]
ENGINES = {
    "classes": Reparameterised(Mlp((3, 16, 4)), Categorical(4)),
    "reals": Reparameterised(Mlp((2, 16, 16, 2), "tanh"), Gaussian()),
    "classes.compact": Reparameterised(Mlp((3, 16, 4)), Categorical(4)),
}


class Server(NamedTuple):
    """A running server, and what it ought to answer."""

    url: str
    name: str
    model: served.Served

    @property
    def infer(self):
        return f"{self.url}/v2/models/{self.name}/infer"

    @property
    def place(self):
        return self.url.removeprefix("http://")

    def inputs(self, rows, seed=0):
        return np.random.default_rng(seed).normal(size=(rows, len(self.model.mean))).astype(np.float32)

    def expected(self, x):
        return {name: self.model.predict(x)[name.lower()] for name in OUTPUTS}


def save(path, name, header):
    engine = ENGINES[name]
    checkpoint.save(path, engine, engine.init(torch.Generator().manual_seed(0)), header)
    return path


@contextmanager
def started(path, *options):
    """The command, and its first line; it must say nothing else."""
    command = [sys.executable, "-m", "fogsim.cli", "serve", str(path), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline()
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.fixture(scope="module", params=ENGINES)
def server(request, tmp_path_factory):
    name = request.param
    header = {} if name == "reals" else {"mean": MEAN, "deviation": DEVIATION}
    path = save(tmp_path_factory.mktemp("served") / f"{name}.safetensors", name, header)
    compact = name.endswith("compact")
    with started(path, "--draws", str(DRAWS), *["--compact"] * compact) as (_, line):
        yield Server(line.partition("/v2/")[0], name, served.load(path, DRAWS, compact))


only_classes = pytest.mark.parametrize("server", ["classes"], indirect=True)


@pytest.fixture(scope="module")
def triton():
    return pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")


def get(url):
    with urlopen(url) as reply:
        return json.load(reply)


def ask(url, body, headers=None) -> tuple[int, Any]:
    """Status and JSON of a POST."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, headers or {})) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        return error.code, json.load(error)


def message(x, **more):
    return {"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": list(x.shape), "data": x.tolist()}], **more}


# What is answered


def test_what_is_served_is_the_posterior_of_the_standardised_inputs(tmp_path):
    model = served.load(save(tmp_path / "a.safetensors", "classes", {"mean": MEAN, "deviation": DEVIATION}), DRAWS)
    engine, state, _ = checkpoint.load(tmp_path / "a.safetensors")
    x = np.random.default_rng(1).normal(size=(9, 3))
    standard = torch.as_tensor((x - MEAN) / DEVIATION, dtype=torch.float32)
    expected = predict(engine, state, standard, torch.Generator().manual_seed(served.SEED), DRAWS)
    for name, part in expected._asdict().items():
        np.testing.assert_allclose(model.predict(x)[name], part.reshape(9, -1), atol=1e-6)
    assert isinstance(model.ensemble, Ensemble)
    assert len(model.ensemble.biases[0]) == DRAWS


def test_a_client_learns_what_is_served(server, triton):
    with triton.InferenceServerClient(server.place) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(server.name)
        assert client.is_model_ready(server.name, "1")
        assert not client.is_model_ready("another")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        told = client.get_model_metadata(server.name)
    assert told == get(f"{server.url}/v2/models/{server.name}/versions/1")
    assert told["inputs"] == [{"name": "INPUT", "datatype": "FP32", "shape": [-1, len(server.model.mean)]}]
    widths = [1, 1, 1, 1, 1] if server.name == "reals" else [4, 4, 4, 1, 1]
    assert [output["name"] for output in told["outputs"]] == list(OUTPUTS)
    assert [output["shape"] for output in told["outputs"]] == [[-1, width] for width in widths]


@pytest.mark.parametrize("kind", ["FP32", "FP64"])
@pytest.mark.parametrize("sent", ["binary", "json"])
@pytest.mark.parametrize("told", ["all", "binary", "json", "mixed"])
def test_a_client_is_answered_as_the_ensemble_answers(server, triton, kind, sent, told):
    x = server.inputs(7).astype({"FP32": np.float32, "FP64": np.float64}[kind])
    given = triton.InferInput("INPUT", list(x.shape), kind)
    given.set_data_from_numpy(x, binary_data=sent == "binary")
    names = {"all": OUTPUTS, "binary": ("MEAN", "ENTROPY"), "json": ("ENTROPY",), "mixed": OUTPUTS[::-1]}[told]
    as_bytes = {name: told == "binary" or (told == "mixed" and name < "F") for name in names}
    outputs = [triton.InferRequestedOutput(name, binary_data=as_bytes[name]) for name in names]
    with triton.InferenceServerClient(server.place) as client:
        asked = {"outputs": None if told == "all" else outputs, "request_id": "seven"}
        result = client.infer(server.name, [given], **asked)
    reply = result.get_response()
    assert (reply["id"], reply["model_name"], reply["model_version"]) == ("seven", server.name, "1")
    assert [output["name"] for output in reply["outputs"]] == list(names)
    for name in names:
        np.testing.assert_allclose(result.as_numpy(name), server.expected(x)[name], atol=1e-5)
    if server.name != "reals":
        np.testing.assert_allclose(server.expected(x)["MEAN"].sum(axis=1), 1.0, atol=1e-5)


def test_lists_may_be_flat_and_one_asker_is_told_the_same_twice(server):
    x = server.inputs(5)
    flat = message(x)
    flat["inputs"][0]["data"] = x.ravel().tolist()
    replies = [ask(server.infer, body)[1]["outputs"] for body in (message(x), flat, message(x), message(x, outputs=[]))]
    assert all(reply == replies[0] for reply in replies)
    for output in replies[0]:
        found = np.reshape(output["data"], output["shape"])
        np.testing.assert_allclose(found, server.expected(x)[output["name"]], atol=1e-5)


def test_clients_at_once_are_each_answered_their_own(server, triton):
    def client_of(seed):
        with triton.InferenceServerClient(server.place) as client:
            for turn in range(20):
                x = server.inputs(1 + turn % 5, seed=100 * seed + turn)
                given = triton.InferInput("INPUT", list(x.shape), "FP32")
                given.set_data_from_numpy(x)
                name = f"{seed}-{turn}"
                result = client.infer(server.name, [given], request_id=name)
                assert result.get_response()["id"] == name
                np.testing.assert_allclose(result.as_numpy("MEAN"), server.expected(x)["MEAN"], atol=1e-5)
        return seed

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(client_of, range(4))) == list(range(4))


@only_classes
def test_as_many_rows_as_may_be(server):
    status, reply = ask(server.infer, message(server.inputs(ROWS), outputs=[{"name": "MEAN"}]))
    assert (status, reply["outputs"][0]["shape"]) == (200, [ROWS, 4])


# What is refused

X = [[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]]


def asked(data=X, shape=(2, 3), kind="FP32", name="INPUT", **more):
    tensor = {"name": name, "datatype": kind, "shape": list(shape), "data": data}
    return {"inputs": [{**tensor, **more}]}


def outputs(*names, **parameters):
    return asked() | {"outputs": [{"name": name, "parameters": parameters} for name in names]}


NESTED = b'{"inputs": ' + b"[" * 100_000
BAD: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "found no JSON"),
    "no JSON": (b"{", "found no JSON"),
    "no text": (b"\xff\xfe\xfd", "found no JSON"),
    "nested": (NESTED, "nested too deep"),
    "a list": ([1], "expected a JSON object"),
    "no inputs": ({}, "expected one tensor, INPUT"),
    "two inputs": ({"inputs": asked()["inputs"] * 2}, "expected one tensor, INPUT"),
    "inputs are numbers": ({"inputs": [1]}, "expected one tensor, INPUT"),
    "name": (asked(name="input"), "found input 'input', expected INPUT"),
    "datatype": (asked(kind="INT64"), "found datatype 'INT64', expected FP32 or FP64"),
    "datatype is a list": (asked(kind=["FP32"]), "expected FP32 or FP64"),
    "width": (asked([[0.1, 0.2]], (1, 2)), "found inputs of shape [1, 2], expected [n, 3]"),
    "one dimension": (asked(X[0], (3,)), "expected two whole numbers above 0"),
    "no rows": (asked([], (0, 3)), "expected two whole numbers above 0"),
    "negative": (asked(X, (-2, -3)), "expected two whole numbers above 0"),
    "half a row": (asked(X, (1.5, 3)), "expected two whole numbers above 0"),
    "true": (asked(X, (True, 3)), "expected two whole numbers above 0"),
    "columns": (asked(X, (2, 10**4000)), "expected two whole numbers above 0"),
    "rows": (asked([X[0]] * (ROWS + 1), (ROWS + 1, 3)), f"found {ROWS + 1} rows, expected at most {ROWS}"),
    "fewer data": (asked(X[:1]), "not of shape [2, 3]"),
    "ragged": (asked([X[0], [1.0]]), "not of shape [2, 3]"),
    "nested deeper": (asked([X]), "not of shape [2, 3]"),
    "rows of another shape": (asked([[1.0, 2.0]] * 3), "not of shape [2, 3]"),
    "no data": (asked(None), "not of shape [2, 3]"),
    "words": (asked(["1"] * 6), "not all numbers"),
    "a word for a row": (asked([X[0], "abc"]), "not of shape [2, 3]"),
    "truths": (asked([True] * 6), "not all numbers"),
    "null": (asked([[0.1, None, 0.3], X[0]]), "not all numbers"),
    "NaN": (asked([[0.1, float("nan"), 0.3], X[0]]), "not finite"),
    "infinity": (asked([[0.1, float("inf"), 0.3], X[0]]), "not finite"),
    "beyond float32": (asked([[0.1, 1e39, 0.3], X[0]]), "not finite"),
    "beyond float32, as FP64": (asked([[0.1, 1e39, 0.3], X[0]], kind="FP64"), "not finite"),
    "beyond any float": (asked([[0.1, 10**400, 0.3], X[0]]), "too large for a float"),
    "outputs overflow": (asked([[0.1, 1e38, 0.3], X[0]]), "outputs are not finite"),
    "id": (asked() | {"id": 7}, "found id 7, expected a string"),
    "output": (outputs("MEDIAN"), "found output 'MEDIAN', expected each once of MEAN"),
    "output twice": (outputs("MEAN", "MEAN"), "found output 'MEAN', expected each once"),
    "output is a word": (asked() | {"outputs": ["MEAN"]}, "expected a list of tensors"),
    "outputs are a word": (asked() | {"outputs": "MEAN"}, "expected a list of tensors"),
    "output's name is a list": (outputs(["MEAN"]), "expected each once of MEAN"),
    "classification": (outputs("MEAN", classification=2), "'classification'"),
    "parameters": (asked(parameters=[1]), "expected a JSON object"),
    "bytes that are not there": (asked(parameters={"binary_data_size": 24}), "found 0 bytes behind the JSON"),
}


@only_classes
@pytest.mark.parametrize("case", BAD)
def test_a_bad_question_is_refused_in_a_line(server, case):
    body, reason = BAD[case]
    status, reply = ask(server.infer, body)
    assert (status, list(reply)) == (400, ["error"])
    assert reason in reply["error"]
    assert "\n" not in reply["error"]
    assert len(reply["error"]) < 250


BINARY: dict[str, tuple[Any, int, Any, str]] = {
    "fewer bytes": (24, 20, None, "found 20 bytes behind the JSON"),
    "more bytes": (24, 28, None, "found 28 bytes behind the JSON"),
    "other size": (20, 20, None, "expected 24 for FP32"),
    "no size": (None, 24, None, "a binary_data_size of None"),
    "size is a word": ("24", 24, None, "a binary_data_size of '24'"),
    "length is no number": (24, 24, "many", "found 'many' bytes of JSON announced"),
    "length is negative": (24, 24, "-1", "found '-1' bytes of JSON announced"),
    "length is beyond": (24, 24, "100000", "found '100000' bytes of JSON announced"),
    "length is endless": (24, 24, "9" * 5000, "bytes of JSON announced"),
    "length is short": (24, 24, "3", "found no JSON"),
}


@only_classes
@pytest.mark.parametrize("case", BINARY)
def test_bytes_that_do_not_fit_are_refused(server, case):
    size, sent, length, reason = BINARY[case]
    text = json.dumps(asked(parameters={"binary_data_size": size})).encode()
    headers = {"Inference-Header-Content-Length": str(len(text)) if length is None else length}
    status, reply = ask(server.infer, text + bytes(sent), headers)
    assert (status, list(reply)) == (400, ["error"])
    assert reason in reply["error"]


@only_classes
def test_bytes_may_hold_no_value_that_is_not_finite(server):
    text = json.dumps(asked(parameters={"binary_data_size": 24})).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    for value in (np.nan, np.inf, -np.inf):
        status, reply = ask(server.infer, text + np.full(6, value, "<f4").tobytes(), headers)
        assert (status, "not finite" in reply["error"]) == (400, True)


@only_classes
def test_a_body_has_a_limit_whether_its_length_is_told_or_not(server):
    assert ask(server.infer, b" " * BYTES)[0] == 400
    status, reply = ask(server.infer, b" " * (BYTES + 1))
    assert status == 413
    assert reply["error"].startswith(f"found a body of more than {BYTES} bytes")
    connection = HTTPConnection(server.place)
    connection.request("POST", f"/v2/models/{server.name}/infer", iter([b" " * BYTES, b" "]), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


@only_classes
def test_other_places_ways_and_encodings_are_refused(server):
    for path in (
        "models/another",
        "models/another/ready",
        "models/classes/versions/2",
        "models/classes/infer/x",
        "x",
    ):
        with pytest.raises(HTTPError) as caught:
            get(f"{server.url}/v2/{path}")
        assert caught.value.code == 404
        assert list(json.load(caught.value)) == ["error"]
    assert ask(f"{server.url}/v2/models/another/infer", asked())[0] == 404
    assert ask(f"{server.url}/v2/models/classes/versions/2/infer", asked())[0] == 404
    assert ask(f"{server.url}/v2/models/classes", asked())[0] == 405
    assert ask(server.infer, asked(), {"Content-Encoding": "gzip"})[0] == 415
    assert ask(f"{server.url}/v2/models/classes/versions/1/infer", asked())[0] == 200


@only_classes
def test_who_hangs_up_in_the_middle_does_not_disturb(server):
    host, _, port = server.place.partition(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v2/models/{server.name}/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{{"
            connection.sendall(head.encode())
    assert ask(server.infer, asked())[0] == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda part: st.lists(part, max_size=4),
)
KEYS = st.sampled_from(["name", "datatype", "shape", "data", "parameters"])


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw of a text takes a second
@given(
    st.dictionaries(KEYS, JSON), st.dictionaries(st.sampled_from(["id", "outputs", "parameters"]), JSON), st.binary()
)
def test_whatever_is_asked_is_read_or_refused(tensor, told, behind):
    text = json.dumps({"inputs": [{**asked()["inputs"][0], **tensor}], **told}).encode()
    for length in (None, str(len(text))):
        with suppress(RequestError):
            assert len(question(text + behind * (length is not None), length).x) <= ROWS


def test_a_fault_of_ours_is_no_traceback_for_the_client(tmp_path):
    class Broken(served.Served):
        broken = False

        def predict(self, x):
            if len(x) > 1:
                raise KeyError("secret")
            return super().predict(x)

    model = served.load(save(tmp_path / "classes.safetensors", "classes", {}), 2)
    sent: list[dict[str, Any]] = []

    async def receive():
        return {"type": "http.request", "body": json.dumps(asked()).encode()}

    async def send(part):
        sent.append(part)

    scope = {"type": "http", "method": "POST", "path": "/v2/models/a/infer", "headers": [], "query_string": b""}
    app = application("a", Broken(model.ensemble, model.mean, model.deviation))
    with pytest.raises(KeyError):  # for the server's log
        asyncio.run(app({**scope, "raw_path": b"", "root_path": ""}, receive, send))
    assert sent[0]["status"] == 500
    assert list(json.loads(sent[1]["body"])) == ["error"]
    assert b"secret" not in sent[1]["body"]


# How it begins and ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_whoever_is_still_connected(tmp_path, number):
    path = save(tmp_path / "a net.safetensors", "classes", {})
    with started(path) as (process, line):
        url, _, rest = line.partition("/v2/models/")
        assert rest == "a%20net: Ctrl-C ends it\n"
        assert url.startswith("http://127.0.0.1:")
        connection = HTTPConnection(url.removeprefix("http://"))
        connection.request("GET", "/v2/models/a%20net/ready")
        assert json.loads(connection.getresponse().read()) == {"name": "a net", "ready": True}
        process.send_signal(number)
        process.wait(timeout=60)
        connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere connections need not inherit it")
def test_answers_do_not_wait_to_be_acknowledged():
    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_question_half_asked_is_not_waited_for(tmp_path):
    path = save(tmp_path / "a.safetensors", "classes", {})
    command = [sys.executable, "-m", "fogsim.cli", "serve", str(path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().split("/")[2].split(":")[1])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"POST /v2/models/a/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{")
            assert get(f"http://127.0.0.1:{port}/v2/health/live") == {"live": True}
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err


def test_mistakes_on_the_command_line_are_one_line(tmp_path, capsys, monkeypatch):
    whole = save(tmp_path / "a.safetensors", "classes", {})
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:-40])
    (tmp_path / "words.safetensors").write_text("words\n")
    save(tmp_path / "width.safetensors", "classes", {"mean": [0.0], "deviation": [1.0]})
    save(tmp_path / "half.safetensors", "classes", {"mean": MEAN})
    save(tmp_path / "zero.safetensors", "classes", {"mean": MEAN, "deviation": [1.0, 0.0, 1.0]})
    save(tmp_path / "nan.safetensors", "classes", {"mean": [0.0, float("nan"), 0.0], "deviation": DEVIATION})
    more = replace(ENGINES["classes"], likelihood=Categorical(7))
    state = ENGINES["classes"].init(torch.Generator().manual_seed(0))
    checkpoint.save(tmp_path / "more.safetensors", more, state, {})
    monkeypatch.chdir(tmp_path)
    taken = socket.create_server(("127.0.0.1", 0))
    free = ["--port", "0"]
    mistakes = {
        ("missing.safetensors", *free): "missing.safetensors: no such checkpoint",
        ("cut.safetensors", *free): "cut.safetensors: not a checkpoint",
        ("words.safetensors", *free): "words.safetensors: not a checkpoint",
        ("more.safetensors", *free): "more.safetensors: what its header tells of cannot be made here",
        (".", *free): "not a checkpoint",
        ("width.safetensors", *free): "width.safetensors: its header's mean does not fit, expected 3",
        ("half.safetensors", *free): "half.safetensors: its header's deviation does not fit",
        ("zero.safetensors", *free): "zero.safetensors: its header's deviation is 0, expected more than 0",
        ("nan.safetensors", *free): "nan.safetensors: its header's mean does not fit",
        ("a.safetensors", "--port", str(taken.getsockname()[1])): "choose another --port or --host",
        ("a.safetensors", "--host", "256.0.0.1", *free): "cannot listen at 256.0.0.1",
        ("a.safetensors", "--host", "a..b", *free): "cannot listen at a..b",
        ("a.safetensors", "--port", "70000"): "--port",
        ("a.safetensors", "--draws", "0"): "--draws",
        (): "CHECKPOINT",
    }
    with taken:
        for arguments, reason in mistakes.items():
            refused_with(["serve", *arguments], reason, capsys)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    refused_with(["serve", "a.safetensors"], "found no uvicorn, which serves: pip install 'fogsim[serve]'", capsys)


def refused_with(arguments, reason, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    assert (left.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("fogsim: ")
    assert reason in err
