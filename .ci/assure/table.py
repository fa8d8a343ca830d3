"""A check, and what it finds: a row of the table."""

import tools


class Check:
    """A check: its number, its name, its target, and the function that makes it."""

    def __init__(self, number, name, target, body, short=None, whole=None):
        self.number = number
        self.name = name
        self.target = target
        self.body = body
        # What the two forms of a long check are; others have one.
        self.short = short
        self.whole = whole

    def head(self):
        """The first cells of its row: what it is and what it has to reach."""
        return "|" + cells(str(self.number), self.name, self.target)

    def make(self, runner):
        """Makes the check. What goes wrong on the way stands in its row."""
        form = "whole" if self.short is None else self.whole if runner.whole else self.short
        row = Row(self, form)
        try:
            self.body(runner, row)
        except tools.NotRun as error:
            row.not_run.append(str(error))
        except (tools.Failed, OSError, ValueError) as error:
            row.add(str(error), False)
        return row


class Row:
    """What a check found."""

    def __init__(self, check, form):
        self.check = check
        self.form = form
        self.figures = []
        self.passed = 0
        self.is_missed = False
        self.not_run = []

    def add(self, text, is_met):
        """A figure, and whether it meets its part of the target."""
        self.figures.append(text if is_met else f"**{text}**")
        self.is_missed |= not is_met

    def at_most(self, text, value, limit):
        """A figure that must not be above a limit. `{}` in the text stands for it."""
        self.add(text.format(short(value)), value <= limit)

    def tests(self, result):
        """Tests that passed or failed."""
        if result.failed:
            self.add(f"{len(result.failed)} failed: {', '.join(result.failed)[:200]}", False)
        self.passed += len(result.passed)

    @property
    def verdict(self):
        """In words."""
        if self.is_missed:
            return "missed"
        if self.not_run:
            return "not run: " + "; ".join(self.not_run)
        return "met" if self.figures or self.passed else "missed"

    @property
    def is_met(self):
        """Whether all of the check was made, and all of its target met."""
        return self.verdict == "met"

    def line(self):
        """The row as Markdown."""
        passed = [f"{self.passed} tests passed"] if self.passed else []
        figures = "; ".join(self.figures + passed)
        return self.check.head() + cells(figures, self.form, self.verdict)


def cells(*texts):
    """Cells of a row as Markdown, without the line at its start."""
    return "".join(f" {text.replace('|', chr(92) + '|')} |" for text in texts)


def short(value):
    """A number without digits that say nothing."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.4g}" if value >= 1 else f"{value:.2g}"
