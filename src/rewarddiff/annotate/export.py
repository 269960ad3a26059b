"""What people voted in a project, as a file: preference data with a strength, or single votes."""

from __future__ import annotations

from pathlib import Path

from rewarddiff.data.vote_files import Written, check_form, read_votes, suffix_of, write_votes
from rewarddiff.outputs import file_for
from rewarddiff.paths import user_path


def export(project: str | Path, output: Path | None = None, form: str = "rows") -> Written:
    """Write the votes of a project, or of any file of votes, in another form.

    Args:
        project: the folder of a project, its file, or a file of votes.
        output: None: beside the votes, named by the form.
        form: see `data.vote_files.write_votes`.

    Raises:
        UserError: there are no votes, or they cannot be written in this form.
    """
    check_form(form)
    place = user_path(project)
    if output is None:
        folder = place if place.is_dir() else place.parent
        output = folder / f"{form}{suffix_of(form)}"
    votes = read_votes(place)
    with file_for(output, [place]):
        return write_votes(votes, output, form)
