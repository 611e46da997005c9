"""The store on a Redis Cluster: the same effects, each sent to the node that serves its workflow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from ctxqueue import effects as fx
from ctxqueue.errors import ConfigurationError, CtxqueueError
from ctxqueue.stores.namespaces import checked_namespace
from ctxqueue.stores.redis import connection
from ctxqueue.stores.redis.addresses import cluster_address
from ctxqueue.stores.redis.checks import our_error, translated
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.stores.redis.routing import Command, Pause, Refresh, Send, first_contact, plain, routed
from ctxqueue.stores.redis.store import MOST_THREADS, RedisStore

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ctxqueue.effects import Effect
    from ctxqueue.stores.redis.routing import Step, Words

T = TypeVar("T")


class RedisClusterStore(RedisStore):
    """Carries out effects on a Redis Cluster, in one namespace. Thread-safe."""

    retries = connection.FAILOVER_RETRIES
    wait_replicas: Any = None
    sends_ahead = False

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        self._address = cluster_address(url)
        self.where = str(self._address)
        self._cluster: RedisCluster | None = None
        self._verified = False
        self._verifying = connection.FirstContact()

    def verify(self) -> None:
        """Connect and check every master and the namespace, once; raises as `RedisStore.verify`."""
        with self._verifying, translated(self.where):
            if self._verified:
                return
            self._cluster = self._connected()
            try:
                self._run(first_contact(self._cluster, self.namespace, connection.FIRST_CONTACT_RETRIES))
            except BaseException:  # raised on: nobody has this client to close it by
                self._cluster.close()
                raise
            self._verified = True

    def _connected(self) -> RedisCluster:
        address = self._address
        try:
            return RedisCluster(
                startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
                max_connections=MOST_THREADS,
                ssl=address.tls,
                **client_options(address.options),
            )
        except (RedisClusterException, RedisError, OSError) as error:
            raise contact_error(error, self.where) from error

    def servers_info(self) -> list[dict[str, Any]]:
        """Return what each master says of itself, as INFO answers; raises StoreError."""
        self.verify()
        cluster: Any = self._client_now()
        with translated(self.where):
            return [cluster.info(target_nodes=node) for node in cluster.get_primaries()]

    def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect; raises StoreError."""
        if is_in_order(effect):
            return cast("T", tuple(self.perform(each) for each in effect.effects))
        return super().perform(effect)

    def _for_calls(self) -> Any:
        return self._client_now()  # what is published at one node is heard at all

    def _pool_of(self, workflow_id: str) -> Any:
        cluster: Any = self._client_now()
        node = cluster.get_node_from_key(workflow_keys(self.namespace, workflow_id).l)
        return cluster.get_redis_connection(node).connection_pool

    def _replies(self, requests: Sequence[Any]) -> list[Any]:
        commands = [Command.of(request) for request in requests]
        return self._run(routed(self._client_now(), commands, self.retries))

    def _client_now(self) -> RedisCluster:
        if self._cluster is None:
            raise ConfigurationError("the store was closed while a call of it was under way")
        return self._cluster

    def _run(self, steps: Generator[Step, Any, T]) -> T:
        cluster = self._client_now()
        try:
            step = next(steps)
            while True:
                reply = None
                if isinstance(step, Send):
                    reply = [_sent(cluster, node, commands) for node, commands in step.batches]
                elif isinstance(step, Pause):
                    time.sleep(step.seconds)
                elif isinstance(step, Refresh):
                    _refresh(cluster)
                step = steps.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def close(self) -> None:
        """Close the connections; the next effect opens new ones."""
        with self._verifying:
            if self._cluster is not None:
                self._cluster.close()
            self._verified = False


def is_in_order(effect: Effect[Any]) -> TypeGuard[fx.Batch]:
    """Whether it is a batch of which the order matters: its parts may lie on several nodes, and one wait for its slot.

    A run is claimed before its task is bound to it: whoever calls the task off in between finds no run.
    """
    return isinstance(effect, fx.Batch) and any(isinstance(each, fx.Bind) for each in effect.effects)


def client_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of every cluster client. It tries nothing again by itself: `routing` knows when to."""
    return {
        "protocol": 2,
        "socket_timeout": connection.SOCKET_SECONDS,
        "socket_connect_timeout": connection.CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "require_full_coverage": False,  # the slots that are served go on while others are not
        **options,
    }


def contact_error(error: Exception, where: str) -> CtxqueueError:
    """Return why a cluster could not be reached, in our words."""
    cause = plain(error)
    if "cluster support disabled" in str(cause):
        return ConfigurationError(f"the server at {where} is no node of a cluster: use redis:// for it")
    return our_error(cause, where)


def _sent(cluster: RedisCluster, node: ClusterNode, commands: list[Words]) -> list[Any]:
    """Return a reply or an error for each command; they go to one node, in one exchange."""
    try:
        client = cluster.get_redis_connection(node)
        if commands[0][0] == "EVALSHA":
            return connection.exchange(client.connection_pool, commands)
        pipeline = client.pipeline(transaction=False)  # it knows the forms of other commands' replies
        for command in commands:
            pipeline.execute_command(*command)
        return pipeline.execute(raise_on_error=False)
    except RedisError as error:
        return [error] * len(commands)


def _refresh(cluster: RedisCluster) -> None:
    """Read the map of slots anew. Where that fails the old one stays, and the next command fails as the last did."""
    try:
        cluster.nodes_manager.initialize()
    except (RedisClusterException, RedisError):
        return
