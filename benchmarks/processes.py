"""What a server and all its processes have used, as Linux counts it below /proc."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # per second; 100 nearly everywhere, so short runs are counted coarsely


def cpu_seconds(root: int) -> float:
    """CPU time of the process and everything below it so far, children that have ended included (proc(5): utime,
    stime, cutime, cstime)."""
    return sum(sum(map(int, stat[11:15])) for stat in _family(root).values()) / TICKS


def forget_peak(root: int) -> None:
    """Let the peak of resident memory begin anew (proc(5): clear_refs)."""
    for pid in _family(root):
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_memory(root: int) -> list[int]:
    """Peak resident bytes of each process since `forget_peak`, the largest first. Pages that processes share are
    counted in each of them."""
    return sorted((_peak(pid) for pid in _family(root)), reverse=True)


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    return 0  # a process that has just ended


def _family(root: int) -> dict[int, list[str]]:
    """The process and all below it: pid to the fields of its `stat` after the name, state first."""
    stats = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                text = (directory / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:  # it has ended
                continue
            stats[int(directory.name)] = text.rpartition(")")[2].split()
    family, young = {}, [root]
    while young:
        pid = young.pop()
        if pid in stats:
            family[pid] = stats[pid]
            young += [child for child, stat in stats.items() if int(stat[1]) == pid]
    return family
