"""The workers of one run, as one of them sees the others.

Each is a process with a share of every batch. What they compute together goes through their
framework. Here is the rest: a connection from each worker to worker 0, over which they meet, agree
on when to stop, and show that they live. A framework waits for a dead or frozen worker for minutes
or for ever; here its silence is noticed within SILENCE seconds, said in a sentence, and ends all.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener

from common.limits import UserError
from common.place import Place

BEAT = 1.0  # seconds between two signs of life
SILENCE = 20  # beats without a sign, after which a worker counts as lost
PATIENCE = 300.0  # seconds that the workers wait for each other at the start
SIOCGIFADDR = 0x8915  # of Linux: an interface's address, netdevice(7)

# A message is one of these and what follows it.
ALIVE, DATA, LOST, LEFT = b".", b"d", b"l", b"q"


class Workers:
    """The connections of one worker: worker 0's to all others, another's to worker 0."""

    def __init__(self, place: Place) -> None:
        """Wait until all are there. UserError if one does not come."""
        self.place = place
        self.rank, self.world = place.rank, place.world
        self.advice: Callable[[], str] = lambda: (
            "nothing was saved"
        )  # half a sentence: how to go on
        self._ending = threading.Lock()
        self._lives = True
        if self.rank == 0:
            self._connections = _await_all(place)
        else:
            self._connections = {0: _call(place)}
        self._coming: dict[int, queue.Queue[bytes]] = {r: queue.Queue() for r in self._connections}
        self._sending = {rank: threading.Lock() for rank in self._connections}
        self._hosts = {rank: _host_of(c, place) for rank, c in self._connections.items()}
        for rank in self._connections:
            threading.Thread(target=self._listen, args=(rank,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()
        free = place.cluster[self.rank] if place.cluster else self._free_address()
        # Every worker's host:port, where its framework may meet the others.
        self.addresses = [address.decode() for address in self.exchange(free.encode())]
        if sys.platform == "linux" and "GLOO_SOCKET_IFNAME" not in os.environ:
            name = interface(self.addresses[self.rank].rsplit(":", 1)[0])
            if name is not None:
                os.environ["GLOO_SOCKET_IFNAME"] = name

    def exchange(self, mine: bytes) -> list[bytes]:
        """What every worker gives here, in their order; all of them call it."""
        if self.rank:
            self._send(0, DATA + mine)
            return [self._coming[0].get() for _ in range(self.world)]
        all_ = [mine, *(self._coming[rank].get() for rank in range(1, self.world))]
        for rank in self._connections:
            for each in all_:
                self._send(rank, DATA + each)
        return all_

    def leave(self, status: int) -> None:
        """Tell the others that this worker ends as it should, and with it the run."""
        self._lives = False
        for rank in self._connections:
            self._send(rank, LEFT + str(status).encode())

    def await_end(self) -> None:
        """Wait for worker 0 to leave(), where all of them know that it will."""
        while True:
            time.sleep(BEAT)  # the thread that listens ends the process

    def close(self) -> None:
        """All is done: nobody is missed from here on. All of them call it."""
        self.exchange(b"")
        self._lives = False
        self.exchange(b"")  # no connection closes before all have passed the line above

    # -------------------------------------------------------------- threads

    def _beat(self) -> None:
        while self._lives:
            for rank in self._connections:
                self._send(rank, ALIVE)
            time.sleep(BEAT)

    def _listen(self, rank: int) -> None:
        """Take what a worker sends, until it is lost."""
        connection, silent = self._connections[rank], 0
        try:
            while silent < SILENCE:
                # Beats are counted, not seconds: a process that was stopped itself misses nobody.
                if not connection.poll(BEAT):
                    silent += 1
                    continue
                silent = 0
                message = connection.recv_bytes()
                kind, rest = message[:1], message[1:]
                if kind == DATA:
                    self._coming[rank].put(rest)
                elif kind == LOST:
                    self._end(rest.decode(), 1)
                elif kind == LEFT:
                    self._lives = False
                    self._tell(LEFT + rest)
                    self._end("", int(rest))
            why = f"has not answered for {SILENCE * BEAT:.0f} s"
        except (EOFError, OSError):
            why = "has ended"
        if self._lives:
            self.lost(rank, why)

    def lost(self, rank: int, why: str) -> None:
        """End this process, and the other ones: a worker is missing."""
        sentence = f"Worker {rank} of {self.world} (on {self._hosts[rank]}) {why}"
        self._tell(LOST + sentence.encode())
        self._end(sentence, 1)

    def _end(self, sentence: str, status: int) -> None:
        """Leave at once, whatever the main thread waits for: files are whole at any moment."""
        with self._ending:  # held for good: the first reason is the one that is said
            if sentence:
                with contextlib.suppress(OSError):
                    os.write(2, f"\nerror: {sentence}; {self.advice()}.\n".encode())
            os._exit(status)

    def _tell(self, message: bytes) -> None:
        """Worker 0 passes on what ends the run."""
        for rank in self._connections if self.rank == 0 else ():
            self._send(rank, message)

    def _send(self, rank: int, message: bytes) -> None:
        with contextlib.suppress(OSError), self._sending[rank]:  # who listens there will notice
            self._connections[rank].send_bytes(message)

    def _free_address(self) -> str:
        """A port that is free on this machine, and the machine as the others reach it."""
        if self.rank == 0:
            host = self.place.host
        else:
            with socket.socket(fileno=os.dup(self._connections[0].fileno())) as own:
                host = own.getsockname()[0]
        with socket.socket() as probe:
            probe.bind(("", 0))
            return f"{host}:{probe.getsockname()[1]}"


def _await_all(place: Place) -> dict[int, Connection]:
    """Worker 0's part of the meeting: one connection from each of the others."""
    # Elsewhere it is not known which of the machine's networks the others come from.
    local = place.host == "localhost" or place.host.startswith("127.")
    address = (place.host if local else "0.0.0.0", place.port)  # noqa: S104
    try:
        listener = Listener(address, "AF_INET", place.world)
    except OSError as error:
        raise UserError(
            f"Worker 0 cannot listen on port {place.port} ({error.strerror or error}), the one "
            "after the launcher's; choose another with MASTER_PORT, or in TF_CONFIG."
        ) from None
    found: dict[int, Connection] = {}
    arrived: queue.Queue[Connection] = queue.Queue()

    def accept() -> None:
        with contextlib.suppress(OSError):  # closed, as all are there
            while True:
                arrived.put(listener.accept())

    threading.Thread(target=accept, daemon=True).start()
    began, said = time.monotonic(), False
    with contextlib.closing(listener):
        while len(found) < place.world - 1:
            with contextlib.suppress(queue.Empty):
                connection = arrived.get(timeout=1)
                rank, world = _greeting(connection)
                if rank < 0:
                    connection.close()
                    continue
                if world != place.world or not 0 < rank < world or rank in found:
                    raise UserError(
                        f"A worker came as number {rank} of {world}, where numbers 1 to "
                        f"{place.world - 1} of {place.world} come once each; two runs use port "
                        f"{place.port}, or a worker was started twice."
                    )
                found[rank] = connection
            missing = ", ".join(str(r) for r in range(1, place.world) if r not in found)
            waited = time.monotonic() - began
            if missing and waited > 5 and not said:
                print(f"Waiting for worker {missing} of {place.world} ...", flush=True)
                said = True
            if missing and waited > PATIENCE:
                raise UserError(
                    f"Worker {missing} of {place.world} did not come to {place.host}, port "
                    f"{place.port}, within {PATIENCE:.0f} s; start it with the same command, or "
                    "see whether it can reach this machine."
                )
    return found


