"""`examples/serve`: a page in a browser answers from an ONNX export what the run predicts."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medpipe import PipelineBuilder, Registry, Run, Task
from medpipe.export.writing import write_unverified
from medpipe.plugin import ExportStep
from support.browser import Browser, browser
from support.drawn_dicom import dicom, write_dicom
from support.exported import RESIZED, in_memory, mixed_files, on_cpu, resnet, small, with_chain
from support.pages import CHROMIUM, Page, measured
from support.served import OCTETS, PROGRAM, Served, refusal, served
from support.trained import write_png

LACKING = [name for name in ("onnxruntime", "onnxscript") if find_spec(name) is None]
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(LACKING), reason=f"needs {LACKING}")]
NEEDS_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
HTML = PROGRAM.with_name("index.html").read_text(encoding="utf-8")
POINT = {"class": "bright", "sensitivity": 0.9}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classifier of files of several kinds, with a temperature and an operating point."""
    root = mixed_files(tmp_path_factory.mktemp("data"))
    chosen = on_cpu().dataset("image_folder", root=root, channels=1)
    chosen = chosen.evaluation(operating_point=POINT)
    return small(resnet(with_chain(chosen, RESIZED)), tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def export(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export; not to be changed."""
    return run.export(tmp_path_factory.mktemp("exports") / "bright-or-dark", format="onnx").path


@pytest.fixture(scope="module")
def server(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(export, tmp_path_factory.mktemp("said") / "stderr") as found:
        yield found


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """New files of sizes and kinds of their own."""
    folder, random = tmp_path_factory.mktemp("new"), np.random.default_rng(7)
    grey = random.integers(0, 200, (30, 41)).astype(np.uint8)
    stored = random.integers(0, 3000, (33, 27)).astype(np.int16)
    rescale = {"RescaleSlope": 0.5, "RescaleIntercept": -1024.0}
    return [
        write_png(folder / "grey.png", grey),
        write_png(folder / "sixteen.png", grey.astype(np.uint16) * 150),
        write_png(folder / "colours.png", np.stack([grey, 255 - grey, grey // 2], -1)),
        write_png(folder / "<img src=x onerror=alert(1)>.png", grey[:20]),
        write_dicom(folder / "rescaled.dcm", stored, **rescale),
        write_dicom(
            folder / "padded.dcm", np.where(stored < 900, np.int16(-2000), stored),
            **{**rescale, "PixelPaddingValue": -2000, "PhotometricInterpretation": "MONOCHROME1"},
            Modality="CR",
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def wanted(run: Run, files: list[Path]) -> dict[Path, Any]:
    """What the run predicts for them: scores and calibrated probabilities."""
    from medpipe.evaluation.calibration import scaled_scores

    given = run.predict(files)
    assert not given.errors
    scores = given.scores[[given.ids.index(str(file)) for file in files]]
    scaled = scaled_scores(scores, "class", run.record["chosen_on_validation"]["temperature"])
    return dict(zip(files, zip(scores, scaled, strict=True), strict=True))


def scores_of(answer: Any, key: str = "score") -> list[float]:
    return [one[key] for one in answer["answers"]]


def test_the_answers_are_the_runs(
    run: Run, server: Served, files: list[Path], wanted: dict[Path, Any]
) -> None:
    for file in files:
        status, answer = server.answer(file.read_bytes())
        assert status == 200, answer
        scores, scaled = wanted[file]
        np.testing.assert_allclose(scores_of(answer), scores, atol=1e-4)
        np.testing.assert_allclose(scores_of(answer, "calibrated"), scaled, atol=1e-4)
        names = [one["name"] for one in answer["answers"]]
        assert names == ["bright", "dark"]
        assert answer["prediction"] == names[int(np.argmax(scores))]
        assert answer["run"] == run.record["id"]
        assert answer["export"] == "bright-or-dark"
        point = run.record["chosen_on_validation"]["operating_point"]
        told = answer["operating_point"]
        assert told["threshold"] == point["threshold"]
        assert told["found"] == (told["score"] >= point["threshold"])
    assert len({tuple(scores_of(server.answer(file.read_bytes())[1])) for file in files}) > 4


def test_neither_torch_nor_medpipe_is_imported(server: Served, files: list[Path]) -> None:
    for file in files:
        assert server.answer(file.read_bytes())[0] == 200
    lines = [line for line in server.said.read_text().splitlines() if "|" in line]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert {"onnxruntime", "numpy", "PIL", "pydicom"} <= imported
    assert not {"torch", "medpipe", "monai", "pickle5", "onnx"} & imported


def test_an_image_far_from_the_samples_is_remarked(server: Served) -> None:
    target = BytesIO()
    Image.fromarray(np.full((24, 24), 65000, np.uint16)).save(target, "PNG")
    status, answer = server.answer(target.getvalue())
    assert status == 200
    assert "It may not be an image of their kind" in answer["remarks"][0]
    status, answer = server.answer(target.getvalue()[:60])
    assert status == 422
    assert "damaged" in answer["error"]


def test_wrong_uploads_are_refused_in_words(server: Served) -> None:
    frames = BytesIO()
    dicom(np.zeros((3, 4, 4), np.uint8)).save_as(frames, enforce_file_format=True)
    for content, status, said in [
        (b"hello", 415, "no PNG image and no DICOM file"),
        (b"", 422, "is empty"),
        (frames.getvalue(), 422, "has 3 frames"),
    ]:
        assert server.answer(content)[0] == status
        assert said in server.answer(content)[1]["error"]


def raw(server: Served, text: str) -> str:
    """What the server answers to bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode())
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts).decode()


