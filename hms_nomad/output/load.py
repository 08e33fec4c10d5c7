"""The result of a load -> lines: a table of figures and a histogram."""

from __future__ import annotations

from collections.abc import Iterator

from hms_nomad.clients.load_figures import Latency, LoadResult
from hms_nomad.output.printer import Printer, inert

_BAR = 40


def load_lines(printer: Printer, result: LoadResult) -> Iterator[str]:
    """What became of the requests, how long the answers took, and who gave them."""
    mark = printer.style("✓", "green") if not result.failed else printer.style("✗", "red")
    pace = f"{result.seconds:.1f} s ({result.rate:g} a second)"
    yield f"{mark} {result.requests} requests in {pace}, {result.failed} failed"
    if result.statuses:
        yield f"Answers    {', '.join(f'{count} x {status}' for status, count in result.statuses.items())}"
    if refused := result.statuses.get("403"):
        yield f"Refused    {refused} by the mesh or the service itself; see hms-nomad mesh can-i"
    for reason, count in result.failures.items():
        yield f"No answer  {count} x {inert(reason)}"
    if result.instances:
        yield f"Instances  {', '.join(f'{address} {count}' for address, count in result.instances.items())}"
    if result.latency and result.service_time:
        yield from _latencies(printer, result.latency, result.service_time)


def _latencies(printer: Printer, latency: Latency, service_time: Latency) -> Iterator[str]:
    yield ""
    heads = ["", *(f"p{quantile}" for quantile in latency.quantiles), "mean", "max"]
    yield printer.style("".join([heads[0].ljust(22), *(head.rjust(11) for head in heads[1:])]), "bold")
    for name, one in (("from when it was due", latency), ("from when it was sent", service_time)):
        cells = [*one.quantiles.values(), one.mean, one.highest]
        yield "".join([name.ljust(22), *(f"{milliseconds(cell):>11}" for cell in cells)]).rstrip()
    yield ""
    most = max(count for _, count in latency.histogram)
    for up_to, count in latency.histogram:
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        yield f"up to {milliseconds(up_to):>8}  {count:>8}  {printer.style(bar, 'cyan')}".rstrip()


def milliseconds(value: float) -> str:
    """A duration as people read it: "0.84 ms", "120 ms", "1.50 s"."""
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.3g} ms" if value < 100 else f"{value:.0f} ms"