def _greeting(connection: Connection) -> tuple[int, int]:
    """What a worker says first: its rank, the number of workers; (-1, -1) if a stranger calls."""
    try:
        if connection.poll(5):
            rank, world = connection.recv_bytes(64).split()
            return int(rank), int(world)
    except (OSError, EOFError, ValueError):
        pass
    return -1, -1


def _call(place: Place) -> Connection:
    """The others' part: a connection to worker 0, which may not listen yet."""
    began = time.monotonic()
    while True:
        try:
            connection = Client((place.host, place.port), "AF_INET")
            connection.send_bytes(f"{place.rank} {place.world}".encode())
            return connection
        except OSError as error:
            if time.monotonic() - began > PATIENCE:
                raise UserError(
                    f"Worker {place.rank} of {place.world} could not reach worker 0 at "
                    f"{place.host}, port {place.port}, within {PATIENCE:.0f} s "
                    f"({error.strerror or error}); start worker 0 with the same command, or see "
                    "whether its machine is reached."
                ) from None
            time.sleep(0.2)


def _host_of(connection: Connection, place: Place) -> str:
    if place.rank:
        return place.host
    with socket.socket(fileno=os.dup(connection.fileno())) as other:
        return str(other.getpeername()[0])


def choose_gpu(place: Place) -> None:
    """Leave this process one GPU of its machine, before a framework looks for them."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(place.local)] if listed is None else [n for n in listed.split(",") if n]
    if listed is not None and len(names) > 1:
        names = names[place.local : place.local + 1]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)


def interface(address: str) -> str | None:
    """The network interface that has an IPv4 address of this machine; None if none is found.

    Gloo takes the one that the machine's name leads to, which may be no way to the others.
    """
    import fcntl  # not on Windows

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                request = struct.pack("256s", name.encode()[:15])
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
                if socket.inet_ntoa(answer[20:24]) == socket.gethostbyname(address):
                    return name
    return None
