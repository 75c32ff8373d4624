"""The one exception that is shown to a person as it is."""


class Refusal(Exception):
    """Something about this machine stops the run; the message is one line that says what to do."""
