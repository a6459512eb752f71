"""`tandem init`: questions, answers, refusals, and files that are true: settings load, commands parse, tables agree."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.pages import ROOT, Line, commands
from tests.docs.test_examples import parse

from tandem.cli.project import hosts, look, write
from tandem.cli.project.risk import AUDIENCES, ENOUGH, LEVELS, RISKS, Risk, guards_of
from tandem.core.errors import Invalid
from tandem.gateway.providers.compatible import KNOWN
from tandem.scorers.guards.rules import DETECTORS
from tandem.settings import load

KINDS = {
    "predict": [],
    "documents": ["--model", "none"],
    "generate": ["--purpose", "Answer the customer.", "--model", "openai/gpt-4o-mini"],
}
every = pytest.mark.parametrize(("what", "risk", "audience"), list(itertools.product(KINDS, LEVELS, AUDIENCES)))


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TANDEM_URL", "TANDEM_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    lines = [f"R{n},{n * 1.5},{n % 7},{'bad' if n % 3 else 'good'},{n % 2}" for n in range(50)]
    file.write_text("\n".join(["row id,size of it,days,outcome,flag", *lines]) + "\n")
    return file


def made(tandem, folder: Path, what: str, risk: str = "medium", audience: str = "colleagues", *more: str) -> dict[str, object]:
    source = ["--from", "example"] if what != "generate" else []
    words = ["--what", what, *source, *KINDS[what], "--for", audience, "--risk", risk]
    done = tandem("init", str(folder), *words, "--json", *more)
    assert done.code == 0, done.err
    return done.json()


def script(folder: Path) -> Iterator[tuple[str, ...]]:
    """Every command of ours in a project's run.sh, with values for its variables."""
    values = {"data": "dataset/x@1", "questions": "dataset/x@1", "suite": "suite/x@1", "now": "prompt/x@1"}
    for line in (folder / "run.sh").read_text().splitlines():
        line = line.partition(" # ")[0]
        if re.match(r"\s*(#|say |stop |title |show|run\(\)|admin\(\)|app\(\))", line):
            continue
        command = r"(?:^ *|\$\(|then |else |until |\{ )(run|admin|app|key) ((?:\"[^\"]*\"|'[^']*'|[^;)#}\"'\n])+)"
        for verb, rest in re.findall(command, line):
            if '"$@"' in rest:
                continue
            text = re.sub(r"\$(\w+)", lambda found: values.get(found[1], f"{found[1]}/x@1"), rest)
            words = shlex.split(text)
            yield tuple(["key", "create", "--name", *words] if verb == "key" else words)


@every
def test_its_settings_load(tandem, tmp_path: Path, what: str, risk: str, audience: str) -> None:
    made(tandem, tmp_path / "thing", what, risk, audience, "--team", "motor", "--port", "9000")
    settings = load(tmp_path, config=tmp_path / "thing" / "tandem.toml", environment={})
    assert settings.server.port == 9000
    assert settings.traces.retention_days == RISKS[risk].retention_days
    assert {endpoint.team for endpoint in settings.endpoints.values()} == {"motor"}
    kinds = {name: endpoint.kind for name, endpoint in settings.endpoints.items()}
    assert (
        kinds
        == {
            "predict": {"thing": "predict"},
            "documents": {"thing": "chat", "thing-candidate": "chat"},
            "generate": {"thing": "decide", "thing-chat": "chat"},
        }[what]
    )
    guarded = {endpoint.guards for endpoint in settings.endpoints.values()}
    assert guarded == ({None} if what == "predict" else {"policy/thing@production"})
    for endpoint in settings.endpoints.values():
        assert endpoint.kind != "chat" or endpoint.max_output_tokens == RISKS[risk].max_output_tokens


@every
def test_its_commands_are_commands(
    tandem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, risk: str, audience: str
) -> None:
    folder = tmp_path / "thing"
    made(tandem, folder, what, risk, audience)
    monkeypatch.chdir(tmp_path)
    found = list(script(folder))
    for words in found:
        parse(Line(words, 0, True))
    for line in commands(folder / "README.md"):
        parse(line)
    verbs = {words[0] for words in found}
    assert verbs >= {"key", "budget", "data", "gate", "promote", "monitor"}
    assert verbs >= {"predict": {"train", "predict"}, "documents": {"docs", "suite", "eval", "chat"}}.get(
        what, {"decision", "eval"}
    )
    assert subprocess.run(["sh", "-n", folder / "run.sh"], check=False).returncode == 0
    assert os.access(folder / "run.sh", os.X_OK)


