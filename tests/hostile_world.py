"""The world in which hostile programs are set loose: canaries, what they are told of them, and what is left after."""

import contextlib
import ctypes
import os
import re
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from copgkit import Completion, Context, Prompt
from copgkit_unit_tests.source import UnitTests

FOLDER = Path(__file__).with_name("hostile")
MEMORY_MB = 300

# What cannot stand in a text file, or would make it long.
MADE = {
    "a NUL": "def solve(n): return 1\0",
    "half a surrogate": "def solve(n): return '\ud800'",
    "ten megabytes": "x = 1\n" * 1_700_000 + "def solve(n): return None\n",
    "deep brackets": "x = " + "(" * 100_000 + ")" * 100_000,
    "deep minus": "x = " + "-" * 200_000 + "1",
    "deep attributes": "x = 0" + ".real" * 60_000,
    "deep blocks": "".join(" " * level + "if 1:\n" for level in range(500)) + " " * 500 + "pass",
    "a line of 300,000 terms": "x = " + "+".join("1" for _ in range(150_000)),
    "a long name": "x" * 300_000 + " = 1",
    "form feeds and carriage returns": "\f\r\rimport sys\r\n\f sys.exit(0)\r",
    "a number of 300,000 digits": "x = " + "9" * 300_000,
    "a byte order mark": "\ufeff\ufeffdef solve(n): return None",
}


def programs(*categories):
    """(category: name) -> source, as written; all categories by default."""
    found = {}
    for file in sorted(FOLDER.glob("*.txt")):
        if not categories or file.stem in categories:
            for part in re.split(r"^=== ", file.read_text(), flags=re.MULTILINE)[1:]:
                name, _, source = part.partition("\n")
                found[f"{file.stem}: {name}"] = source
    if not categories or "source" in categories:
        found |= {f"source: {name}": source for name, source in MADE.items()}
    return found


class World:
    """Canaries that hand the token out to whoever gets through to them, and notice who does."""

    def __init__(self):
        self.token = f"canary-{secrets.token_hex(8)}"
        self.folder = Path(tempfile.mkdtemp(prefix="canary-"))
        self.folder.chmod(0o777)
        (self.folder / "token").write_text(self.token)
        (self.folder / "token").chmod(0o666)
        self.visits = []
        self._sockets = [self._serve(socket.AF_INET, ("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        self._sockets.append(self._serve(socket.AF_UNIX, str(self.folder / "socket")))
        (self.folder / "socket").chmod(0o777)
        self._sockets.append(self._serve(socket.AF_UNIX, "\0" + self.token))
        self._packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._packets.bind(("127.0.0.1", self.port))
        self._packets.setblocking(False)
        self._bystander = subprocess.Popen(["sleep", "600"], env={"CANARY": self.token})
        self._others = {pid for pid, parent, _ in _processes() if parent == os.getpid()}  # of other tests, and this one
        self._before = signal.signal(signal.SIGUSR1, lambda *_: self.visits.append("a signal"))
        os.environ["CANARY"] = self.token
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become children of this process
        self._files, self._memory = self._state(), _memory_mb()

    def fill(self, source):
        """The program with the places of the canaries in it."""
        places = {"CANARY": self.folder, "PORT": self.port, "PID": os.getpid(), "ABSTRACT": self.token}
        for name, place in places.items():
            source = source.replace(f"<<{name}>>", str(place))
        return source

    def harm(self):
        """What has happened that must not have, in words; empty if nothing has."""
        found = list(self.visits)
        with contextlib.suppress(BlockingIOError):
            found.append(f"a packet {self._packets.recv(100)!r}")
        if self._state() != self._files:
            found.append(f"the canary's folder is now {self._state()}")
        found += [f"left behind: {path}" for path in _left_behind()]
        if _memory_mb() - self._memory > 128:
            found.append(f"the scorer grew by {_memory_mb() - self._memory:.0f} MB")
        return found

    def survivors(self):
        """Processes of this test that still live, once its pools are closed; killed ones get a moment to be gone."""
        for _ in range(20):
            alive = [line for pid, parent, line in _processes() if parent == os.getpid() and pid not in self._others]
            if not alive:
                break
            time.sleep(0.1)
        return alive

    def close(self):
        self._bystander.kill()
        self._bystander.wait()
        signal.signal(signal.SIGUSR1, self._before)
        del os.environ["CANARY"]
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)
        for one in (*self._sockets, self._packets):
            one.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _serve(self, family, address):
        server = socket.socket(family)
        server.bind(address)
        server.listen()

        def greet():
            while True:
                try:
                    guest, _ = server.accept()
                except OSError:
                    return
                self.visits.append(f"a visit at {address!r}")
                guest.sendall(self.token.encode())
                guest.close()

        threading.Thread(target=greet, daemon=True).start()
        return server

    def _state(self):
        if not self.folder.is_dir():
            return "gone"
        state = {}
        for path in sorted(self.folder.iterdir()):
            facts = path.lstat()
            content = path.read_text() if path.name == "token" else ""
            state[path.name] = (
                content, facts.st_mode, facts.st_uid, facts.st_nlink, facts.st_mtime_ns, os.listxattr(path),
            )  # fmt: skip
        return state


def _left_behind():
    places = [Path(os.__file__).parent, Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/run")]
    return [path for place in places for path in place.glob("copgkit[_-]left[_-]behind*")]


def _memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _processes():
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
            parent = int(re.search(r"^PPid:\s*(\d+)", status, re.MULTILINE)[1])
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
        except (OSError, TypeError):
            continue
        if "\nState:\tZ" not in status:
            yield int(folder.name), parent, f"{folder.name}: {line}"


# The same task in every style of tests: the right answer is the token and the number.


def checks(token):
    test = "".join(f"    assert candidate({n}) == '{token}-{n}'\n" for n in (1, 2, 3))
    return {"entry_point": "solve", "test": f"def check(candidate):\n{test}"}


def asserts(token):
    return {"test_list": [f"assert solve({n}) == '{token}-{n}'" for n in (1, 2, 3)]}


def calls(token):
    return {"entry_point": "solve", "inputs": [[n] for n in (1, 2, 3)], "outputs": [f"{token}-{n}" for n in (1, 2, 3)]}


def whole_programs(token):
    return {"inputs": [f"{n}\n" for n in (1, 2, 3)], "outputs": [f"{token}-{n}\n" for n in (1, 2, 3)]}


STYLES = {"checks": checks, "asserts": asserts, "calls": calls, "programs": whole_programs}
SUFFIX = '\nif __name__ == "__main__":\n    print(solve(int(input())))\n'


def completion(style, token, source):
    """A completion that is this program, for the task in this style."""
    source = source + SUFFIX if style == "programs" else source
    return Completion(Prompt("Write solve.", facts=STYLES[style](token), origin=f"{style}.jsonl:1"), source)


def right(token):
    """The program that has the answer because it was told."""
    return f"def solve(n):\n    return f'{token}-{{n}}'\n"


class Scorer(UnitTests):
    """`unit-tests` in a profile of the test's choosing, instead of the strongest there is."""

    def in_profile(self, profile):
        self._profile = profile
        return self


def scorer(profile, **options):
    given = {"profile": "weak", "timeout": 1.0, "memory": MEMORY_MB, "workers": 2} | options
    return Scorer(UnitTests.Options(**given), Context("unit-tests")).in_profile(profile)
