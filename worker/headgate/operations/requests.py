"""What a rule, a schedule or a person asks of a deployment: about which pipeline, and whether it was asked before."""

from dataclasses import dataclass

from headgate.app import App, publisher
from headgate.errors import Misuse
from headgate.events.origin import Origin, fired_by, stored


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, and what is known about it besides the parameters."""

    key: str  # the same for the same event, deployment and parameters
    by: str  # for people
    origin: Origin | None  # the event; None: a schedule or a person asks, or the event was not read

    def pipeline(self, app: App, given: str | None) -> str:
        """The requested pipeline: that of the parameter, else that of the event.

        Raises:
            Misuse: neither names one.
            BadPipeline: no pipeline has this name.

        """
        name = given or (self.origin.pipeline if self.origin else None)
        if name is None:
            about = f"the event {self.origin.event} names none" if self.origin else f"{self.by} names none"
            raise Misuse(f"Which pipeline? The parameter `pipeline` is empty, and {about}; fill it in.")
        return app.pipeline(name).name


def understand(app: App, what: str, flow_run_id: str, event: str | None, *, reads: bool) -> Asked:
    """Find out who asks.

    Args:
        app: settings.
        what: the request: the deployment with its parameters, since one event may ask for several things.
        flow_run_id: the run that answers the request.
        event: the event's id, if the rule passed it on: then the server is not asked which it was.
        reads: whether the event says what the parameters leave open.

    Raises:
        PrefectUnavailable: the server does not answer.

    """
    if event:
        found = None
        if reads:
            with publisher(app.settings) as server:
                found = stored(server, event)
        by = f"a rule, for event {event}" if found or not reads else f"event {event}, which the server does not have,"
        return Asked(f"{what} {event}", by, found)
    with publisher(app.settings) as server:
        found = fired_by(server, flow_run_id)
    if found is None:
        return Asked(f"{what} {flow_run_id}", f"flow run {flow_run_id}", None)
    return Asked(f"{what} {found.event_id}", f"the rule {found.automation!r}", found)
