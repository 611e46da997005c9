"""Each rule objects to what can go wrong, names what mends it, and is silent where that is set."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from ctxqueue import celery_defaults
from ctxqueue.integration.check import RULES, SETTINGS, Finding, ServerSetup, Setup, TaskSetup, findings
from ctxqueue.settings import Settings
from tests.integration.deployments import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

TASK = TaskSetup(name="analyse", is_agent=True, retry_delay=180, needs_timeout=600)


def under(changes: Mapping[str, Any] | None = None, **setup: Any) -> list[Finding]:
    """What the rules say of an app under our defaults, some settings changed; a None is the setting left out."""
    conf = celery_defaults()
    for name, value in (changes or {}).items():
        place, _, option = name.partition(".")
        if option:
            conf[place] = {**conf[place], option: value}
        else:
            conf[name] = value
    return findings(Setup(**{"conf": conf, "tasks": (TASK,), **setup}))


def said(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity, finding.about) for finding in found]


def broker(option: str) -> str:
    return f"broker_transport_options['{option}']"


def test_under_our_defaults_there_is_nothing_to_say() -> None:
    assert under() == []


@pytest.mark.parametrize(
    ("changes", "severity", "about"),
    [
        ({"broker_transport_options.visibility_timeout": 1800}, "error", broker("visibility_timeout")),
        ({"task_time_limit": 3600}, "error", broker("visibility_timeout")),
        ({"task_time_limit": None}, "warning", "time limit of analyse"),
        ({"task_time_limit": 600}, "error", "task_soft_time_limit"),
        ({"broker_transport_options.socket_timeout": None}, "warning", broker("socket_timeout")),
        ({"broker_transport_options.socket_connect_timeout": 60}, "warning", broker("socket_connect_timeout")),
        ({"redis_socket_timeout": 120.0}, "warning", "redis_socket_timeout"),
        ({"redis_socket_connect_timeout": None}, "warning", "redis_socket_connect_timeout"),
        ({"broker_transport_options.health_check_interval": None}, "warning", broker("health_check_interval")),
        ({"redis_backend_health_check_interval": None}, "warning", "redis_backend_health_check_interval"),
        ({"broker_transport_options.unacked_restore_throttle": None}, "warning", broker("unacked_restore_throttle")),
        ({"broker_transport_options.unacked_restore_interval": 60}, "warning", broker("unacked_restore_throttle")),
        ({"broker_transport_options.unacked_mutex_expire": None}, "warning", broker("unacked_mutex_expire")),
        ({"result_backend_always_retry": False}, "warning", "result_backend_always_retry"),
        ({"worker_soft_shutdown_timeout": 0.0}, "warning", "worker_soft_shutdown_timeout"),
        ({"result_expires": 600}, "error", "result_expires"),
        ({"result_expires": timedelta(minutes=10)}, "error", "result_expires"),
        ({"task_acks_late": False}, "warning", "task_acks_late"),
        ({"task_reject_on_worker_lost": None}, "warning", "task_reject_on_worker_lost"),
        ({"beat_scheduler": "redbeat.RedBeatScheduler"}, "warning", "redbeat_lock_timeout"),
        ({"result_expires": None}, "warning", "result_expires"),
        ({"task_default_priority": 5, "task_queue_max_priority": 9}, "warning", "task_default_priority"),
    ],
)
def test_a_setting_that_breaks_something_is_named(changes: dict[str, Any], severity: str, about: str) -> None:
    assert said(under(changes)) == [(severity, about)]


@pytest.mark.parametrize(
    "changes",
    [
        {"result_expires": 601},
        {"task_time_limit": 3599, "worker_prefetch_multiplier": 1},
        {"beat_scheduler": "redbeat.RedBeatScheduler", "redbeat_lock_timeout": 30, "beat_max_loop_interval": 5},
        {"broker_transport_options.socket_timeout": 30},
    ],
)
def test_what_is_on_the_safe_side_is_left_alone(changes: dict[str, Any]) -> None:
    assert under(changes) == []


@pytest.mark.parametrize("multiplier", [4, 0, None])
def test_messages_that_wait_behind_a_long_task_are_warned_of(multiplier: int | None) -> None:
    assert ("warning", "worker_prefetch_multiplier") in said(under({"worker_prefetch_multiplier": multiplier}))


def test_a_message_that_may_wait_for_longer_than_it_may_be_out_is_warned_of_too() -> None:
    assert len(under({"worker_prefetch_multiplier": 4})) == 2
    assert len(under({"worker_prefetch_multiplier": 4, "task_soft_time_limit": 50, "task_time_limit": 60})) == 1


def test_a_tasks_own_time_limit_goes_before_the_apps() -> None:
    task = TaskSetup(name="slow", time_limit=7200)
    assert said(under(tasks=(TASK, task))) == [("error", broker("visibility_timeout"))]
    assert "slow may run 7200 s" in under(tasks=(TASK, task))[0].risk
    assert under({"task_time_limit": None}, tasks=(TaskSetup(name="quick", time_limit=60),)) == []


def test_many_tasks_without_a_limit_are_one_warning() -> None:
    tasks = tuple(TaskSetup(name=f"task{number}") for number in range(5))
    assert said(under({"task_time_limit": None}, tasks=tasks)) == [
        ("warning", "time limit of task0, task1, task2 and 2 more")
    ]


def test_delays_beyond_the_visibility_timeout_are_errors() -> None:
    late = TaskSetup(name="late", retry_delay=4000)
    found = under(tasks=(TASK, late), countdowns={"nightly": 3600, "hourly": 60})
    assert said(found) == [
        ("error", "retry delay of late"),
        ("error", "countdown of the beat entry nightly"),
    ]
    assert said(under({"broker_transport_options.visibility_timeout": 60}, tasks=(TASK, *[late] * 4)))[1:] == [
        ("error", "retry delay of analyse"),
        ("error", "retry delay of late, late, late and 1 more"),
    ]


def test_the_longest_wait_counts_also_where_no_task_says_its_own() -> None:
    assert said(under({"result_expires": 3600}, tasks=())) == [("error", "result_expires")]
    assert under({"result_expires": 3600, "ctxqueue_needs_timeout": 60}, tasks=()) == []


def test_a_server_that_evicts_or_forgets_is_named_with_its_role() -> None:
    good = ServerSetup(role="store", where="here")
    evicting = ServerSetup(role="broker", where="there", policy="allkeys-lru")
    forgetful = ServerSetup(role="result backend", where="elsewhere", appendonly=False)
    gone = ServerSetup(role="store", where="nowhere", error="it does not answer")
    assert said(under(servers=(good, forgetful, evicting, gone))) == [
        ("error", "broker at there"),
        ("error", "store at nowhere"),
        ("warning", "result backend at elsewhere"),
    ]


@pytest.mark.parametrize(
    ("versions", "names"),
    [
        ({"celery": "5.6.0", "kombu": "5.7.0", "redis": "6.4.0"}, []),
        ({"celery": "5.5.3", "kombu": "5.5.4", "redis": "5.2.1"}, ["celery", "kombu", "redis"]),
        ({"celery": "5.7.0rc1", "kombu": "6.0"}, []),
    ],
)
def test_libraries_that_are_too_old_are_errors(versions: dict[str, str], names: list[str]) -> None:
    assert said(under(versions=versions)) == [("error", name) for name in names]


def test_a_store_of_one_process_is_an_error_unless_tasks_run_in_it() -> None:
    assert said(under(store="memory")) == [("error", "ctxqueue_backend_url")]
    assert under({"task_always_eager": True}, store="memory") == []


@pytest.mark.parametrize("backend", ["db", "disabled", "rpc"])
def test_results_outside_redis_are_warned_of(backend: str) -> None:
    assert ("warning", "result_backend") in said(under(backend=backend))


def test_another_broker_is_not_measured_by_what_redis_does() -> None:
    assert under({"broker_transport_options": {}, "task_time_limit": None}, broker="amqp") == []


def test_a_priority_is_warned_of_where_the_broker_turns_it_round() -> None:
    urgent = TaskSetup(name="urgent", priority=0)
    assert said(under(tasks=(urgent,))) == [("warning", "priority of urgent")]
    assert under({"broker_transport_options": {}}, broker="amqp", tasks=(urgent,)) == []


def test_a_cluster_is_no_broker() -> None:
    assert said(under(broker="redis+cluster")) == [("error", "broker_url")]


def test_an_agents_task_that_gives_up_late_acknowledgement_is_named() -> None:
    early = TaskSetup(name="early", is_agent=True, acks_late=False)
    plain = TaskSetup(name="plain", acks_late=False, reject_on_worker_lost=False)
    assert said(under(tasks=(early, plain))) == [("warning", "task early")]


def test_a_run_that_a_lost_process_begins_anew_is_named() -> None:
    claimed = TaskSetup(name="claimed", is_claimed=True, retry_on_worker_lost=True)
    plain = TaskSetup(name="plain", retry_on_worker_lost=True)
    assert said(under(tasks=(claimed, plain))) == [("error", "retry_on_worker_lost of claimed")]


def test_behind_a_sentinel_the_master_is_named_and_time_outs_are_a_must() -> None:
    assert said(under({"redis_socket_timeout": None}, broker="sentinel", backend="sentinel")) == [
        ("error", "redis_socket_timeout"),
        ("error", "broker_transport_options"),
        ("error", "result_backend_transport_options"),
    ]
    named = {
        "broker_transport_options.master_name": "mymaster",
        "result_backend_transport_options": {"master_name": "mymaster"},
    }
    assert under(named, broker="sentinel", backend="sentinel") == []
    assert said(under(named, broker="sentinel", backend="sentinel", asks_anew=False)) == [("warning", "result_backend")]


def test_every_rule_has_something_to_object_to() -> None:
    wrong = Setup(
        conf={
            "broker_transport_options": {},
            "worker_prefetch_multiplier": 4,
            "result_expires": 10,
            "task_soft_time_limit": 4000,
            "ctxqueue_leas": 30,
            "task_time_limit": 3000,
            "beat_scheduler": "redbeat.RedBeatScheduler",
        },
        broker="sentinel",
        backend="sentinel",
        store="memory",
        tasks=(TaskSetup(name="late", retry_delay=9000, priority=3, is_claimed=True, retry_on_worker_lost=True),),
        servers=(ServerSetup(role="store", where="here", policy="allkeys-lru"),),
        versions={"celery": "5.5"},
    )
    silent = [rule.__name__ for rule in RULES if not list(rule(wrong))]
    assert silent == ["the_broker_is_one_that_celery_knows", "results_go_some_day", "results_are_in_redis"]
    for finding in findings(wrong):
        assert finding.risk
        assert finding.mend


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ctxqueue_leas", "ctxqueue_lease"),
        ("ctxqueue_backend", "ctxqueue_backend_url"),
        ("ctxqueue_sign_keys", "ctxqueue_signing_keys"),
        ("ctxqeue_keyring", "ctxqueue_keyring"),
        ("CTXQUEUE_POLICY", "ctxqueue_policy"),
    ],
)
def test_a_setting_that_nothing_reads_is_an_error_with_the_nearest_that_is(given: str, meant: str) -> None:
    (found,) = under({given: 1})
    assert (found.severity, found.about, found.mend) == ("error", given, f"{meant}, if that was meant")


def test_a_setting_near_none_is_named_too_and_others_are_their_owners() -> None:
    assert [(found.about, "leave it out" in found.mend) for found in under({"ctxqueue_zzzzzzzzzz": 1})] == [
        ("ctxqueue_zzzzzzzzzz", True)
    ]
    assert under({"ctxqueue_lease": 60, "context_queue": 1, "team_ctxqueue_x": 1}) == []


def test_a_prefix_of_the_apps_configuration_belongs_to_the_name() -> None:
    app = Celery("prefixed", set_as_current=False)
    given = {f"CELERY_{name.upper()}": value for name, value in celery_defaults().items()}
    ours = {"CELERY_CTXQUEUE_LEASE": 60, "CELERY_CTXQUEUE_LEAS": 1, "CTXQUEUE_LEASE": 1}
    app.config_from_object({**given, **ours}, namespace="CELERY")
    assert app.conf.get("ctxqueue_lease") == 60
    found = findings(Setup(conf=app.conf, tasks=(TASK,)))
    assert {(each.about, each.mend) for each in found} == {
        (name, "CELERY_CTXQUEUE_LEASE, if that was meant") for name in ("CELERY_CTXQUEUE_LEAS", "CTXQUEUE_LEASE")
    }


def test_each_setting_that_the_code_reads_is_known_to_the_check_and_told_of_in_the_docs() -> None:
    asked = re.compile(r"""conf(?:\.get\(|, )["'](ctxqueue_[a-z_]+)["']""")
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "ctxqueue").rglob("*.py"))
    assert set(asked.findall(code)) | {f"ctxqueue_{field}" for field in Settings.__struct_fields__} == set(SETTINGS)
    docs = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))
    assert [name for name in SETTINGS if name not in docs and f"`{name.removeprefix('ctxqueue_')}`" not in docs] == []