@every
def test_what_is_written_names_every_choice(tandem, tmp_path: Path, what: str, risk: str, audience: str) -> None:
    folder = tmp_path / "thing"
    made(tandem, folder, what, risk, audience)
    row, told = RISKS[risk], {" ".join(words) for words in script(folder)}
    assert any(f"--cap {row.cap} --window day" in words for words in told)
    assert any(words.startswith("key create --name thing-app") and f"--expires {row.expires}" in words for words in told)
    (gate,) = [words for words in told if words.startswith("gate set")]
    least = row.model_minimum if what == "predict" else row.prompt_minimum
    assert f"--margin {row.model_margin if what == 'predict' else row.prompt_margin}" in gate
    assert (f"--min {least}" in gate) == (least is not None)
    (policy,) = [words for words in told if words.startswith("policy add")] or [""]
    assert all(f"--guard {guard}" in policy for guard in guards_of(row, audience)) == (what != "predict")
    text = "".join((folder / name).read_text() for name in ("run.sh", "README.md", "tandem.toml"))
    assert "[=" not in text
    assert "[%" not in text
    assert str(tmp_path) not in text


def test_at_high_risk_no_prompt_is_promoted_before_its_gate_is_set(tandem, tmp_path: Path) -> None:
    for what, risk in itertools.product(("documents", "generate"), LEVELS):
        made(tandem, tmp_path / f"{what}-{risk}", what, risk)
        verbs = [words[:2] for words in script(tmp_path / f"{what}-{risk}")]
        before = verbs[: verbs.index(("gate", "set"))]
        assert (("promote", "prompt/x@1") in before) == (not RISKS[risk].first_waits)


def test_no_row_guards_what_does_not_exist() -> None:
    for risk, audience in itertools.product(RISKS.values(), AUDIENCES):
        detectors = [guard.partition("=")[0] for guard in guards_of(risk, audience)]
        assert sorted(detectors) == sorted(DETECTORS)


def test_the_page_and_the_rows_are_the_same() -> None:
    """docs/init.md shows, per risk, what the code has."""
    page = (ROOT / "docs" / "init.md").read_text()
    table = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", page, re.MULTILINE)
    told = {name: cells for name, *cells in table if cells != ["low", "medium", "high"]}

    def action(risk: Risk, detector: str, audience: write.Audience = "colleagues") -> str:
        guards = dict(guard.split("=") for guard in guards_of(risk, audience))
        return guards[detector].partition(":")[0]

    def least(value: float | None) -> str:
        return "no minimum" if value is None else f"{value:g}"

    wanted = {
        "cards": lambda r: action(r, "card"),
        "bank accounts, addresses": lambda r: action(r, "iban"),
        "identity numbers": lambda r: action(r, "national-id"),
        "credentials, private keys": lambda r: action(r, "credential"),
        "injections, from colleagues": lambda r: action(r, "injection"),
        "injections, from customers": lambda r: action(r, "injection", "customers"),
        "a model may lose, in `roc_auc`": lambda r: f"{r.model_margin:g}",
        "a model must certainly reach": lambda r: least(r.model_minimum),
        "a prompt may lose, of answers with the wanted words": lambda r: f"{r.prompt_margin:g}",
        "a prompt must certainly reach": lambda r: least(r.prompt_minimum),
        "the first version of a prompt": lambda r: "waits" if r.first_waits else "starts",
        "the monitor looks every": lambda r: r.every,
        "drift of a model's inputs": lambda r: r.on_drift,
        "calls of each window that a person looks at": lambda r: str(r.review),
        "refusals and errors matter from": lambda r: f"{r.threshold:g}",
        "traces are kept for days": lambda r: str(r.retention_days),
        "the longest answer, in tokens": lambda r: str(r.max_output_tokens),
        "cap a day, in dollars": lambda r: r.cap,
        "the application's key ends after": lambda r: r.expires,
    }
    assert told == {name: [read(RISKS[level]) for level in LEVELS] for name, read in wanted.items()}
    for risk in RISKS.values():
        assert action(risk, "iban") == action(risk, "email")
        assert action(risk, "credential") == action(risk, "private-key")
        assert {risk.guards, risk.injection, risk.cap}


