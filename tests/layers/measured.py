"""Runs the process that looks into a layer, and says what it took: `python -m tests.layers.measured SIZE SECONDS`,
the layer on standard input. A process of its own, because the kernel counts a parent's memory for a child's at first.
"""

import json
import os
import sys


def main() -> None:
    command = [sys.executable, "-B", "-s", "-m", "layers.looking", *sys.argv[1:], "1", str(os.getpid())]
    _, status, usage = os.wait4(os.posix_spawn(sys.executable, command, {}), 0)
    print(json.dumps({"status": status, "seconds": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss << 10}))


if __name__ == "__main__":
    main()