def test_lengths_are_known_and_limited_before_anything_is_read(server: Served) -> None:
    head = f"POST /predict HTTP/1.1\nHost: 127.0.0.1:{server.port}\nContent-Type: {OCTETS}\n"
    limit = server.ask("GET", "/about")[1]["limit"]
    wait = "Expect: 100-continue\n"
    for rest, status, said in [
        (f"{wait}Content-Length: {limit + 1}\n", 413, "larger than 64 MiB"),
        (f"{wait}Content-Length: {10**30}\n", 400, "is no length"),
        ("Content-Length: -4\n", 400, "is no length"),
        ("Content-Length: 0x10\n", 400, "is no length"),
        ("Transfer-Encoding: chunked\n", 411, "does not say its length"),
        ("", 411, "does not say its length"),
    ]:
        told = raw(server, f"{head}{rest}\n")
        assert told.startswith(f"HTTP/1.1 {status} "), (rest, told)
        assert said in told
        assert told.count("HTTP/1.1") == 1
    status, told = server.answer(bytes(limit + 1))
    assert (status, told["error"]) == (413, "The file is larger than 64 MiB.")
    for line in ("nonsense", "GET / HTTP/x", "GET /"):
        assert '{"error": "' in raw(server, f"{line}\n\n")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "BREW", "POST"])
def test_wrong_methods_are_refused(server: Served, method: str) -> None:
    status, told, headers = server.ask(method, "/", b"x")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert told["error"] == "Use GET, HEAD here."
    status, told, headers = server.ask("GET", "/predict")
    assert (status, headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path",
    [
        "/serve.py",
        "/../serve.py",
        "/..%2fserve.py",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/index.html",
        "/contract.json",
        "/?x",
        "/about/",
    ],
)
def test_nothing_of_the_disk_can_be_asked_for(server: Served, path: str) -> None:
    status, told, _ = server.ask("GET", path)
    assert (status, told["error"]) == (404, "There is nothing here. The page is at /.")