def test_enough_is_what_the_gate_takes_for_enough() -> None:
    from tandem.evaluation.compare import MINIMUM_ROWS

    assert ENOUGH == MINIMUM_ROWS


def test_a_file_is_looked_into(tandem, tmp_path: Path, rows: Path) -> None:
    words = ["--what", "predict", "--from", str(rows), "--for", "colleagues", "--risk", "low"]
    asked = tandem("init", str(tmp_path / "p"), *words)
    assert asked.code == 2
    assert "Several columns have two values: give --target, one of outcome, flag." in asked.err
    assert tandem("init", str(tmp_path / "p"), *words, "--target", "outcome", "--positive", "bad", "--json").code == 0
    (train,) = [each for each in script(tmp_path / "p") if each[0] == "train"]
    assert train[-4:] == ("--target", "outcome", "--positive", "bad")
    (data,) = [each for each in script(tmp_path / "p") if each[:2] == ("data", "add")]
    assert data == ("data", "add", "p", "../rows.csv", "--id", "row id")
    assert json.loads((tmp_path / "p" / "example.json").read_text()) == {"size of it": 0, "days": 0, "flag": 0}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "nothing"], "There is no column 'nothing'."),
        (["--target", "days"], "The column 'days' has not two values"),
        (["--target", "outcome", "--positive", "ugly"], "'ugly' is no value of 'outcome'."),
        (["--purpose", "x"], "--purpose is for generate, not for predict."),
        (["--model", "mock"], "--model is for documents and generate, not for predict."),
        (["--name", "Not So"], "'Not So' cannot be the name of a project."),
        (["--name", "x" * 51], "cannot be the name of a project."),
        (["--name", "mock"], "'mock' cannot be the name of a project."),
        (["--team", "No Team"], "'No Team'"),
    ],
)
def test_wrong_answers_are_refused_and_leave_nothing(tandem, tmp_path: Path, rows: Path, words: list[str], said: str) -> None:
    given = ["--what", "predict", "--from", str(rows), "--for", "colleagues", "--risk", "low"]
    target = [] if "--target" in words else ["--target", "outcome"]
    done = tandem("init", str(tmp_path / "p"), *given, *target, *words)
    assert done.code == 2, done.err
    assert said in done.err
    assert sorted(tmp_path.iterdir()) == [rows]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "x,note,y\n1,good day,0\n2,bad day,1\n3,good day,0\n4,none,1\n", "The column 'note' holds text"),
        ("a.csv", "y\n0\n1\n0\n", "No column is left to learn from."),
        ("a.csv", "x,y\n", "has no rows"),
        ("a.csv", "x,y\n1,2,3\n", "a row has more cells than there are names"),
        ("a.csv", "x,y\n1,2\n2,3\n3,4\n", "No column has two values"),
        ("a.jsonl", "[1]\n", "a line is no JSON object"),
        ("a.parquet", "no parquet", "cannot be read"),
        ("a.txt", "x", "is no data file"),
    ],
)
def test_files_that_nothing_can_be_learned_from(tandem, tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    done = tandem(
        "init", str(tmp_path / "p"), "--what", "predict", "--from", str(tmp_path / name), "--for", "customers", "--risk", "low"
    )
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "p").exists()


def test_a_file_that_is_not_there(tandem, tmp_path: Path) -> None:
    done = tandem("init", str(tmp_path / "p"), "--what", "predict", "--from", "no.csv", "--for", "customers", "--risk", "low")
    assert done.code == 2
    assert "no.csv cannot be read: No such file or directory." in done.err
    done = tandem("init", str(tmp_path / "p"), "--what", "documents", "--from", "no", "--for", "customers", "--risk", "low")
    assert "There is no folder no." in done.err


