"""Secrets are read by name from where they are kept, and from nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from courante.compiler.cel import SECRET_ROOT, ExpressionError, compile_expression
from courante.sdk.outcomes.step_context import StepError
from courante.sdk.secrets.redaction import REDACTOR, mask_values
from courante.sdk.secrets.secrets import NamedSecrets, Secrets


def test_a_secret_comes_from_its_variable_or_its_file(tmp_path: Path) -> None:
    """The variable first; a file without its last line break; changed ones are taken up, and all are masked."""
    (tmp_path / "SHOP").write_text("from the file\n", encoding="utf-8")
    environ = {"OTHER": "x"}
    secrets = Secrets(tmp_path, environ)
    assert secrets.read("SHOP") == "from the file"
    environ["COURANTE_SECRET_SHOP"] = "from the variable"
    assert secrets.read("SHOP") == "from the variable"
    assert REDACTOR.redact("it was from the variable, then from the file") == "it was ***, then ***"


@pytest.mark.parametrize("name", ["OTHER", "COURANTE_SECRET_A", "../passwd", "a/b", "", "a b", "big", "folder", "none"])
def test_nothing_else_can_be_read(name: str, tmp_path: Path) -> None:
    """Not the rest of the environment, and no other file."""
    (tmp_path / "in").mkdir()
    (tmp_path / "passwd").write_text("x" * 10, encoding="utf-8")
    (tmp_path / "in" / "folder").mkdir()
    (tmp_path / "in" / "big").write_text("x" * 70_000, encoding="utf-8")
    (tmp_path / "in" / "none").write_text("", encoding="utf-8")
    with pytest.raises(StepError) as raised:
        Secrets(tmp_path / "in", {"OTHER": "value", "COURANTE_SECRET_A": "value"}).read(name)
    assert raised.value.type == "CONFIG_INVALID"
    assert "xxx" not in str(raised.value)


def test_an_expression_names_a_secret() -> None:
    """Where secrets may be read, and by a name that is written out."""
    secrets = NamedSecrets(Secrets(None, {"COURANTE_SECRET_A": "valuable"}))
    roots = frozenset({SECRET_ROOT, "input"})
    found = compile_expression("'Bearer ' + secret('A')", roots=roots)
    assert found.evaluate({SECRET_ROOT: secrets}) == "Bearer valuable"
    assert secrets.used == {"valuable"}
    assert compile_expression("secret('A')", roots=roots).references[0].path == (SECRET_ROOT, "A")
    with pytest.raises(StepError, match="no secret 'B'"):
        compile_expression("secret('B')", roots=roots).evaluate({SECRET_ROOT: secrets})
    for source in ("secret(input.name)", "secret()", "secret('A', 'B')", "input.secret('A')", "secret(1)"):
        with pytest.raises(ExpressionError, match="the name of a secret, written out"):
            compile_expression(source, roots=roots)
    with pytest.raises(ExpressionError, match="can not be read here"):
        compile_expression("secret('A')", roots=frozenset({"input"}))


def test_values_are_masked_in_all_their_spellings() -> None:
    """As they are, in JSON, in a URL and in base64."""
    content = b'{"a": "se\\"cret", "b": "se%22cret", "c": "c2UiY3JldA==", "d": "other"}'
    assert mask_values(content, ['se"cret']) == b'{"a": "***", "b": "***", "c": "***==", "d": "other"}'
    assert mask_values(b"short abc", ["abc"]) == b"short abc"
