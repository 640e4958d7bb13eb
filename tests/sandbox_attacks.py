"""Hostile programs for the sandbox, and a world outside it that they aim at.

Each attack is the body of `f(world)`. It returns something true if it got through; an exception means that it was
refused. The world stays what it was, and `World.harm()` says if it did not. Run as a script, it runs all attacks as the
user it is started as and prints what got through: `python sandbox_attacks.py PROFILE [LAYER-TO-LEAVE-OUT ...]`.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from copgkit_unit_tests.sandbox import Limits, Pool, SandboxGone

LIMITS = Limits(cpu_seconds=2.0, wall_seconds=4.0, memory_mb=256, threads=16, disk_mb=4, files=64, output_kb=64)

_LIBC = "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"

FILES = {
    "read a file": "return open(w['canary']).read()",
    "read it by another call": "import os; return os.read(os.open(w['canary'], os.O_RDONLY), 9)",
    "read it over a hard link": "import os; os.link(w['canary'], 'x'); return open('x').read()",
    "read it over a symbolic link": "import os; os.symlink(w['canary'], 'x'); return open('x').read()",
    "read it through the root": "return open('/proc/1/root' + w['canary']).read()",
    "read it from the folder above": "import os; os.chdir(w['folder']); return open('canary').read()",
    "list its folder": "import os; return os.listdir(w['folder'])",
    "write it": "open(w['canary'], 'w').write('x'); return True",
    "append to it": "open(w['canary'], 'a').write('x'); return True",
    "truncate it": "import os; os.truncate(w['canary'], 0); return True",
    "rename it": "import os; os.rename(w['canary'], w['canary'] + '2'); return True",
    "take it home": "import os; os.rename(w['canary'], 'mine'); return True",
    "remove it": "import os; os.unlink(w['canary']); return True",
    "put a file beside it": "open(w['folder'] + '/new', 'w'); return True",
    "put a folder beside it": "import os; os.mkdir(w['folder'] + '/new'); return True",
    "put a link beside it": "import os; os.symlink('x', w['folder'] + '/new'); return True",
    "change its mode": "import os; os.chmod(w['canary'], 0); return True",
    "change its folder's mode": "import os; os.chmod(w['folder'], 0); return True",
    "change its owner": "import os; os.chown(w['canary'], os.getuid(), os.getgid()); return True",
    "change its time": "import os; os.utime(w['canary'], (0, 0)); return True",
    "change its attributes": "import os; os.setxattr(w['canary'], 'user.x', b'x'); return True",
    "list /etc": "import os; return os.listdir('/etc')",
    "read the users": "return open('/etc/passwd').read()",
    "list /proc": "import os; return os.listdir('/proc')",
    "list the other executions": "import os; return any('execution' in name for name in os.listdir('..'))",
    "write to the interpreter": "import os; open(os.__file__, 'a').write('x'); return True",
    "write beside the interpreter": "import os; open(os.path.dirname(os.__file__) + '/evil.py', 'w'); return True",
    "write to /usr": "open('/usr/x', 'w'); return True",
    "write to the root": "open('/x', 'w'); return True",
    "write beside its own folder": "open('../x', 'w'); return True",
    "write to shared memory": "open('/dev/shm/x', 'w'); return True",
    "make a device": "import os; os.mknod('x', 0o20666, 0x103); return open('x').read()",
}

SECRETS = {
    "read the environment": "import os; return set(os.environ) - {'HOME', 'TMPDIR', 'LC_CTYPE'}",
    "read the C library's environment": _LIBC + "libc.getenv.restype = ctypes.c_char_p\nreturn libc.getenv(b'SECRET')",
    "read its own /proc/self/environ": "return open('/proc/self/environ').read()",
    "read process 1's environment": "return b'SECRET' in open('/proc/1/environ', 'rb').read()",
    "read the supervisor's environment": "return open(f\"/proc/{w['supervisor']}/environ\", 'rb').read()",
    "read the victim's environment": "return open(f\"/proc/{w['victim']}/environ\", 'rb').read()",
    "read the victim's memory": "return open(f\"/proc/{w['victim']}/mem\", 'rb')",
    "read the victim's memory map": "return open(f\"/proc/{w['victim']}/maps\").read()",
    "follow the victim's folder": "import os; return os.readlink(f\"/proc/{w['victim']}/cwd\")",
    "read the victim's memory by call": _LIBC + "return libc.syscall(310, w['victim'], None, 0, None, 0, 0) >= 0",
    "use a descriptor left open": (
        "import os\nfor fd in range(5, 4096):\n    try: os.fstat(fd)\n    except OSError: continue\n    return fd"
    ),
    "ask for a key": _LIBC + "return libc.syscall(250, 0, -3, 1, 0, 0) >= 0",
}

NETWORK = {
    "connect by TCP": "import socket; return socket.create_connection(('127.0.0.1', w['tcp']), 1)",
    "send by UDP": "import socket; return socket.socket(2, 2).sendto(b'x', ('127.0.0.1', w['udp']))",
    "connect to a socket with a path": "import socket; s = socket.socket(1); s.connect(w['unix']); return True",
    "connect to an abstract socket": "import socket; socket.socket(1).connect('\\0' + w['abstract']); return True",
    "listen": "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); return True",
    "make a pair of sockets": "import socket; return socket.socketpair()",
    "make a raw socket": "import socket; return socket.socket(2, 3, 1)",
    "make a netlink socket": "import socket; return socket.socket(16, 3, 0)",
    "make a socket by number": _LIBC + "return libc.syscall(41, 2, 1, 0) >= 0 or libc.syscall(198, 2, 1, 0) >= 0",
    "make a ring": _LIBC + "return libc.syscall(425, 8, ctypes.create_string_buffer(256)) >= 0",
}

PROCESSES = {
    "fork": "import os\nif os.fork() == 0: os._exit(0)\nreturn True",
    "fork by the C library": _LIBC + "pid = libc.fork()\nif pid == 0: libc._exit(0)\nreturn pid > 0",
    "fork by number": _LIBC + "pid = libc.syscall(56, 17, 0, 0, 0, 0)\nif pid == 0: libc._exit(0)\nreturn pid > 0",
    "fork by clone3": (
        _LIBC + "a = (ctypes.c_uint64 * 11)(); a[4] = 17\npid = libc.syscall(435, a, 88)\n"
        "if pid == 0: libc._exit(0)\nreturn pid > 0"
    ),
    "spawn": "import os; return os.posix_spawn('/usr/bin/true', ['true'], {})",
    "start a program": "import subprocess; return subprocess.run(['/usr/bin/true']).returncode == 0",
    "call the shell": "import os; return os.system('true') == 0",
    "become a program": "import os; os.execv('/usr/bin/true', ['true'])",
    "become a program in memory": "import os; return os.memfd_create('x')",
    "use a pool of processes": ("from multiprocessing import Pool\nwith Pool(1) as pool: return pool.map(len, ['x'])"),
}

SIGNALS = {
    "see the victim": "import os; os.kill(w['victim'], 0); return True",
    "kill the victim": "import os; os.kill(w['victim'], 9); return True",
    "reach everybody": "import os; os.kill(-1, 0); return True",
    "reach its group": "import os; os.killpg(0, 0); return True",
    "reach its parent": "import os; os.kill(os.getppid(), 0); return True",
    "kill a thread": _LIBC + "return libc.syscall(234, w['victim'], w['victim'], 9) == 0",
    "queue a signal": _LIBC + "return libc.syscall(129, w['victim'], 9, ctypes.create_string_buffer(128)) == 0",
    "take the victim's descriptor": "import os; return os.pidfd_open(w['victim'])",
    "trace the victim": _LIBC + "return libc.ptrace(16, w['victim'], 0, 0) == 0",
    "let a pipe signal the victim": (
        "import os, fcntl\nr, e = os.pipe()\nfcntl.fcntl(r, 10, 9); fcntl.fcntl(r, fcntl.F_SETOWN, w['victim'])\n"
        "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC); os.write(e, b'x'); return True"
    ),
    "lower the victim's limits": "import resource; resource.prlimit(w['victim'], 7, (0, 0)); return True",
    "slow the victim": "import os; os.setpriority(0, w['victim'], 19); return True",
    "bind the victim": "import os; os.sched_setaffinity(w['victim'], {0}); return True",
}

KERNEL = {
    "become root": "import os; os.setuid(0); return True",
    "make a user namespace": _LIBC + "return libc.unshare(0x10000000) == 0",
    "mount": _LIBC + "return libc.mount(b'none', b'/', b'tmpfs', 0, None) == 0",
    "unmount": _LIBC + "return libc.umount2(b'/usr', 2) == 0",
    "change the root": "import os; os.chroot('/'); return True",
    "rename the host": "import socket; socket.sethostname('x'); return True",
    "load a kernel program": _LIBC + "return libc.syscall(321, 0, ctypes.create_string_buffer(128), 128) >= 0",
    "measure the kernel": _LIBC + "return libc.syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0) >= 0",
    "handle its page faults": _LIBC + "return libc.syscall(323, 0) >= 0",
    "have shared memory": _LIBC + "return libc.shmget(0, 1 << 20, 0o1600) >= 0",
    "have a message queue": _LIBC + "return libc.msgget(0, 0o1600) >= 0",
    "drop the filter": _LIBC + "return libc.prctl(22, 0, 0, 0, 0) == 0",
    "become traceable": _LIBC + "return libc.prctl(4, 1, 0, 0, 0) == 0",
    "outlive its parent": _LIBC + "return libc.prctl(1, 0, 0, 0, 0) == 0",
    "use the old calls": (
        "import mmap, ctypes, platform\nif platform.machine() != 'x86_64': return False\n"
        "code = mmap.mmap(-1, 4096, prot=7)\n"
        "code.write(bytes.fromhex('b814000000cd80c3'))\n"  # getpid by the 32-bit convention
        "return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() > 0"
    ),
}

# Resources: what is returned is how much was had, and the test says how much is too much.
RESOURCES = {
    "megabytes": (
        "import mmap\nhave = []\ntry:\n    while True: have.append(mmap.mmap(-1, 1 << 20))\n"
        "except (OSError, MemoryError): return len(have)"
    ),
    "megabytes on disk": (
        "n = 0\nimport signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\ntry:\n"
        "    for name in range(64):\n        with open(f'x{name}', 'wb', buffering=0) as out:\n"
        "            for _ in range(4):\n                n += out.write(bytes(1 << 20)) / (1 << 20)\n"
        "except OSError: pass\nreturn n"
    ),
    "descriptors": "import os\nn = 0\ntry:\n    while True: n += bool(os.dup(0))\nexcept OSError: return n",
    "threads": (
        "import threading, time\nthreading.stack_size(65536)\nn = 0\ntry:\n    for n in range(300):\n"
        "        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\nexcept RuntimeError: pass\n"
        "time.sleep(.3)\nreturn n"
    ),
}

# What is sent to the supervisor, which may not grow by it.
FLOODS = {
    "many small values": "return [None] * 60_000",
    "long keys that collide": "return {n * ((1 << 61) - 1) for n in range(1, 4_000)}",
    "a long text": "return 'x' * (1 << 30)",
    "a long number": "return 1 << (1 << 30)",
    "a message without end": "import os\nos.write(4, b'\\x7f\\xff\\xff\\xff')\nwhile True: os.write(4, bytes(1 << 20))",
    "messages without end": "import os\nwhile True: os.write(4, b'\\0\\0\\0\\1N' * 1000)",
}

ATTACKS = FILES | SECRETS | NETWORK | PROCESSES | SIGNALS | KERNEL


def source_of(body: str) -> str:
    """A module whose `f(w)` does this."""
    return "def f(w):\n" + "".join(f"    {line}\n" for line in body.splitlines())


class World:
    """Things outside that no execution may touch: a file, listening sockets, a process, a secret."""

    def __init__(self) -> None:
        os.environ["SECRET"] = "canary"
        self.folder = Path(tempfile.mkdtemp(prefix="world-"))
        self.folder.chmod(0o777)
        self.canary = self.folder / "canary"
        self.canary.write_text("canary")
        self.canary.chmod(0o666)
        self.victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        self._sockets = self._listen()
        self._before = self._look()

    def _listen(self) -> dict[str, socket.socket]:
        sockets = {"tcp": socket.socket(), "udp": socket.socket(type=socket.SOCK_DGRAM)}
        for one in sockets.values():
            one.bind(("127.0.0.1", 0))
        sockets["unix"], sockets["abstract"] = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        sockets["unix"].bind(str(self.folder / "socket"))
        (self.folder / "socket").chmod(0o777)
        sockets["abstract"].bind(f"\0world-{os.getpid()}")
        for name in ("tcp", "unix", "abstract"):
            sockets[name].listen()
        for one in sockets.values():
            one.setblocking(False)
        return sockets

    def coordinates(self) -> dict[str, object]:
        """What an attack is told about the world."""
        return {
            "folder": str(self.folder),
            "canary": str(self.canary),
            "victim": self.victim.pid,
            "supervisor": os.getpid(),
            "tcp": self._sockets["tcp"].getsockname()[1],
            "udp": self._sockets["udp"].getsockname()[1],
            "unix": str(self.folder / "socket"),
            "abstract": f"world-{os.getpid()}",
        }

    def _look(self) -> object:
        status = self.canary.stat()
        metadata = (status.st_mode, status.st_uid, status.st_mtime, status.st_nlink, os.listxattr(self.canary))
        return self.canary.read_text(), metadata, sorted(os.listdir(self.folder)), self.folder.stat().st_mode

    def harm(self) -> list[str]:
        """What has changed, or reached a socket."""
        found = [] if self._look() == self._before else [f"the files: {self._look()}"]
        found += [] if self.victim.poll() is None else ["the victim is dead"]
        for name, one in self._sockets.items():
            try:
                one.recv(1) if name == "udp" else one.accept()
                found.append(f"somebody reached {name}")
            except BlockingIOError:
                continue
        return found

    def close(self) -> None:
        """Take it all down."""
        self.victim.kill()
        self.victim.wait()
        for one in self._sockets.values():
            one.close()
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()
        del os.environ["SECRET"]


def attack(pool: Pool, body: str, world: World) -> object:
    """What an attack got; None if it was refused or ended."""
    try:
        with pool.open("candidate") as session:
            session.send({"do": "load", "source": source_of(body)})
            session.receive()
            session.send({"do": "call", "name": "f", "args": [world.coordinates()]})
            return session.receive().get("value")
    except SandboxGone as gone:
        if not gone.is_the_codes_fault:
            raise
        return None


def run_all(profile: str, without: list[str]) -> dict[str, object]:
    """Every attack in turn: what got through, what harm was done, and what could be had of each resource."""
    world = World()
    before_mb = _peak_mb()
    try:
        with Pool(profile, LIMITS, workers=1, without=without) as pool:
            had = {name: attack(pool, body, world) for name, body in RESOURCES.items()}
            for body in FLOODS.values():
                attack(pool, body, world)
            through = [name for name, body in ATTACKS.items() if attack(pool, body, world)]
            time.sleep(0.1)
            grown_mb = _peak_mb() - before_mb
            left = children_left(pool)
            return {"through": through, "harm": world.harm(), "had": had, "left": left, "grown_mb": grown_mb}
    finally:
        world.close()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def children_left(pool: Pool, dead: bool = False) -> list[str]:
    """Processes below the pool's zygotes; with dead ones, which a zygote has yet to reap, or without."""
    starts = {slot._zygote._process.pid for slots in pool._slots.values() for slot in slots if slot._zygote}
    parents = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        if dead or not fields["State"].startswith("Z"):
            parents[int(fields["Pid"])] = int(fields["PPid"])
    below = {pid for pid, parent in parents.items() if parent in starts}
    inner = below if any(layer == "pid" for layer in pool._layers) else starts
    return [f"{pid}" for pid, parent in parents.items() if parent in inner]


if __name__ == "__main__":
    print(json.dumps(run_all(sys.argv[1], sys.argv[2:])))
