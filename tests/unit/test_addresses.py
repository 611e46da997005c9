"""What the URLs of a Cluster and of Sentinels mean, and what is refused."""

from __future__ import annotations

import ssl
import traceback
from types import SimpleNamespace
from typing import Any

import pytest

from ctxqueue.errors import ConfigurationError
from ctxqueue.integration.backend import celerys_url
from ctxqueue.stores.base import open_async_store, open_store
from ctxqueue.stores.redis.addresses import cluster_address, sentinel_address


def test_a_cluster_by_many_nodes_with_a_login() -> None:
    address = cluster_address("redis+cluster://agent:p%40ss@node-1:7000,node-2,[::1]:7001/0?socket_timeout=1.5")
    assert address.nodes == (("node-1", 7000), ("node-2", 6379), ("::1", 7001))
    assert address.options == {"username": "agent", "password": "p@ss", "socket_timeout": 1.5}
    assert not address.tls
    assert str(address) == "node-1:7000,node-2:6379,::1:7001"


def test_a_cluster_over_tls() -> None:
    address = cluster_address("rediss+cluster://node-1?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=no")
    assert address.tls
    assert address.options == {"ssl_ca_certs": "/etc/ca.pem", "ssl_check_hostname": False}


def test_sentinels_in_celerys_form() -> None:
    address = sentinel_address("sentinel://:p%40ss@host-1:26380/3;sentinel://host-2?master_name=main")
    assert address.sentinels == (("host-1", 26380), ("host-2", 26379))
    assert (address.master_name, address.db, address.options) == ("main", 3, {"password": "p@ss"})
    assert address.sentinel_options == {}
    assert str(address) == "main of host-1:26380;host-2:26379"


def test_sentinels_with_a_login_of_their_own() -> None:
    address = sentinel_address(
        "sentinel://u:p@h:1/3;sentinel://u:p@i:2/3?master_name=m&sentinel_username=su&sentinel_password=s%26p"
        "&min_other_sentinels=1"
    )
    assert address.options == {"username": "u", "password": "p"}
    assert address.sentinel_options == {"username": "su", "password": "s&p"}
    assert address.min_other_sentinels == 1


def test_sentinels_and_their_master_over_tls() -> None:
    of_master = {"ssl_ca_certs": "/etc/ca.pem", "ssl_check_hostname": False}
    both = sentinel_address(
        "sentinel://h:1?master_name=m&ssl=true&sentinel_ssl=true&ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=no"
    )
    assert (both.tls, both.options, both.sentinel_options) == (True, of_master, {**of_master, "ssl": True})
    own = sentinel_address("sentinel://h:1?master_name=m&ssl=true&sentinel_ssl=true&sentinel_ssl_check_hostname=no")
    assert (own.tls, own.options, own.sentinel_options) == (True, {}, {"ssl_check_hostname": False, "ssl": True})
    alone = sentinel_address("sentinel://h:1?master_name=m&sentinel_ssl=true&sentinel_password=s")
    assert (alone.tls, alone.options, alone.sentinel_options) == (False, {}, {"password": "s", "ssl": True})


REFUSED = {
    "redis://h:1/production": "a database is a number",  # redis-py takes 0, where other apps have theirs
    "rediss://h/1/2": "a database is a number",  # and 12
    "redis+cluster://node-1/3": "only database 0",
    "redis+cluster://node-1/x": "a database is a number",
    "redis+cluster://node-1,": "names no host",
    "redis+cluster://": "names no host",
    "redis+cluster://node-1:port": "names no host and port",
    "redis+cluster://node-1:70000": "names no host and port",
    "redis+cluster://node-1?decode_responses=true": "no option 'decode_responses'",
    "redis+cluster://node-1?ssl_ca_certs=/etc/ca.pem": "no option 'ssl_ca_certs'",
    "sentinel://h:1?master_name=m&ssl_ca_certs=/etc/ca.pem": "ssl_ca_certs is for TLS: add ssl=true",
    "sentinel://h:1?master_name=m&ssl=true&sentinel_ssl_ca_certs=/etc/ca.pem": "add .* sentinel_ssl=true",
    "sentinel://h:1?master_name=m&sentinel_ssl=yes": "ssl is 'yes'",
    "sentinel://h:1?master_name=m&sentinel_db=1": "no option 'sentinel_db'",
    "redis+cluster://node-1?socket_timeout=soon": "not usable",
    "sentinel://h:1": "name of the master is missing",
    "sentinel://h:1?master_name=": "name of the master is missing",
    "sentinel://h:1;h:2?master_name=m": "needs its scheme",
    "sentinel://h:1;redis://h:2?master_name=m": "needs its scheme",
    "sentinel://h:1;?master_name=m": "needs its scheme",
    "sentinel://:a@h:1;sentinel://:b@h:2?master_name=m": "different users, passwords",
    "sentinel://h:1/1;sentinel://h:2/2?master_name=m": "different users, passwords or databases",
    "sentinel://h:1?master_name=m;sentinel://h:2?master_name=n": "sets master_name twice",
    "sentinel://h:1?master_name=m&min_other_sentinels=few": "min_other_sentinels is a number",
    "sentinel://h:1?master_name=m&protocol=3": "no option 'protocol'",
}


