"""The system calls a locked-down process may make, whatever their arguments: name, number on x86-64, number on ARM.

Everything else is refused (`seccomp.py`), among it sockets of any kind, other processes, new programs, changes of
metadata, memory that no limit counts (memfd, System V), namespaces, mounts, keys, io_uring, bpf, tracing.
"""

TABLE = """
# reading and writing
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69, pwritev 296 70
preadv2 327 286, pwritev2 328 287, lseek 8 62, close 3 57, close_range 436 436, dup 32 23, dup2 33 -, dup3 292 24
pipe 22 -, pipe2 293 59, fsync 74 82, fdatasync 75 83, flock 73 32, fadvise64 221 223
sendfile 40 71, copy_file_range 326 285, fallocate 285 47
# waiting for descriptors
poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, epoll_create 213 -, epoll_create1 291 20, epoll_ctl 233 21
epoll_wait 232 -, epoll_pwait 281 22, epoll_pwait2 441 441, eventfd 284 -, eventfd2 290 19
# files, by name
open 2 -, openat 257 56, openat2 437 437, creat 85 -, access 21 -, faccessat 269 48, faccessat2 439 439, stat 4 -
lstat 6 -, fstat 5 80, newfstatat 262 79, statx 332 291, statfs 137 43, fstatfs 138 44, readlink 89 -
readlinkat 267 78, getcwd 79 17, chdir 80 49, fchdir 81 50, mkdir 83 -, mkdirat 258 34, rmdir 84 -, unlink 87 -
unlinkat 263 35, rename 82 -, renameat 264 38, renameat2 316 276, link 86 -, linkat 265 37, symlink 88 -
symlinkat 266 36, truncate 76 45, ftruncate 77 46, getdents 78 -, getdents64 217 61, umask 95 166
# memory
brk 12 214, mmap 9 222, munmap 11 215, mprotect 10 226, mremap 25 216, madvise 28 233, msync 26 227
# threads
futex 202 98, set_robust_list 273 99, set_tid_address 218 96, rseq 334 293
membarrier 324 283, sched_yield 24 124, sched_getaffinity 204 123, sched_getparam 143 121
sched_getscheduler 145 120, sched_get_priority_max 146 125, sched_get_priority_min 147 126, getcpu 309 168
# signals
rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136, rt_sigsuspend 130 133
rt_sigtimedwait 128 137, sigaltstack 131 132, restart_syscall 219 128, pause 34 -, alarm 37 -, setitimer 38 103
getitimer 36 102
# time
time 201 -, gettimeofday 96 169, clock_gettime 228 113, clock_getres 229 114, clock_nanosleep 230 115
nanosleep 35 101, times 100 153
# about itself
getpid 39 172, gettid 186 178, getppid 110 173, getpgrp 111 -, getpgid 121 155, getsid 124 156, getuid 102 174
geteuid 107 175, getgid 104 176, getegid 108 177, getresuid 118 148, getresgid 120 150, getgroups 115 158
getrlimit 97 163, setrlimit 160 164, getrusage 98 165, getpriority 140 141, sysinfo 99 179, uname 63 160
getrandom 318 278, wait4 61 260, waitid 247 95, exit 60 93, exit_group 231 94
"""


ZYGOTE_TABLE = """
# forking children, speaking with the supervisor, ending and reaping them; emptying their folders
clone 56 220, pidfd_open 434 434, recvmsg 47 212, sendmsg 46 211, kill 62 129, tgkill 234 131
chmod 90 -, fchmodat 268 53
# putting up the layers around a child
setsid 112 157, unshare 272 97, setns 308 268, mount 165 40, prctl 157 167, capset 126 91
landlock_create_ruleset 444 444, landlock_add_rule 445 445, landlock_restrict_self 446 446, seccomp 317 277
"""
"""What a zygote may call besides; some of it remains to children for some arguments (`seccomp.py`)."""


def numbers(table: str, machine: str) -> dict[str, int]:
    """The calls of a table that this kind of machine has."""
    column = {"x86_64": 1, "aarch64": 2}[machine]
    rows = [row.split() for line in table.splitlines() if not line.startswith("#") for row in line.split(",") if row]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
