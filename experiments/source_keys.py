"""Which options are the path of a user's file. Needs nothing, so that whoever reads configurations can ask."""

from __future__ import annotations

CODE_KEYS = frozenset({"file", "order_file"})
"""Options, of whatever group, that are the path of a user's Python file."""

RESULT_KEYS = frozenset({"norms_file"})
"""Options that are the path of what another run has left. Each seed has one of its own."""

SOURCE_KEYS = CODE_KEYS | RESULT_KEYS | {"statistics_file"}
"""All options that are the path of a file; a run goes by the hash of its contents."""

HASHES = frozenset({f"{key}_sha256" for key in SOURCE_KEYS - RESULT_KEYS} | {"fingerprint"})
"""What stands in ``training`` for the contents of users' files and of data, and is a key like any other."""

RESULT_HASHES = frozenset(f"{key}_sha256" for key in RESULT_KEYS)
"""The same of what other runs have left. They tell trainings apart, and are no key: each seed has its own."""
