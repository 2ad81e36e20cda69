"""`Loaders`: the batches of all splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from medpipe.data.loading.loader import Loader


@attrs.frozen(kw_only=True, eq=False)
class Loaders:
    """The batches of each split, as plain ``torch.utils.data.DataLoader`` objects.

    Attributes:
        training: Shuffled and augmented; each iteration over it is the next pass.
        validation: In the order of the ids; None where the split is empty.
        test: In the order of the ids; None where the split is empty.
    """

    training: Loader
    validation: Loader | None
    test: Loader | None

    def close(self) -> None:
        """End their worker processes."""
        for loader in (self.training, self.validation, self.test):
            if loader is not None:
                loader.close()
