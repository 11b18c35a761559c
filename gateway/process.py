"""The gateway as a process: signals in, exit codes out.

SIGTERM and SIGINT stop it in order, a second one at once; SIGHUP reads the configuration again. Exit codes (sysexits.h): 0 stopped in
order; 65 a file of the data folder is damaged or of another version; 73 another process has the data folder; 75 storage is broken or an
address is taken, start again; 78 the keys cannot be used.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable

from config.load import Configuration
from config.text import file_trouble
from contacts.trouble import StoreError
from gateway.app import Gateway
from gateway.compose.keyring import KeyringError
from gateway.observe import lines, log
from gateway.spool.port import SpoolError, SpoolLocked, SpoolUnusable

EXIT_UNUSABLE = 65  # EX_DATAERR
EXIT_BROKEN = 75  # EX_TEMPFAIL
EXIT_LOCKED = 73  # EX_CANTCREAT
EXIT_CONFIG = 78  # EX_CONFIG

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread (the log's, that of an event log) gets the interpreter from a busy loop that does not let go of it."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it is installed, else asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(configuration: Configuration) -> int:
    gateway = Gateway(configuration)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, _stop, gateway, name.name)
    loop.add_signal_handler(signal.SIGHUP, gateway.reload)
    await gateway.start()
    # What exists now lives as long as the process: keep the collector from walking it.
    gc.collect()
    gc.freeze()
    await gateway.stopping.wait()
    await gateway.stop()
    return EXIT_BROKEN if gateway.broken is not None else 0


def _stop(gateway: Gateway, why: str) -> None:
    """First signal: stop in order. Second: leave at once; what is on disk is enough for the next start."""
    if gateway.stopping.is_set():
        os._exit(EXIT_BROKEN)
    log.stopping(why)
    gateway.stopping.set()


def serve(configuration: Configuration) -> int:
    """Run a gateway until it is told to stop; the exit code."""
    settings = configuration.settings
    lines.configure(settings.log.level, settings.log.format)
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_serve(configuration))
    except SpoolLocked as locked:
        print(f"mailwright: {locked}", file=sys.stderr)
        return EXIT_LOCKED
    except KeyringError as error:
        for problem in error.problems:
            print(f"mailwright: {problem}", file=sys.stderr)
        return EXIT_CONFIG
    except (SpoolUnusable, StoreError) as error:
        print(f"mailwright: {configuration.settings.gateway.data}: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    except (SpoolError, OSError) as error:
        print(f"mailwright: cannot run: {file_trouble(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return EXIT_BROKEN
    finally:
        lines.close()