@pytest.mark.parametrize("opened", [open_store, open_async_store])
@pytest.mark.parametrize(("url", "says"), REFUSED.items())
def test_what_a_url_cannot_mean_is_refused(opened: Any, url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        opened(url, "default")


PASSWORDS = {
    "redis://:s3c#r3t@h/0": "password quoted",
    "redis://:s3c/r3t@h/0": "password quoted",
    "redis://:s3c?r3t@h/0": "password quoted",
    "redis://:12/r3t@h/0": "password quoted",  # of which a port could be made
    "redis://:s3c]r3t[@h/0": "password quoted",
    "redis://h:s3cr3t/0": "password quoted",
    "redis+cluster://:s3c/r3t@h": "password quoted",
    "redis+cluster://h:s3cr3t": "password quoted",
    "sentinel://:s3c#r3t@h:1?master_name=m": "password quoted",
    "sentinel://:s3c]r3t[@h:1?master_name=m": "password quoted",
    "postgresql://u:s3c@r3t@h/x": "password quoted",
    "postgresql://u:p@h:s3cr3t/x": "not usable",
    "redis://h?socket_timeout=s3cr3t": "Invalid value for 'socket_timeout'",
    "redis://h?bogus=s3cr3t": "no connection takes .*'bogus'",
    "redis://h?decode_responses=true": "decode_responses",
}


@pytest.mark.parametrize("opened", [open_store, open_async_store])
@pytest.mark.parametrize(("url", "says"), PASSWORDS.items())
def test_nothing_of_a_password_is_in_what_is_said_of_a_url(opened: Any, url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as refused:
        opened(url, "default")
    shown = "".join(traceback.format_exception(refused.value))
    assert "s3c" not in shown
    assert "r3t" not in shown
    assert ":12" not in shown


@pytest.mark.parametrize(
    "url", ["redis://u:a%40b%2Fc@h/0", "redis://u:a@b@h/0", "unix:///run/a@b.sock?db=1", "redis://h?password=a@b"]
)
def test_a_url_with_an_at_sign_elsewhere_is_taken(url: str) -> None:
    open_store(url, "default").close()


def conf(**settings: Any) -> Any:
    names = ("result_backend", "broker_url", "result_backend_transport_options", "broker_transport_options")
    tls = ("redis_backend_use_ssl", "broker_use_ssl")
    return SimpleNamespace(**(dict.fromkeys((*names, *tls)) | settings))


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"result_backend": "redis://h/1", "broker_url": "redis://h/0"}, "redis://h/1"),
        ({"result_backend": "rpc://", "broker_url": "rediss://h/0"}, "rediss://h/0"),
        ({"broker_url": "redis+socket:///run/redis?virtual_host=2"}, "unix:///run/redis?db=2"),
        ({"result_backend": "rediss://h/1?ssl_cert_reqs=CERT_NONE&db=2"}, "rediss://h/1?ssl_cert_reqs=none&db=2"),
        ({"broker_url": "amqp://h"}, None),
        (
            {
                "broker_url": "sentinel://:p@h:1/2;sentinel://:p@i:2/2",
                "broker_transport_options": {"master_name": "main", "sentinel_kwargs": {"password": "s&p"}},
            },
            "sentinel://:p@h:1/2;sentinel://:p@i:2/2?master_name=main&sentinel_password=s%26p",
        ),
        (
            {"result_backend": "sentinel://h:1", "result_backend_transport_options": {"master_name": "main"}},
            "sentinel://h:1?master_name=main",
        ),
        (
            {
                "result_backend": "sentinel://h:1",
                "result_backend_transport_options": {
                    "master_name": "main",
                    "sentinel_kwargs": {"ssl": True, "ssl_ca_certs": "/ca.pem"},
                },
                "redis_backend_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": False},
            },
            (
                "sentinel://h:1?master_name=main&ssl=true&ssl_check_hostname=False&ssl_cert_reqs=required"
                "&sentinel_ssl=true&sentinel_ssl_ca_certs=%2Fca.pem"
            ),
        ),
        (
            {"broker_url": "redis://h/0", "broker_use_ssl": {"ssl_ca_certs": "/ca.pem"}},
            "rediss://h/0?ssl_ca_certs=%2Fca.pem",
        ),
        (
            {"broker_url": "rediss://h/0?ssl_cert_reqs=required", "broker_use_ssl": True},
            "rediss://h/0?ssl_cert_reqs=required",
        ),
    ],
)
def test_celerys_own_redis_is_the_store_of_an_app_that_names_none(settings: dict[str, Any], url: str | None) -> None:
    assert celerys_url(conf(**settings)) == url