def test_json_lines_and_parquet_are_read(tmp_path: Path) -> None:
    import polars as pl

    lines = [{"id": f"a{n}", "x": n / 2, "yes": n % 2 == 0} for n in range(6)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pl.DataFrame(lines).write_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        data = look.data_of(look.rows_of(tmp_path / name), "yes", None)
        assert (data.positive, data.id, dict(data.example)) == ("true", "id", {"x": 0}), name


@pytest.mark.parametrize("missing", ["--what", "--from", "--for", "--risk"])
def test_without_a_terminal_the_missing_option_is_named(tandem, tmp_path: Path, missing: str) -> None:
    words = {"--what": "documents", "--from": "example", "--model": "none", "--for": "customers", "--risk": "low"}
    done = tandem("init", str(tmp_path / "p"), *itertools.chain(*[(k, v) for k, v in words.items() if k != missing]))
    assert done.code == 2
    assert f"There is nobody to ask: give {missing}, or --yes for every default." in done.err
    assert not (tmp_path / "p").exists()


def test_yes_takes_every_default(tandem, tmp_path: Path) -> None:
    done = tandem("init", str(tmp_path / "My Things!"), "--yes")
    assert done.code == 0
    assert "my-things is in" in done.out
    assert "risk medium, for colleagues of team default" in (tmp_path / "My Things!" / "tandem.toml").read_text()


def test_the_same_answers_write_the_same_files(tandem, tmp_path: Path) -> None:
    for what in KINDS:
        for side in ("a", "b"):
            made(tandem, tmp_path / side / what, what)
        first, second = tmp_path / "a" / what, tmp_path / "b" / what
        files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
        assert [(first / file).read_bytes() for file in files] == [(second / file).read_bytes() for file in files]


def test_a_folder_with_files_is_refused(tandem, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("mine")
    words = ("init", str(tmp_path), "--yes", "--name", "thing")
    done = tandem(*words)
    assert (done.code, "is not empty" in done.err) == (1, True)
    assert tandem(*words, "--existing").code == 0
    assert (tmp_path / "own.txt").read_text() == "mine"
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "run.sh").write_text("changed by me")
    again = tandem(*words, "--existing")
    assert again.code == 1
    assert "holds .gitignore, README.md, example.json, invoices.csv, run.sh, tandem.toml already." in again.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {**before, tmp_path / "run.sh": b"changed by me"}
    assert tandem("init", str(tmp_path / "own.txt"), "--yes", "--name", "x").code == 2


def test_a_failure_on_the_way_leaves_nothing(tandem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "own").write_text("mine")
    linked = os.link
    made = list[Path]()

    def full(source: Path, target: Path) -> None:
        if len(made) == 2:
            raise OSError(28, "No space left on device")
        made.append(target)
        linked(source, target)

    monkeypatch.setattr(os, "link", full)
    done = tandem("init", str(tmp_path / "there"), "--yes", "--existing")
    assert done.code == 2
    assert "cannot be written: No space left on device. " in done.err.replace("\n", " ")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["own"]

    def broken(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", broken)
    assert tandem("init", str(tmp_path / "new"), "--yes").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_language_models_by_name(tandem, tmp_path: Path) -> None:
    words = ["--what", "generate", "--purpose", "Say it.", "--for", "colleagues", "--risk", "low"]
    for model, said in (("nobody", "no language model that is known"), ("none", "Nothing is written without a language model.")):
        done = tandem("init", str(tmp_path / "p"), *words, "--model", model)
        assert (done.code, said in done.err) == (2, True)
    own = ["--model", "vllm/llama", "--url", "http://10.0.0.1:8000/v1", "--key-env", "VLLM_KEY"]
    done = tandem("init", str(tmp_path / "own"), *words, *own)
    assert "No price is known of vllm/llama, so there is no cap" in done.out
    settings = load(tmp_path, config=tmp_path / "own" / "tandem.toml", environment={})
    assert settings.providers["vllm"].keys == ("env:VLLM_KEY",)
    assert not any(each[0] == "budget" for each in script(tmp_path / "own"))
    for url, variable in (("ftp://x", None), ("http://x/v1", "a b")):
        with pytest.raises(Invalid):
            hosts.model_of("vllm/llama", port=8400, url=url, variable=variable)
    mock = hosts.model_of("mock", port=8400, url=None, variable=None)
    assert mock is not None
    assert mock.url == "http://127.0.0.1:8401/v1"
    for name, offered in hosts.OFFERED.items():
        found = hosts.model_of(name, port=8400, url=None, variable=None)
        assert found is not None
        assert (found.target, found.variable, found.priced) == (f"{name}/{offered}", KNOWN[name].variable, name != "ollama")
    gemini = hosts.model_of("gemini/gemini-2.5-flash", port=8400, url=None, variable=None)
    assert gemini is not None
    assert (gemini.protocol, gemini.variable, gemini.priced) == ("gemini", "GEMINI_API_KEY", True)
    for word in ("together", "azure/gpt-4o"):  # no model is offered; every customer has an address of their own
        with pytest.raises(Invalid):
            hosts.model_of(word, port=8400, url=None, variable=None)
    elsewhere = hosts.model_of("groq/x", port=8400, url="https://proxy.example/v1", variable=None)
    assert elsewhere is not None
    assert elsewhere.variable is None


def test_questions_are_yours_or_a_starter(tandem, tmp_path: Path) -> None:
    assert made(tandem, tmp_path / "g", "generate")["starter"] is True
    with (tmp_path / "g" / "questions.csv").open() as file:
        told = list(csv.DictReader(file))
    assert len(told) < ENOUGH
    assert all(row["wanted"] in row["text"] for row in told)
    assert f"a starter of {len(told)} questions, too few for a verdict" in (tmp_path / "g" / "README.md").read_text()
    own = tmp_path / "own.csv"
    own.write_text("text,wanted\n" + "".join(f"Say {n},{n}\n" for n in range(40)))
    assert made(tandem, tmp_path / "o", "generate", "low", "customers", "--questions", str(own))["starter"] is False
    assert (tmp_path / "o" / "questions.csv").read_bytes() == own.read_bytes()
    own.write_text("text\nSay\n")
    words = ["--what", "generate", *KINDS["generate"], "--for", "customers", "--risk", "low", "--questions", str(own)]
    assert "lacks the column 'wanted'" in tandem("init", str(tmp_path / "q"), *words).err
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "leave.md").write_text("# Leave\n\nEvery employee has thirty days of vacation.\n")
    done = tandem(
        "init", str(tmp_path / "d"), "--what", "documents", "--from", str(docs), "--model", "mock", "--for", "colleagues",
        "--risk", "low", "--team", "hr",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert (tmp_path / "d" / "questions.csv").read_text() == (
        "id,question,wanted\nq01,What is said about Leave?,Every employee has thirty\n"
    )
    assert any(words[:4] == ("docs", "add", "d", "../docs") and "team/hr" in words for words in script(tmp_path / "d"))


def test_a_purpose_is_no_template(tandem, tmp_path: Path) -> None:
    words = ["--what", "generate", "--model", "mock", "--for", "customers", "--risk", "low"]
    assert tandem("init", str(tmp_path / "p"), *words, "--purpose", "{{ x }}").code == 2
    assert tandem("init", str(tmp_path / "p"), *words, "--purpose", " ").code == 2


def test_it_asks_at_a_terminal(tmp_path: Path) -> None:
    """Five questions, wrong answers asked again, Enter for defaults: through a real pseudo-terminal."""
    (tmp_path / "a.csv").write_text("n,x,ok,paid\n" + "".join(f"A{n},{n},{n % 2},{'no' if n % 3 else 'yes'}\n" for n in range(9)))
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "tandem", "init", "bills"]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path)
    os.close(slave)
    shown = ""

    def answer(prompt: str, said: str) -> None:
        nonlocal shown
        deadline = time.monotonic() + 30
        begin = len(shown)
        while prompt not in shown[begin:]:
            assert time.monotonic() < deadline, shown
            shown += os.read(master, 4096).decode()
        os.write(master, f"{said}\n".encode())

    try:
        answer("What should answer?", "dance")
        answer("'dance' is none of them.", "pre")
        answer("From which rows?", "missing.csv")
        answer("missing.csv cannot be read", "a.csv")
        answer("The column to predict [paid]:", "x")
        answer("The column 'x' has not two values", "")
        answer("The class to call positive, no or yes [yes]:", "")
        answer("For whom?", "customers")
        answer("Team [default]:", "sales")
        answer("At which risk?", "h")
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert process.returncode == 0
    assert "high, for customers of team sales" in (tmp_path / "bills" / "tandem.toml").read_text()
    assert "--target paid --positive yes" in (tmp_path / "bills" / "run.sh").read_text()
