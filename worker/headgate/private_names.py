"""Every private or patched name of Prefect that Headgate uses, with the signature that it relies on.

If a name is missing, or has another signature, the optimisation that uses it is switched off and the slower public way
is taken. One warning says so. `HEADGATE_PREFECT_INTERNALS=false` switches all of these optimisations off.
"""

import inspect
import os
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from pkgutil import resolve_name

import structlog

SWITCH = "HEADGATE_PREFECT_INTERNALS"  # a setting too; read here because Prefect's server imports us without settings

log = structlog.get_logger()


class Use(StrEnum):
    """The purpose that a name is used for."""

    RUNS = "runs in warm processes"
    REQUESTS = "requests that a run need not wait for"
    HEARTBEATS = "heartbeats that end with their run"
    SUSPENSION = "one observer of suspensions for all runs"
    STORAGE = "the default result storage, asked for ahead"
    TLS = "one TLS context for all clients"
    APPLICATION = "one application for all actions of the embedded server"
    CHANGES = "changes of automations that lose no event"
    SERVICES = "an end of the embedded server when one of its services fails"
    TYPES = "Headgate among the types of work pools in the UI"


@dataclass(frozen=True, slots=True)
class Name:
    """A private or patched name of Prefect."""

    use: Use
    path: str  # module:attribute
    parameters: str | None  # parameter names, in order; None if it is read and written, not called