def test_other_sites_are_refused(server: Served, files: list[Path]) -> None:
    content, own = files[0].read_bytes(), f"127.0.0.1:{server.port}"
    kind = {"Content_Type": OCTETS}
    good: list[dict[str, str]] = [
        {},
        {"Origin": f"http://{own}", "Sec_Fetch_Site": "same-origin"},
        {"Host": f"localhost:{server.port}"},
    ]
    for headers in good:
        assert server.ask("POST", "/predict", content, **kind, **headers)[0] == 200, headers
    for headers in [
        {"Host": "attacker.example"},
        {"Host": f"attacker.example:{server.port}"},
        {"Host": "127.0.0.1"},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Origin": f"https://{own}"},
        {"Origin": f"http://localhost:{server.port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ]:
        status, told, answered = server.ask("POST", "/predict", content, **kind, **headers)
        assert (status, set(told)) == (403, {"error"}), headers
        assert "Access-Control-Allow-Origin" not in answered
    for type_ in ("multipart/form-data", "text/plain", "application/x-www-form-urlencoded"):
        assert server.ask("POST", "/predict", content, Content_Type=type_)[0] == 415
    assert server.ask("GET", "/", Host="attacker.example")[0] == 403


def test_it_listens_on_this_machine_alone(server: Served) -> None:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    own = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    assert f"0100007F:{server.port:04X}" in own
    assert f"00000000:{server.port:04X}" not in own


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(server: Served) -> None:
    status, text, headers = server.ask("GET", "/")
    assert (status, text) == (200, HTML)
    before, _, rest = text.partition("<script>")
    page = Page(before + rest.partition("</script>")[2])
    assert page.links == ["data:,"]
    assert "http" not in text
    assert "For research, not for diagnosis." in page.text
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert server.ask("HEAD", "/")[1] == ""


def test_two_at_a_time_do_not_mix(
    server: Served, files: list[Path], wanted: dict[Path, Any]
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    many = files * 5
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda file: server.answer(file.read_bytes()), many))
    for file, (status, answer) in zip(many, answers, strict=True):
        assert status == 200
        np.testing.assert_allclose(scores_of(answer), wanted[file][0], atol=1e-4)


# In a browser


def opened(tab: Browser, server: Served, **window: Any) -> None:
    tab.open(server.url, **window)
    tab.wait("document.querySelectorAll('#facts dt').length > 0")


def text(tab: Browser, selector: str) -> str:
    return str(tab.value(f"document.querySelector({selector!r}).innerText"))


def answered(tab: Browser) -> None:
    tab.wait("!document.querySelector('#answer').hidden")


@NEEDS_BROWSER
def test_a_chosen_and_a_dropped_file_are_answered(
    tab: Browser, server: Served, run: Run, files: list[Path], wanted: dict[Path, Any]
) -> None:
    opened(tab, server)
    assert run.record["id"] in text(tab, "#facts")
    tab.complaints.clear()
    for number, file in enumerate(files):
        if number % 2:
            tab.choose("#file", file)
        else:
            tab.drop(200, 200, file)
        tab.wait(f"document.querySelector('#caption').innerText.includes({file.name!r})")
        answered(tab)
        scores, scaled = wanted[file]
        shown = tab.value(
            "[...document.querySelectorAll('#answers li')].map(li => "
            "[li.querySelector('span').innerText, parseFloat(li.querySelector('b').innerText),"
            " parseFloat(li.querySelector('.bar').style.width)])"
        )
        assert [name for name, *_ in shown] == [["bright", "dark"][i] for i in np.argsort(-scaled)]
        ordered = 100 * np.sort(scaled)[::-1]
        np.testing.assert_allclose([one[1] for one in shown], ordered, atol=0.06)
        np.testing.assert_allclose([one[2] for one in shown], ordered, atol=0.01)
        first = ["bright", "dark"][int(np.argmax(scores))]
        assert text(tab, "#status") == f"Answer for {file.name}: {first}."
        assert "calibrated" in text(tab, "#calibration")
        found = scores[0] >= run.record["chosen_on_validation"]["operating_point"]["threshold"]
        assert f"“bright” counts as {'found' if found else 'not found'}:" in text(tab, "#point")
        assert run.record["id"] in text(tab, "#source")
        assert "For research, not for diagnosis." in text(tab, "#source")
        assert tab.value("document.querySelector('#picture').naturalWidth") > 20
    assert tab.value("document.querySelectorAll('img').length") == 1
    assert tab.complaints == []


@NEEDS_BROWSER
def test_errors_are_said_in_plain_words(
    tab: Browser, server: Served, files: list[Path], tmp_path: Path
) -> None:
    opened(tab, server)
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate((64 << 20) + 1)
    wrong = {
        large: "The file is larger than 64 MiB.",
        tmp_path / "note.png": "The file is no PNG image and no DICOM file.",
        tmp_path / "half.png": "The PNG file is damaged: it ends too early.",
    }
    (tmp_path / "note.png").write_text("hello")
    (tmp_path / "half.png").write_bytes(files[0].read_bytes()[:200])
    for path, said in wrong.items():
        tab.choose("#file", path)
        tab.wait("document.querySelector('#error').innerText !== ''")
        assert text(tab, "#error") == f"{path.name}: {said}"
        assert tab.value("document.querySelector('#answer').hidden")
        tab.choose("#file", files[0])
        answered(tab)
        assert text(tab, "#error") == ""
    tab.drop(200, 200, *files[:2])
    assert text(tab, "#error") == "Drop one file at a time."


@NEEDS_BROWSER
def test_another_sites_page_gets_nothing(
    tab: Browser, server: Served, export: Path, tmp_path: Path
) -> None:
    """A page of another origin, as a browser sends its requests."""
    with served(export, tmp_path / "said") as other:
        opened(tab, other)
        # What the page's own policy would refuse is sent all the same.
        tab.call("Page.setBypassCSP", enabled=True)
        tab.open(other.url)
        script = "fetch({url!r}, {{method: 'POST', mode: {mode!r}, body: 'x'}})"
        for mode in ("cors", "no-cors"):
            tab.statuses.clear()
            asked = script.format(url=f"{server.url}predict", mode=mode)
            assert tab.value(f"{asked}.then(r => 'answered', e => 'failed')") == "failed"
            tab.value("new Promise(done => setTimeout(done, 50))")
            assert tab.statuses == [403]
        tab.call("Page.setBypassCSP", enabled=False)


@NEEDS_BROWSER
def test_a_server_that_has_gone_is_said(
    tab: Browser, export: Path, files: list[Path], tmp_path: Path
) -> None:
    with served(export, tmp_path / "said") as other:
        opened(tab, other)
    tab.choose("#file", files[0])
    tab.wait("document.querySelector('#error').innerText !== ''")
    assert text(tab, "#error").endswith("can't be reached. Is serve.py still running?")


@NEEDS_BROWSER
@pytest.mark.parametrize("width", [390, 1000])
@pytest.mark.parametrize("dark", [True, False])
def test_it_fits_and_can_be_read(
    tab: Browser, server: Served, files: list[Path], width: int, dark: bool
) -> None:
    opened(tab, server, width=width, dark=dark)
    tab.choose("#file", files[3])
    answered(tab)
    assert tab.value("document.documentElement.scrollWidth") == width
    assert tab.value(CONTRAST) == []
    assert tab.value(f"matchMedia('(prefers-color-scheme: dark)').matches === {str(dark).lower()}")
    tab.choose("#file", files[3].with_name("none"))
    tab.wait("document.querySelector('#error').innerText !== ''")
    assert tab.value(CONTRAST) == []


CONTRAST = """
(() => {
  const light = rgb => {
    const [r, g, b] = rgb.match(/\\d+/g).map(v => v / 255).map(v =>
      v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)') return colour;
    }
  };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.matches('script') || !e.offsetParent) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (!(ratio >= 4.5)) low.push([e.outerHTML.slice(0, 60), ratio]);
  }
  return low;
})()
"""
"""The elements with text whose contrast is below that of WCAG AA."""


@NEEDS_BROWSER
def test_a_keyboard_is_enough_and_all_has_a_name(tab: Browser, server: Served) -> None:
    opened(tab, server)
    tab.press("Tab")
    assert tab.value("document.activeElement.id") == "file"
    assert tab.value("getComputedStyle(document.querySelector('#drop')).outlineStyle") == "solid"
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    named = {node["role"]["value"]: node["name"]["value"] for node in nodes if node.get("name")}
    assert named["button"].startswith("Choose an image, or drop it here")
    assert {"status", "alert"} <= {node["role"]["value"] for node in nodes if "role" in node}
    assert tab.value("document.documentElement.lang") == "en"


@NEEDS_BROWSER
def test_a_telephone_scrolls_down_alone(tmp_path: Path) -> None:
    found = measured(HTML, 390, tmp_path)
    assert (found["scroll"], found["wide"]) == (390, [])


# Other tasks, and what is not served


def exported(builder: PipelineBuilder, folder: Path, format_: str = "onnx") -> tuple[Run, Path]:
    """A run, and its export as it is written before a fresh process verifies it."""
    run, out = small(builder, folder / "run"), folder / "out"
    out.mkdir()
    step: Any = Registry.discover().create(ExportStep, format_)
    write_unverified(run.trained("best", None), run.record, out, step)
    return run, out


@NEEDS_BROWSER
@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_other_tasks(kind: str, tab: Browser, files: list[Path], tmp_path: Path) -> None:
    if kind == "regression":
        task = Task(kind=kind, names=("age",), unit="years")
        data = in_memory(task, lambda n: 40.0 + n, shape=(24, 20))
    else:
        task = Task(kind=kind, names=("one", "two"))
        data = in_memory(task, lambda n: (float(n % 2), float(n % 3 == 0)), shape=(24, 20))
    run, out = exported(resnet(on_cpu().dataset(data)), tmp_path)
    grey = np.random.default_rng(5).integers(0, 140, (24, 20)).astype(np.uint8)
    file = write_png(tmp_path / "new.png", grey)
    wanted = run.predict(file).scores[0]
    with served(out, tmp_path / "said") as other:
        status, answer = other.answer(file.read_bytes())
        assert status == 200, answer
        np.testing.assert_allclose(scores_of(answer), wanted, atol=1e-4, rtol=1e-5)
        opened(tab, other)
        tab.choose("#file", file)
        answered(tab)
        shown = text(tab, "#answers").splitlines()
        if kind == "regression":
            assert shown[0] == "age"
            number, unit = shown[1].split()
            assert unit == "years"
            assert float(number) == pytest.approx(wanted[0], rel=1e-3)
        else:
            assert [one["found"] for one in answer["answers"]] == list(wanted >= 0.5)
            assert [line for line in shown if line in task.names] == ["one", "two"]
            words = ["found" if score >= 0.5 else "not found" for score in wanted]
            assert [line.split(",")[0] for line in shown[1::2]] == words
        for wrong, said in [
            (files[2], "The image is RGB, and the model takes images that are grey."),
            (files[0], "the width 41 and not 20 and the height 30 and not 24"),
        ]:
            status, answer = other.answer(wrong.read_bytes())
            assert status == 422
            assert said in answer["error"]


def test_volumes_masks_and_windows_are_refused_at_the_start(tmp_path: Path) -> None:
    volumes = in_memory(Task(names=("a", "b")), lambda n: n % 2, shape=(16, 14, 12))
    _, out = exported(resnet(on_cpu().dataset(volumes)), tmp_path, "safetensors")
    said = refusal(out)
    assert "- its format is safetensors: export the run with --format onnx" in said
    assert "- the model takes volumes of 3 axes, not images" in said
    masks = on_cpu().dataset("phantom_masks", samples=60, size=32)
    masks = masks.network("unet", channels=[4, 8], strides=[2])
    (tmp_path / "masks").mkdir()
    _, out = exported(masks, tmp_path / "masks", "torch_export")
    assert "- the answers are masks, which are not shown here" in refusal(out)


def changed(export: Path, folder: Path, change: Any) -> Path:
    copy = Path(shutil.copytree(export, folder / "copy"))
    contract = json.loads((copy / "contract.json").read_text())
    change(contract)
    (copy / "contract.json").write_text(json.dumps(contract))
    return copy


def unknown(contract: Any) -> None:
    contract["before"]["steps"].append({"step": "spacing", "pixdim": [1.0, 1.0]})
    contract["before"]["readers"].append({"step": "ours:raw"})
    contract["before"]["reading"]["window"] = "lung"
    contract["data"]["task"]["kind"]["step"] = "ours:grades"
    contract["graph"]["windows"] = [16, 16]


def test_all_that_is_unknown_is_said_at_the_start(export: Path, tmp_path: Path) -> None:
    said = refusal(changed(export, tmp_path, unknown))
    for words in (
        "the step spacing must be done before the model, and is not known here",
        "files are read by ours:raw, which is not known here",
        "before.reading.window is 'lung', which is not known here",
        "the task ours:grades is not known here",
        "the model takes windows, whose outputs must be averaged",
    ):
        assert f"\n- {words}" in said


def test_changed_exports_are_refused_at_the_start(export: Path, tmp_path: Path) -> None:
    reverse = changed(export, tmp_path, lambda c: c["data"]["task"]["names"].reverse())
    assert "is of another contract than that beside it" in refusal(reverse)
    shutil.copy(export / "contract.json", reverse)
    with (reverse / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert "was changed" in refusal(reverse)
    (reverse / "model.onnx").unlink()
    assert "model.onnx can't be read" in refusal(reverse)
    for content, said in [("{", "can't be read"), ("{}", "unknown format")]:
        (reverse / "contract.json").write_text(content)
        assert said in refusal(reverse)
    (reverse / "contract.json").write_text('{"format": 1}')
    assert "is not whole: KeyError: 'data'" in refusal(reverse)
    assert "is no export of medpipe" in refusal(tmp_path)


def test_a_port_that_is_taken_is_said(export: Path, server: Served) -> None:
    assert f"Port {server.port} can't be used" in refusal(export, "--port", str(server.port))
