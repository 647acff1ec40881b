"""`track` passes every item through, whether it draws a bar or prints lines."""

import sys

import pytest

from evenclip import progress


@pytest.mark.parametrize("terminal", [True, False])
def test_items_pass_unchanged(terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert list(progress.track(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    assert "letters" in capsys.readouterr().err


def test_plain_lines_say_how_far_and_how_fast(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    list(progress.track([1, 2], "work"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("work: 1 of 2, ")
    assert lines[-1].startswith("work: 2 done in ")


def test_plain_output_has_no_control_characters(capsys):
    list(progress.track(range(3), "work"))
    assert all(char.isprintable() or char == "\n" for char in capsys.readouterr().err)


def test_an_error_in_the_loop_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        for n in progress.track([0], "work"):
            1 / n
