from . import RedisCluster as RedisCluster

class ClusterNode:
    def __init__(self, host: str, port: str | int) -> None: ...
