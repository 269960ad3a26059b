"""A scorer behind HTTP, for trainers: their own protocols, read in batches, equal to offline scores.

server     address, start and end
app        routes: a request becomes work, work an answer
protocols  one module for each way to ask
chat       texts that a chat template has written already
batching   a bounded queue, and the one thread that has the model
served     what the scorer says to the work of many requests
limits     bodies, rates, the key
metrics    what is counted
"""

from importlib.util import find_spec

from rewarddiff.errors import UserError
from rewarddiff.serve.config import ServeConfig

__all__ = ["ServeConfig", "require_installed"]


def require_installed() -> None:
    """Raise a UserError where what a server is made of is not installed."""
    for module in ("starlette", "uvicorn", "prometheus_client"):
        if find_spec(module) is None:
            raise UserError(
                f"serving needs {module}, which is not installed: pip install 'rewarddiff[serve]'"
            )
