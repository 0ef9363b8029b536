"""The command `demo`: starts the platform, applies the definitions, walks the way, stops. Does not: the steps (demo.py)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from millwright.commands.output import Done, command
from millwright.settings import Settings

if TYPE_CHECKING:
    from millwright.demo import Demo, DemoReport, DemoStep
    from millwright.stack.up import Stack


def _tell(step: DemoStep) -> None:
    mark = click.style("done", fg="green") if step.ok else click.style("FAILED", fg="red")
    figures = ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in step.figures.items()
    )
    click.echo(f"{mark:>6}  {step.name} ({step.seconds:.1f} s)" + (f"\n        {figures}" if figures else ""), err=True)


def _text(report: DemoReport) -> Any:
    head = "The whole way went through." if report.ok else "[red]The demo failed; the failed step says why.[/red]"
    lines = [f"{head} {report.seconds:.0f} s."]
    if report.addresses:
        lines += ["", *(f"{name:<8} {address}" for name, address in report.addresses.items()), "", "Try next:"]
        lines += [
            "  millwright batches                                      what arrived, with receipts",
            "  millwright features machine_vitals                      the catalog",
            "  millwright online machine_vitals machine_id=press-01    what a model reads",
            "  millwright predict press_failures machine_id=press-01   what it makes of it",
            "  millwright status | down                                the platform on this machine",
        ]
    return "\n".join(lines)


@command(text=_text)
@click.option("--once", is_flag=True, help="Stop everything at the end.")
def demo(once: bool) -> Done:
    """The whole way on a simulated fleet: files, a correction, Kafka, a model's predictions, a lost Redis and its repair."""
    from millwright.demo import Demo, DemoReport
    from millwright.stack.up import Stack

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    seen = Demo(_tell)
    stack = Stack(Settings())
    try:
        addresses = _walk(seen, stack)
        ok = True
    except Exception as error:
        if not seen.steps or seen.steps[-1].ok:
            raise
        click.secho(f"{type(error).__name__}: {error}", fg="red", err=True)
        ok, addresses = False, {}
    finally:
        if once:
            with seen.step("stop") as figures:
                figures["was up"] = int(stack.down())
    report = DemoReport(
        ok=ok and all(step.ok for step in seen.steps),
        seconds=round(time.monotonic() - began, 1),
        steps=seen.steps,
        addresses={} if once else addresses,
    )
    return Done(report, code=0 if report.ok else 1)


def _walk(seen: Demo, stack: Stack) -> dict[str, str]:
    from millwright import demo_serving
    from millwright.demo import run
    from millwright.platform import open_platform
    from millwright.registry import apply
    from millwright.stack.status import status

    with seen.step("start the platform") as figures:
        figures["already up"] = int(stack.up([]))
        figures["servers"] = len(stack.children())
    with seen.step("apply the definitions") as figures:
        settings = Settings()
        figures["feature views"] = _views(apply, settings)
    with open_platform(settings) as platform:
        run(platform, seen)
        demo_serving.run(platform, seen, may_flush="MILLWRIGHT_REDIS_URL" not in stack.state.external())
    report = status(stack)
    addresses = {"Dagster": report.webserver, "API": report.api, "Inbox": report.inbox, "Logs": report.logs}
    return {name: str(address) for name, address in addresses.items() if address}


def _views(apply: Callable[..., Any], settings: Settings) -> int:
    from millwright.definitions import load

    apply(settings, by="demo")
    return len(load(settings.feature_repo).feature_views)
