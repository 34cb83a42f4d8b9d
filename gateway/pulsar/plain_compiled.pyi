from gateway.pulsar import short_way

REVISION: int

def read(octets: memoryview) -> tuple[int, int]: ...

class ShortWay(short_way.ShortWay): ...
