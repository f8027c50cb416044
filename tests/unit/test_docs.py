"""README and docs: what they show runs, what they name exists, what they link to is there."""

from __future__ import annotations

import ast
import configparser
import importlib
import json
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer
from typer.testing import CliRunner

from airflow_agentic import exceptions
from airflow_agentic.cli.app import app
from airflow_agentic.dagbuilder.load import load_workflows
from airflow_agentic.get_provider_info import get_provider_info
from airflow_agentic.plan import compile_plan
from airflow_agentic.project import Project
from airflow_agentic.registry import Registry
from airflow_agentic.spec import source as yaml_source
from airflow_agentic.spec.base import API_VERSION, build
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.spec.pattern import PATTERNS, Aggregation, PolicyName
from airflow_agentic.spec.workflow import WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "README.md"
PAGES: Final = [README, *sorted((ROOT / "docs").rglob("*.md"))]
ADRS: Final = sorted((ROOT / "docs" / "adr").glob("*.md"))
VOCABULARY: Final = """
model card, task, capability, workflow, record, batch, shard, unit, selection, marker, plan, node, route, policy,
candidate, cascade, gate, ensemble, runner, prediction, answer, aggregate, artifact, dead letter, job, ledger
"""
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str, pages: list[Path] | None = None) -> list[Block]:
    found = []
    for page in PAGES if pages is None else pages:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page=page, line=line, language=match[1], text=match[2]))
    return [block for block in found if block.language in languages]


def named(block: Block) -> Any:
    return block.id


def parsed(block: Block) -> tuple[dict[str, Any], yaml_source.Source]:
    data, positions = yaml_source.parse(block.text, block.id)
    assert isinstance(data, dict)
    return data, positions


def whole(data: dict[str, Any]) -> dict[str, Any]:
    """A fragment as a whole workflow."""
    if "apiVersion" in data:
        return data
    return {"apiVersion": API_VERSION, "kind": "Workflow", "name": "fragment", "routes": [{"use": "vader"}], **data}


@pytest.fixture(scope="module")
def registry() -> Registry:
    """The example cards, and every card that the docs show."""
    example = Registry.load([ROOT / "dags" / "models"], packages=False)
    shown = [parsed(block) for block in blocks("yaml")]
    cards = [
        build(ModelCard, data, positions, ROOT / "models") for data, positions in shown if data.get("kind") == "Model"
    ]
    return Registry.of(*example.cards.values(), *cards)


@pytest.mark.parametrize("block", blocks("yaml"), ids=named)
def test_yaml_is_a_valid_card_or_compiles_as_a_workflow(block: Block, registry: Registry) -> None:
    data, positions = parsed(block)
    if data.get("kind") == "Model":
        assert build(ModelCard, data, positions, ROOT / "models").name == data["name"]
    else:
        workflow = build(WorkflowSpec, whole(data), positions, ROOT / "workflows")
        assert compile_plan(workflow, registry).workflow == workflow.name


@pytest.mark.parametrize("block", blocks("python"), ids=named)
def test_python_compiles_and_imports_what_is_there(block: Block) -> None:
    tree = ast.parse(block.text)
    compile(tree, block.id, "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("airflow"):
            module = importlib.import_module(str(node.module))
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert missing == []


@pytest.mark.parametrize("block", blocks("json"), ids=named)
def test_json_is_json(block: Block) -> None:
    assert isinstance(json.loads(block.text), dict | list)


def commands() -> list[tuple[str, str]]:
    """Every command line shown, and where: in console blocks after ``$``, and inline."""
    found = []
    for block in blocks("console"):
        for line in block.text.splitlines():
            if line.startswith("$ "):
                found.append((block.id, line.removeprefix("$ ").partition("  #")[0].strip()))
    for page in PAGES:
        text = _FENCE.sub("", page.read_text(encoding="utf-8"))
        inline = re.findall(r"`((?:airflow-agentic|make) [^`\n]+)`", text)
        found += [(str(page.relative_to(ROOT)), line) for line in inline if "…" not in line]
    return found


def test_there_are_commands() -> None:
    assert len(commands()) > 40


@pytest.mark.parametrize(("where", "line"), commands())
def test_a_command_exists_with_its_options(where: str, line: str) -> None:
    words = [word for word in shlex.split(line) if "=" not in word or word.startswith("-")]
    program, rest = words[0].rpartition("/")[2], words[1:]
    if program == "make":
        targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert set(rest) <= targets
    elif program == "airflow-agentic":
        assert unknown(rest) == []
    elif program == "pip":
        assert set(re.findall(r"airflow-agentic\[([\w,]+)\]", line)) <= set(extras())
    else:
        assert program in {"airflow", "cd", "curl", "docker", "helm", "kubectl", "python", "python3"}, (
            f"{where}: {line}"
        )


def unknown(words: list[str]) -> list[str]:
    """The options and commands of a command line of ours that do not exist."""
    command: Any = typer.main.get_command(app)
    everywhere = set(option_names(command))
    if words and words[0].startswith("-") and words[0] not in everywhere:
        words = ["run", *words]
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return [words[0]]
        command, words = command.commands[words[0]], words[1:]
    known = everywhere | set(option_names(command))
    return [word for word in words if word.startswith("-") and word != "-" and word not in known]


def option_names(command: Any) -> Iterator[str]:
    yield "--help"
    for parameter in command.params:
        yield from parameter.opts


def extras() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return list(setup["options.extras_require"])


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [README]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in _LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link.partition("#")[0]).resolve()
            waiting += [target] if target.suffix == ".md" and target.exists() else []
            waiting += sorted(target.glob("*.md")) if target.is_dir() and target.name == "adr" else []
    assert [str(page) for page in PAGES if page not in reached] == []


