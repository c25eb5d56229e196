"""The deployments of a home that people start from their own rules."""

from headgate.home import DEFAULT, at_home
from headgate.reconcile.deployments import DeploymentSpec
from headgate.reconcile.rule import TAG

RULES = {  # name of flow and deployment -> module and function, and what it does
    "replay-dead-letters": ("replay_dead_letters.replay_dead_letters", "Sends dead letters again."),
    "pause-source": ("turn_sources.pause_source", "Takes nothing in from a source until it is resumed."),
    "resume-source": ("turn_sources.resume_source", "Takes in from a paused source again."),
    "reload-look-ups": ("reload_look_ups.reload_look_ups", "Reads what a pipeline looks up in, and checks it."),
    "send-digest": ("send_digest.send_digest", "Tells what became of what arrived."),
}


def for_rules(home: str = DEFAULT) -> list[DeploymentSpec]:
    """Describe the deployments that rules start in a home."""
    return [
        DeploymentSpec(
            flow=flow,
            entrypoint=f"headgate.flows.{entrypoint}",
            name=at_home(flow, home),
            queue=home,
            description=f"{description} For rules, schedules and runs by hand.",
            tags=(TAG, "rules"),
        )
        for flow, (entrypoint, description) in RULES.items()
    ]
