"""Hand all arrays of a campaign to Slurm, in one go or after a fall: each is there once, and none runs before all are.

Arrays that wait for no other are handed over held, and released when the last of all has its number. Each bears a token
in its name that was written down before; so after a crash one question finds those whose numbers were not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from fiducial.batch.planned.plan import Plan
from fiducial.batch.queue.system import Bundle
from fiducial.batch.queue.words import portions
from fiducial.batch.slurm.detached.arrays import Array, dependency
from fiducial.batch.slurm.detached.store import Run
from fiducial.batch.slurm.detached.write import script_of, to_bundle
from fiducial.batch.slurm.render import SCRIPT, sbatch_words
from fiducial.batch.slurm.site import SlurmSite
from fiducial.batch.slurm.system import Slurm
from fiducial.core.errors import BackendError, QueueFullError
from fiducial.storage.replace import replace_text

__all__ = ["Submitter"]

Progress = Callable[[int, int], None]


class Submitter:
    """Hands over one submission of a campaign.

    Args:
        progress: told how many arrays are handed over, and how many there are.
    """

    def __init__(self, plan: Plan, run: Run, slurm: Slurm, site: SlurmSite, progress: Progress | None = None) -> None:
        self.plan, self.run, self.slurm, self.site, self._progress = plan, run, slurm, site, progress

    def submit(self) -> None:
        """Hand over what is not there yet, and let it begin.

        Raises:
            BackendError: transient: the same again goes on. Permanent: Slurm refuses one, and nothing is left there.
        """
        self._find()
        self.run.mark("begun")
        try:
            for number, array in enumerate(self.run.arrays, 1):
                if array.name not in self.run.natives:
                    self.run.note(array.name, self._hand_over(array))
                if self._progress is not None:
                    self._progress(number, len(self.run.arrays))
        except BackendError as error:
            raise self._given_up(error) from None
        self.slurm.let_go(self.run.natives[array.name] for array in self.run.arrays if not array.after)
        self.run.mark("released")

    def take_back(self) -> int:
        """Take all out of the queue, running or not; how many arrays were known there."""
        self._find()
        if not self.run.is_marked("released"):
            self.run.mark("gone")
        return _cancel(self.run, self.slurm)

    def _find(self) -> None:
        """Whoever began before may have died between Slurm's answer and its note."""
        missing = [array for array in self.run.arrays if array.name not in self.run.natives]
        if not missing or not self.run.is_marked("begun"):
            return
        names = {self.run.tokens[array.name]: array.name for array in missing}
        bundles = [to_bundle(self.plan, self.run, array, self.site) for array in missing]
        for token, native in self.slurm.find_all(bundles).items():
            self.run.note(names[token], native)

    def _hand_over(self, array: Array) -> str:
        try:
            return self._sbatch(array, modest=False)
        except BackendError as error:
            if array.kind != "again" or error.transient or isinstance(error, QueueFullError):
                raise
            return self._sbatch(array, modest=True)  # no node has what the last retry may ask for

    def _sbatch(self, array: Array, *, modest: bool) -> str:
        bundle = to_bundle(self.plan, self.run, array, self.site, modest=modest)
        (bundle.folder / "logs").mkdir(parents=True, exist_ok=True)
        replace_text(bundle.folder / "bundle.json", json.dumps(asdict(array)))
        replace_text(bundle.folder / SCRIPT, script_of(self.plan, self.run, array, self.site, modest=modest))
        return self.slurm.hand_over(self._words(array, bundle))

    def _words(self, array: Array, bundle: Bundle) -> list[str]:
        waits = dependency(array, self.run.natives)
        more = [f"--dependency={waits}", "--kill-on-invalid-dep=yes"] if waits else ["--hold"]
        # A node that failed, or gave way to others, is no failure of the job; what was done is found again.
        return sbatch_words(bundle, node_disk=self.site.node_disk, tasks=array.tasks, more=["--requeue", *more])

    def _given_up(self, error: BackendError) -> BackendError:
        """Nothing has begun yet, so that all can be taken back."""
        if error.transient and not isinstance(error, QueueFullError):
            return BackendError(error.message, hint="nothing runs yet; the same command goes on", transient=True)
        self.take_back()
        hint = error.hint
        if isinstance(error, QueueFullError):
            hint = "without --detached, fiducial run submits as many at a time as the queue takes"
        return BackendError(f"{error.message}; nothing of the campaign is in the queue", hint=hint)


def _cancel(run: Run, slurm: Slurm) -> int:
    for words in portions(list(run.natives.values())):
        slurm.cancel_all(words)
    return len(run.natives)