def concepts() -> str:
    return (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", [word.strip() for word in VOCABULARY.split(",")])
def test_a_word_of_the_vocabulary_is_explained(word: str) -> None:
    assert f"| **{word}** |" in concepts()


@pytest.mark.parametrize("name", PATTERNS[1:])
def test_a_pattern_is_explained_and_shown(name: str) -> None:
    shown = (ROOT / "docs" / "how-to" / "write-a-workflow.md").read_text(encoding="utf-8")
    assert f"| `{name}` |" in concepts()
    assert f"## `{name}`" in shown


@pytest.mark.parametrize("name", [*PolicyName.__args__, *Aggregation.model_fields["method"].annotation.__args__])  # type: ignore[union-attr,attr-defined]  # literals
def test_a_policy_or_aggregation_is_explained(name: str) -> None:
    assert f"`{name}`" in concepts()


def test_generated_pages_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    written = {
        **importlib.import_module("scripts.spec_reference").documents(),
        **importlib.import_module("scripts.api_reference").documents(),
    }
    assert [str(path) for path, text in written.items() if path.read_text(encoding="utf-8") != text] == []


def test_the_command_page_has_every_command() -> None:
    page = (ROOT / "docs" / "how-to" / "cli.md").read_text(encoding="utf-8")
    top: Any = typer.main.get_command(app)
    names = [
        f"{name} {below}" if below else name
        for name, command in top.commands.items()
        for below in getattr(command, "commands", {"": None})
    ]
    assert [name for name in names if f"| `airflow-agentic {name}` |" not in page] == []


def test_the_airflow_page_has_every_setting() -> None:
    page = (ROOT / "docs" / "how-to" / "airflow.md").read_text(encoding="utf-8")
    options = get_provider_info()["config"]["agentic"]["options"]
    assert [name for name in options if f"| `{name}` |" not in page] == []


def test_the_readme_has_every_extra() -> None:
    assert [extra for extra in extras() if f"| `{extra}` |" not in README.read_text()] == []


def test_operations_has_every_error() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    leaves = [
        value.__name__
        for value in vars(exceptions).values()
        if isinstance(value, type) and issubclass(value, exceptions.AgenticError)
    ]
    assert [name for name in leaves if f"`{name}`" not in page] == ["AgenticError"]


def test_operations_has_every_error_code() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    call = re.compile(r"\b(?:RecordError|error|refusal|with_errors)\(\s*(?:records, )?\"([a-z]+_[a-z_]+)\"")
    files = [*(ROOT / "airflow_agentic").rglob("*.py"), *(ROOT / "operators").glob("*.py")]
    codes = {code for file in files for code in call.findall(file.read_text(encoding="utf-8"))}
    assert {"bad_image", "model_unavailable", "quorum_not_met", "uri_not_allowed"} <= codes
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


@pytest.mark.parametrize("page", ADRS, ids=lambda page: page.stem)
def test_a_decision_says_what_violates_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert text.rstrip().split("\n\n")[-1].startswith("**A change violates this when** ")


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.name[:4]) for page in ADRS] == list(range(1, len(ADRS) + 1))


@pytest.fixture
def readme_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README's files: blocks that begin with a comment which names one."""
    for block in blocks("yaml", "python", pages=[README]):
        name = re.match(r"# ([\w/.-]+\.(?:ya?ml|py))", block.text)
        if name:
            path = tmp_path / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plain(text: str) -> list[list[str]]:
    """Lines as words, without times."""
    return [re.sub(r"\b[\d.]+ (?:ms|s)\b", "TIME", line).split() for line in text.splitlines()]


