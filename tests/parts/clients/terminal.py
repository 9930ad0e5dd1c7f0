"""A program on a terminal of its own, played by commands on standard input, each answered by a line.

usage: terminal.py PROGRAM ARGS…

    wait TEXT       until the screen has shown it (20 s): ok, or what was shown instead
    type TEXT       \\xNN stands for an octet
    size COLUMNS LINES
    signal NAME
    end             waits for the program's end: its status, whether the terminal is as it was, and what came last, as JSON
"""
import fcntl, json, os, pty, select, signal, struct, sys, termios, time

BOUND = 20


def resize(fd, columns, lines):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def settings(fd):
    found = termios.tcgetattr(fd)
    return [found[:6], [bytes([c]) if isinstance(c, int) else c for c in found[6]]]


master, slave = pty.openpty()
resize(slave, 80, 24)
before = settings(slave)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.closerange(3, 256)
    os.execv(sys.argv[1], sys.argv[1:])

shown = b""
ended = None


def read(span):
    """What is there within the span; whether anything was."""
    global shown
    if not select.select([master], [], [], span)[0]:
        return False
    try:
        got = os.read(master, 65536)
    except OSError:
        return False
    shown += got
    return bool(got)


def wait(text):
    global shown
    until = time.monotonic() + BOUND
    while text not in shown:
        if time.monotonic() > until:
            return "not shown: " + repr(shown[-3000:])
        read(0.1)
    shown = shown[shown.index(text) + len(text):]
    return "ok"


def end():
    until = time.monotonic() + BOUND
    while True:
        read(0.05)
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            return json.dumps({"status": "it does not end", "last": repr(shown[-3000:])})
    while read(0.1):
        pass
    return json.dumps({
        "status": os.waitstatus_to_exitcode(status),
        "as_before": settings(slave) == before,
        "last": shown.decode("utf-8", "replace"),
    })


for line in sys.stdin:
    word, _, rest = line.rstrip("\n").partition(" ")
    if word == "wait":
        answer = wait(rest.encode())
    elif word == "type":
        os.write(master, rest.encode().decode("unicode_escape").encode("latin-1"))
        answer = "ok"
    elif word == "size":
        columns, lines = rest.split()
        resize(slave, int(columns), int(lines))
        answer = "ok"
    elif word == "signal":
        os.kill(child, getattr(signal, "SIG" + rest))
        answer = "ok"
    else:
        answer = end()
    print(answer, flush=True)
    if word == "end":
        break
