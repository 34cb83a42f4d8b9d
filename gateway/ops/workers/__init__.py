"""Several processes as one gateway.

    supervisor ---- forks, watches, mends ----> office, worker 1 ... worker N
    (binds the ports)                             ^        |
                                                  +-- channel

*supervisor*: the process that was started. It has no loop and no thread, so that it may fork at any time; it knows no
client and no network, and does next to nothing: binds the ports, forks, and looks after those it has forked.
*worker*: serves clients, on sockets of its own for the same ports (SO_REUSEPORT): composition.Gateway with `Given`.
*office*: speaks for all workers and serves no client. It has the admin port, watches policies and certificates,
fetches keys, and hands them out over a *channel* to each worker.
*places*: memory that all of them share: who lives, since when, and what was last agreed upon.

A gateway with ``workers: 1`` uses nothing of this. docs/decisions/0015-workers.md says why it is so.
"""