@pytest.mark.usefixtures("readme_project")
def test_the_readme_example_answers_as_shown() -> None:
    shown = next(block.text for block in blocks("console", pages=[README]) if "wonderful" in block.text)
    line, _, expected = shown.partition("\n")
    found = CliRunner().invoke(app, shlex.split(line)[2:])
    assert (found.exit_code, plain(found.output)) == (0, plain(expected))


def test_the_readme_dag_file_makes_the_dag_and_airflow_looks_at_it(readme_project: Path) -> None:
    from airflow.utils.file import might_contain_dag

    path = readme_project / "agentic.py"
    assert might_contain_dag(str(path), safe_mode=True)
    names: dict[str, Any] = {"__file__": str(path), "load_workflows": load_workflows}
    exec(compile(path.read_text(), str(path), "exec"), names)
    dags = [value for value in names.values() if type(value).__name__ == "DAG"]
    assert [(dag.dag_id, "spec-error" in dag.tags) for dag in dags] == [("reviews", False)]


def test_the_plan_is_drawn_as_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    drawn = CliRunner().invoke(app, ["plan", "mixed-inbox"]).output
    assert any(drawn in block.text for block in blocks("console", pages=[README]))


def test_a_task_that_is_shown_finds_its_workflow() -> None:
    shown = {found for _, line in commands() for found in re.findall(r"--task (\S+) --input data/", line)}
    assert shown == {"image-classification"}
    assert Project.find(ROOT).for_task("image-classification").name == "mixed-inbox"


@pytest.mark.usefixtures("readme_project")
def test_the_readme_python_runs() -> None:
    text = next(block.text for block in blocks("python", pages=[README]) if "Workflow.load" in block.text)
    names: dict[str, Any] = {}
    exec(text, names)
    assert names["answers"].column("label").to_pylist() == ["positive"]
    assert names["dag"].dag_id == "reviews"


def test_own_code_works_as_shown() -> None:
    """The handlers of own-code.md, called as their contracts say."""
    import pyarrow as pa

    from airflow_agentic import tables

    pages = [ROOT / "docs" / "how-to" / "own-code.md"]
    names: dict[str, Any] = {}
    for block in blocks("python", pages=pages):
        if "torch" not in block.text:
            exec(block.text, names)
    assert names["shout"]("hey!") == "loud"
    postcodes = names["Postcodes"](country="DE")
    postcodes.load()
    assert postcodes.predict_one({"postcode": "10115"}) == {"valid": True, "city": "Berlin"}
    record = {"record_id": "a", "position": 0, "input": {"kind": "text", "text": "short"}}
    records = tables.table([record], tables.RECORD)
    assert names["Lengths"]().predict(records) == [{"short": 1.0, "long": 0.0}]
    known = records.append_column("email", pa.array(["x@example.org"]))
    assert names["add_domain"](known, field="email").column("domain").to_pylist() == ["example.org"]
    said = [
        tables.table([{"row": 0, "record_id": "a", "label": label}], tables.PREDICTION)
        for label in ("positive", "negative", None)
    ]
    answer = names["cautious"](dict(zip("abc", said, strict=True)))
    assert (answer.schema, answer.column("label").to_pylist()) == (tables.RESULT, ["negative"])


def test_no_page_names_a_module_that_is_not_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:\w+/)+\w+\.py)`", page)
    places = (ROOT, ROOT / "airflow_agentic")
    assert len(files) > 20
    assert [name for name in files if not any((place / name).is_file() for place in places)] == []


def test_architecture_has_every_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Modules")[2]
    said = set()
    for cell in re.findall(r"^\| (\**`[^|]+) \|", page, re.MULTILINE):
        names = re.findall(r"`([\w.*]+)`", cell)
        said |= {f"{names[0].rpartition('.')[0]}{name}" if name.startswith(".") else name for name in names}
    packages = {
        "spec",
        "artifacts",
        "registry",
        "routing",
        "pipeline",
        "runtime",
        "plan",
        "execution",
        "coordinator",
        "images",
    }
    modules = {
        f"{package}.{file.stem}"
        for package in packages
        for file in (ROOT / "airflow_agentic" / package).glob("*.py")
        if not file.stem.startswith("__")
    }
    stars = tuple(name.rstrip("*") for name in said if name.endswith("*"))
    assert sorted(name for name in modules - said if not name.startswith(stars)) == []
    assert sorted(name for name in said if "." in name and "*" not in name and not _exists(name)) == []


def _exists(name: str) -> bool:
    path = ROOT / "airflow_agentic" / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


def test_the_python_version_is_one_we_support() -> None:
    assert sys.version_info >= (3, 11)
    assert "Python | 3.11 and newer" in README.read_text()
