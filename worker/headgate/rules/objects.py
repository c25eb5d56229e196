"""What templates name besides the event: Prefect variables, and objects such as a flow run. Nothing is fetched."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import httpx

from headgate.rules.shape import Json


class Objects:
    """Replaces the client with which Prefect's actions fetch objects.

    Args:
        variables: values of Prefect variables, by name.
        objects: by resource id, such as "prefect.flow-run.<id>".

    """

    def __init__(self, variables: Mapping[str, object], objects: Mapping[str, Json]) -> None:
        self.variables = variables
        self.objects = objects

    async def client(self, *_: object) -> "_Client":
        """Replace `ExternalDataAction.orchestration_client`."""
        return _Client(self)


class _Client:
    def __init__(self, given: Objects) -> None:
        self._given = given

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        pass

    async def read_workspace_variables(self, names: Sequence[str] | None = None) -> dict[str, object]:
        return {name: value for name, value in self._given.variables.items() if names is None or name in names}

    def __getattr__(self, name: str) -> object:
        # read_flow_run_raw, read_work_queue_status_raw, ...: the answer is 404 for what was not given.
        if not (name.startswith("read_") and name.endswith("_raw")):
            raise AttributeError(name)
        kind = name.removeprefix("read_").removesuffix("_raw").removesuffix("_status").removesuffix("_v2")

        async def read(identity: object) -> httpx.Response:
            found = self._given.objects.get(f"prefect.{kind.replace('_', '-')}.{identity}")
            return httpx.Response(404 if found is None else 200, json=found)

        return read
