"""What a log shows of a replay."""

from io import StringIO

from rich.console import Console

from bench.replay.progress import shown_steps


class TestPlainSteps:
    def test_write_one_line_when_a_step_is_done(self) -> None:
        log = StringIO()

        with shown_steps(Console(file=log, width=20)) as steps, steps.step("Opening stock (derived)", total=3) as step:
            step.advance(2)
            step.note("1 May 2011")
            step.advance()

        [line] = log.getvalue().splitlines()
        assert line.startswith("Opening stock (derived): 3 in 0.")

    def test_name_no_number_where_there_is_nothing_to_count(self) -> None:
        log = StringIO()

        with shown_steps(Console(file=log)) as steps, steps.step("Checking"):
            pass

        assert log.getvalue().startswith("Checking: 0.")


class TestBars:
    def test_show_on_a_terminal(self) -> None:
        terminal = StringIO()

        console = Console(file=terminal, force_terminal=True, width=100)
        with shown_steps(console) as steps, steps.step("Orders", total=2) as step:
            step.note("1 May 2011")
            step.advance(2)

        assert "Orders" in terminal.getvalue()
        assert "2/2" in terminal.getvalue()
