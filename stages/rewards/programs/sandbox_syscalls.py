"""The system calls a sandboxed program may not make: nothing but the machine's name enters, a BPF filter leaves.

Namespaces hide the network, the files and the other processes; this filter closes what they leave open: memory that
belongs to no process (memfd, System V segments), the ways to meddle with a process of the same user (ptrace, prlimit,
priorities), new namespaces, and the parts of the kernel that no judged program needs. Sockets are refused as well
(pairs are not), so that even the weak mode has no network. There, where nothing else hides the other processes, no
program signals any but itself. Numbers: the kernel's asm/unistd.h.
"""

from __future__ import annotations

import errno
import platform
import struct

# name -> (x86_64, aarch64); what has one number has it on both
_REFUSED: dict[str, tuple[int, ...]] = {
    "shmget": (29, 194),
    "socket": (41, 198),
    "semget": (64, 190),
    "msgget": (68, 186),
    "ptrace": (101, 117),
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "mount": (165, 40),
    "umount2": (166, 39),
    "init_module": (175, 105),
    "sched_setaffinity": (203, 122),
    "mq_open": (240, 180),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "ioprio_set": (251, 30),
    "unshare": (272, 97),
    "perf_event_open": (298, 241),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "sched_setattr": (314, 274),
    "memfd_create": (319, 279),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425,),
    "open_tree": (428,),
    "move_mount": (429,),
    "fsopen": (430,),
    "fspick": (433,),
    "pidfd_getfd": (438,),
    "process_madvise": (440,),
    "mount_setattr": (442,),
    "memfd_secret": (447,),
}
# What is refused besides in the weak mode, where a program is one process
_ANYBODY = {"tkill": (200, 130), "pidfd_send_signal": (424,), "pidfd_open": (434,)}
_ITSELF = {"kill": (62, 129), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240)}
_OWNERS = {"fcntl": ((72, 25), (8, 10, 15)), "ioctl": ((16, 29), (0x8901, 0x8902))}  # who gets a descriptor's signals
OWN = 0x5E1F5E1F
"""Stands in a filter for the id of the process that it is put on."""
_FORKS = {"fork": (57, -1), "vfork": (58, -1)}
_READ = (0, 63)
_CLONE, _CLONE3, _PRLIMIT = (56, 220), 435, (302, 261)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*

_NEW_NAMESPACE = 0x7E020000  # CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
_THREAD = 0x00010000  # CLONE_THREAD
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _FIRST_ARGUMENT, _SECOND_ARGUMENT = (
    0,
    4,
    16,
    24,
)  # offsets in struct seccomp_data; a low half comes first on both machines


def known_machine() -> bool:
    """Say whether this machine's system calls are in the table."""
    return platform.machine() in _MACHINES


def reading() -> str:
    """Return how /proc/PID/syscall begins while a thread waits to read, before the number of what it reads from."""
    return f"{_READ[_MACHINES[platform.machine()][0]]} "


def filter_program(*, may_fork: bool) -> bytes:
    """Return the filter as an array of `struct sock_filter`, for prctl(PR_SET_SECCOMP).

    A refused call fails with EPERM; without `may_fork` a new process fails with EAGAIN, threads are free, and signals
    go to the process itself alone, whose id is to be put in the place of OWN. Raises KeyError on a machine that
    `known_machine` does not know.
    """
    column, arch = _MACHINES[platform.machine()]
    code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    if column == 0:  # the x32 calls of x86_64 are the same kernel under other numbers
        code += [(_AT_LEAST, 0, 1, 0x40000000), _fail(errno.ENOSYS)]
    for numbers in _REFUSED.values():
        code += _refuse(numbers[column % len(numbers)], errno.EPERM)
    code += _refuse(_CLONE3, errno.ENOSYS)  # its flags lie in memory, which no filter reads: libc falls back to clone
    if not may_fork:
        for numbers in _FORKS.values():
            code += _refuse(numbers[column], errno.EAGAIN) if numbers[column] >= 0 else []
        code += _keep_to_itself(column)
    code += [(_EQUAL, 0, 4, _PRLIMIT[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    code += [(_EQUAL, 0, 1, 0), _allow(), _fail(errno.EPERM)]  # its own limits only
    clone = [(_LOAD, 0, 0, _FIRST_ARGUMENT), (_ANY_BIT, 0, 1, _NEW_NAMESPACE), _fail(errno.EPERM)]
    clone += [] if may_fork else [(_ANY_BIT, 1, 0, _THREAD), _fail(errno.EAGAIN)]
    code += [(_EQUAL, 0, len(clone), _CLONE[column]), *clone, _allow()]
    return b"".join(struct.pack("=HBBI", *each) for each in code)


def _keep_to_itself(column: int) -> list[tuple[int, int, int, int]]:
    code: list[tuple[int, int, int, int]] = []
    for numbers in _ANYBODY.values():
        code += _refuse(numbers[column % len(numbers)], errno.EPERM)
    for numbers in _ITSELF.values():
        mine = [(_EQUAL, 1, 0, OWN), (_EQUAL, 0, 1, 0)]  # or its group, in which it is alone
        rest = [(_LOAD, 0, 0, _FIRST_ARGUMENT), *mine, _allow(), _fail(errno.EPERM)]
        code += [(_EQUAL, 0, len(rest), numbers[column]), *rest]
    for numbers, orders in _OWNERS.values():
        rest = [(_LOAD, 0, 0, _SECOND_ARGUMENT)]
        for order in orders:
            rest += _refuse(order, errno.EPERM)
        code += [(_EQUAL, 0, len(rest) + 1, numbers[column]), *rest, _allow()]
    return code


def _refuse(number: int, error: int) -> list[tuple[int, int, int, int]]:
    return [(_EQUAL, 0, 1, number), _fail(error)]


def _fail(error: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, _ERRNO | error)


def _allow() -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, _ALLOW)
