from collections.abc import Mapping

from gateway.pulsar.handles import Handle

REVISION: int

def run(
    data: memoryview,
    position: int,
    frame_max: int,
    sent: Mapping[int, Handle],
    received: Mapping[int, Handle],
    from_client: bool,
) -> tuple[int, list[tuple[int, Handle, int, int]]]: ...
