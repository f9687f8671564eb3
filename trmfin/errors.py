"""Every error trmfin raises on purpose.

    TrmfinError
    ├── ConfigError    an option, preset or config file asks for something that does not exist
    ├── TaskError      a task contradicts itself or the data it is applied to
    ├── DataError      raw or prepared data cannot be used as they are
    ├── BundleError    a model bundle is incomplete, altered or of another format
    ├── RunError       a run folder is locked, belongs to another job or cannot be written
    ├── ReviewError    a review is not allowed, or somebody else was faster
    ├── JournalError   a journal of reviews cannot be opened, or was tampered with
    ├── ScorerError    the process that scores for the dashboard gives no score
    └── MissingExtra   a command needs a package that is not installed

The message says where, what was found, what was expected, and what to do, in one line. Commands print it as
`error: MESSAGE` and exit with 1.
"""


class TrmfinError(Exception):
    """Base of all errors below; its text is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ConfigError(TrmfinError):
    """An option, preset or config file asks for something that does not exist."""


class TaskError(TrmfinError):
    """A task contradicts itself or the data it is applied to."""


class DataError(TrmfinError):
    """Raw or prepared data cannot be used as they are."""


class BundleError(TrmfinError):
    """A model bundle is incomplete, altered or of another format."""


class RunError(TrmfinError):
    """A run folder is locked, belongs to another job or cannot be written."""


class ReviewError(TrmfinError):
    """A review is not allowed, or somebody else was faster."""


class JournalError(TrmfinError):
    """A journal of reviews cannot be opened, or was tampered with."""


class ScorerError(TrmfinError):
    """The process that scores for the dashboard gives no score."""


class MissingExtra(TrmfinError):
    """A command needs a package that is not installed."""