NAMES = (
    Name(Use.RUNS, "prefect.workers.process:ProcessWorker._submit_run", "self, flow_run"),
    Name(Use.RUNS, "prefect.workers.process:ProcessWorker._release_limit_slot", "self, flow_run_id"),
    Name(Use.RUNS, "prefect.workers.process:ProcessWorker._sync_and_initialize", "self"),
    Name(Use.RUNS, "prefect.workers.process:ProcessWorker._emit_worker_started_event", "self"),
    Name(Use.RUNS, "prefect.workers.process:ProcessWorker.get_and_submit_flow_runs", "self"),
    Name(Use.RUNS, "prefect.workers.process:ProcessWorker._get_scheduled_flow_runs", "self"),
    Name(Use.RUNS, "prefect.utilities.engine:propose_state", "client, state, flow_run_id, force"),
    Name(
        Use.RUNS,
        "prefect.runner._cancellation_manager:CancellationManager",
        "process_manager, hook_runner, state_proposer, event_emitter, client, control_channel",
    ),
    Name(Use.RUNS, "prefect.runner._cancellation_manager:CancellationManager.cancel", "self, flow_run, state_msg"),
    Name(Use.RUNS, "prefect.runner._control_channel:ControlChannel", "ack_timeout"),
    Name(Use.RUNS, "prefect.runner._control_channel:ControlChannel.register", "self, flow_run_id"),
    Name(Use.RUNS, "prefect.runner._control_channel:ControlChannel.unregister", "self, flow_run_id"),
    Name(Use.RUNS, "prefect.runner._control_channel:ControlChannel.signal", "self, flow_run_id, intent"),
    Name(Use.RUNS, "prefect.runner._control_channel:ControlChannel.get_conclusion", "self, flow_run_id"),
    Name(Use.RUNS, "prefect.runner._event_emitter:EventEmitter", "runner_name, client, get_events_client, cache_ttl"),
    Name(
        Use.RUNS,
        "prefect.runner._flow_run_executor:FlowRunExecutor",
        "flow_run, starter, process_manager, state_proposer, hook_runner, get_attempt_conclusion, propose_submitting",
    ),
    Name(Use.RUNS, "prefect.runner._flow_run_executor:FlowRunExecutor.submit", "self, task_status"),
    Name(Use.RUNS, "prefect.runner._hook_runner:_run_hooks", "hooks, flow_run, flow, state"),
    Name(Use.RUNS, "prefect.runner._process_manager:ProcessHandle", "_process, termination_scope"),
    Name(Use.RUNS, "prefect.runner._process_manager:ProcessManager", "on_add, on_remove"),
    Name(Use.RUNS, "prefect.runner._process_manager:ProcessManager.get", "self, flow_run_id"),
    Name(Use.RUNS, "prefect.runner._process_manager:ProcessManager.kill", "self, flow_run_id, grace_seconds, force"),
    Name(Use.RUNS, "prefect.runner._state_proposer:StateProposer", "client"),
    Name(Use.RUNS, "prefect.runner._state_proposer:StateProposer.propose_cancelled", "self, flow_run, state_updates"),
    Name(Use.RUNS, "prefect._internal.control_listener:clear_intent", ""),
    Name(Use.RUNS, "prefect._internal.control_listener:stop", ""),
    Name(Use.RUNS, "prefect._internal.control_listener:configure_from_env", ""),
    Name(Use.RUNS, "prefect._internal.control_listener:get_intent", ""),
    Name(Use.RUNS, "prefect._internal.control_listener:engine_outcome_is_handled", ""),
    Name(Use.RUNS, "prefect._flow_run_suspension:mark_flow_run_suspension_requested", "flow_run_id, state"),
    Name(
        Use.RUNS,
        "prefect.flow_engine:run_flow",
        "flow, flow_run, parameters, wait_for, return_type, error_logger, context",
    ),
    Name(
        Use.REQUESTS,
        "prefect.client.orchestration:PrefectClient.request",
        "self, method, path, params, path_params, kwargs",
    ),
    Name(
        Use.REQUESTS,
        "prefect.client.orchestration:PrefectClient.create_task_run",
        "self, task, flow_run_id, dynamic_key, id, name, extra_tags, state, task_inputs",
    ),
    Name(
        Use.REQUESTS,
        "prefect.client.orchestration:PrefectClient.read_flow_runs",
        "self, flow_filter, flow_run_filter, task_run_filter, deployment_filter, work_pool_filter, "
        "work_queue_filter, sort, limit, offset",
    ),
    Name(
        Use.REQUESTS,
        "prefect.client.orchestration:PrefectClient.create_flow_run",
        "self, flow, name, parameters, context, tags, parent_task_run_id, state, work_pool_name, "
        "work_queue_name, job_variables",
    ),
    Name(
        Use.REQUESTS,
        "prefect.client.orchestration:PrefectClient.update_flow_run",
        "self, flow_run_id, flow_version, parameters, name, tags, empirical_policy, infrastructure_pid, job_variables",
    ),
    Name(Use.REQUESTS, "prefect.client.orchestration:PrefectClient.set_flow_run_name", "self, flow_run_id, name"),
    Name(Use.REQUESTS, "prefect.client.orchestration:PrefectClient.read_flow_run", "self, flow_run_id"),
    Name(
        Use.REQUESTS, "prefect.client.orchestration:PrefectClient.set_flow_run_state", "self, flow_run_id, state, force"
    ),
    Name(Use.HEARTBEATS, "prefect.flow_engine:_send_heartbeats", "engine, join_on_exit"),
    Name(Use.HEARTBEATS, "prefect.flow_engine:FlowRunEngine._build_heartbeat_event_template", "self"),
    Name(Use.HEARTBEATS, "prefect.flow_engine:FlowRunEngine._emit_flow_run_heartbeat", "self, resource, related"),
    Name(
        Use.SUSPENSION,
        "prefect.flow_engine:observe_flow_run_suspension",
        "flow_run_id, suspension_request, polling_interval",
    ),
    Name(Use.STORAGE, "prefect.results:_read_server_default_result_storage_block_id", ""),
    Name(Use.TLS, "prefect.client.orchestration:ssl.create_default_context", "purpose, cafile, capath, cadata"),
    Name(
        Use.APPLICATION,
        "prefect.server.api.server:create_app",
        "settings, ephemeral, webserver_only, final, ignore_cache",
    ),
    Name(Use.CHANGES, "prefect.server.events.triggers:automation_changed", "automation_id, event"),
    Name(Use.CHANGES, "prefect.server.events.triggers:reconcile_automations", "force"),
    Name(Use.CHANGES, "prefect.server.events.triggers:_automations_lock", ""),
    Name(Use.CHANGES, "prefect.server.events.triggers:automations_session", "db, begin_transaction"),
    Name(Use.CHANGES, "prefect.server.events.triggers:read_automation", "db, session, automation_id"),
    Name(Use.CHANGES, "prefect.server.events.triggers:read_automation_state_snapshot", "db, session"),
    Name(Use.CHANGES, "prefect.server.events.triggers:forget_automation", "automation_id"),
    Name(Use.CHANGES, "prefect.server.events.triggers:load_automation", "automation"),
    Name(Use.CHANGES, "prefect.server.events.triggers:clear_loaded_automations", ""),
    Name(Use.CHANGES, "prefect.server.events.triggers:automation_state_snapshot", None),
    Name(Use.CHANGES, "prefect.server.events.triggers:automations_by_id", None),
    Name(Use.CHANGES, "prefect.server.events.models.automations:read_automation", "db, session, automation_id"),
    Name(
        Use.CHANGES,
        "prefect.server.events.models.automations:read_automations_for_workspace",
        "db, session, sort, limit, offset, automation_filter",
    ),
    Name(
        Use.CHANGES,
        "prefect.server.events.models.automations:update_automation",
        "db, session, automation_update, automation_id",
    ),
    Name(Use.SERVICES, "prefect.server.services.base:Service.all_services", ""),
    Name(Use.SERVICES, "prefect.server.services.base:Service.start", "self"),
    Name(Use.TYPES, "prefect.server.api.collections:get_collection_view", "view"),
)


def fault(name: Name) -> str | None:
    """Return how a name differs from what Headgate relies on, or None if it does not."""
    try:
        there = resolve_name(name.path)
        if name.parameters is None:
            return f"{name.path} is called, and was a value" if callable(there) else None
        found = ", ".join(inspect.signature(there).parameters)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        return f"{name.path} cannot be used ({error})"
    return None if found == name.parameters else f"{name.path} takes ({found}), not ({name.parameters})"


@cache
def usable(use: Use) -> bool:
    """Return whether the installed Prefect has all that this use needs; if not, log it once."""
    if os.environ.get(SWITCH, "true").strip().lower() in {"false", "0", "no", "off", "f", "n"}:
        reason = f"{SWITCH} is false"
    else:
        faults = [found for name in NAMES if name.use is use and (found := fault(name)) is not None]
        if not faults:
            return True
        reason = f"Prefect {version('prefect')}: {'; '.join(faults)}"
    log.warning("does without an internal of Prefect, at a cost", action="start", without=str(use), reason=reason)
    return False
