"""The life of a loop that runs in slices: it opens on its first use, minds Ctrl-C while it runs, and is closed once.

An open loop belongs to the thread that opened it. Ctrl-C never strikes inside of its own code: it is noted, and taken
up when no harm can come of it (`interrupts`). The ends that nobody has chosen are in `ends`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import weakref
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING

from asyncgen_tools.loops.admission import refusal_of
from asyncgen_tools.loops.ends import LIVE, this_thread
from asyncgen_tools.loops.hooks import HookSeal, remove_seal
from asyncgen_tools.loops.interrupts import guard_interrupts, interrupt, release_interrupts
from asyncgen_tools.loops.observers import observers
from asyncgen_tools.loops.outcomes import collect, raise_all
from asyncgen_tools.loops.primitives import LoopPrimitives, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncgen_tools.host import Host
    from asyncgen_tools.loops.ends import OwnThread
    from asyncgen_tools.loops.hooks import Hook

__all__ = ("SlicedLife",)


class SlicedLife(LoopPrimitives):
    """An event loop of one thread, as far as it is opened and closed.

    Args:
        private: whether it belongs to one generator, and closes when that ends.
    """

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    budget: int
    hook_seal: HookSeal | None
    interrupt_noted: bool
    interrupt_sent: bool
    seal: tuple[Hook | None, Hook | None]
    state: State
    thread: weakref.ref[OwnThread] | None

    @abstractmethod
    def close_abandoned(self, host: Host) -> None:
        """Close a host whose generator face is gone."""

    @abstractmethod
    def dismiss(self, host: Host) -> None:
        """Let go of a host whose generator has ended."""

    def refusal(self) -> Exception | None:
        """Why nothing can be done with this loop here and now, or None."""
        return refusal_of(self)

    def open(self) -> None:
        """Open the loop in this thread, unless it is open.

        Raises:
            AsyncgenToolsError: it cannot be used here, see `refusal`.
        """
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        self.undisturbed(self.make_ready)

    def make_ready(self) -> None:
        """Open the loop if it is new; close what this thread has dropped where it could not be closed."""
        if self.state is State.NEW:
            self.thread = weakref.ref(this_thread.own)
            self.hook_seal = HookSeal(self.inside)
            self.seal = (self.hook_seal.first_iterated, self.hook_seal.finalized)
            self.start(self.hook_seal)
            self.state = State.OPEN
            LIVE.add(self)
        abandoned = this_thread.own.abandoned
        for _ in range(len(abandoned)):
            if not abandoned:  # closing one comes by here, too
                break
            loop, host = abandoned.popleft()
            if loop.state is State.OPEN and loop.refusal() is not None:
                abandoned.append((loop, host))  # this one may work where another loop runs; that may not
            else:
                loop.close_abandoned(host)

    # Ctrl-C ----------------------------------------------------------------------------------------------------

    def undisturbed(self, function: Callable[[], object]) -> None:
        """Call a function that Ctrl-C must not break off, and take that up afterwards."""
        held = guard_interrupts(self.on_sigint)
        try:
            function()
        finally:
            if held:
                release_interrupts()
        self.raise_interrupt()

    def raise_interrupt(self) -> None:
        """Raise the KeyboardInterrupt that had to wait."""
        if self.interrupt_noted:
            self.interrupt_noted = False
            raise KeyboardInterrupt

    def on_sigint(self) -> bool:
        """Cancel the step that is waited for; raise in the generator's own code, or the second time.

        The second time is where no harm is done, between two callbacks of the loop. A callback that never returns
        leaves but one way for the third.

        Returns:
            Whether to raise here and now.
        """
        waiting = self.waiting
        if self.active is not None and self.active.body.gi_running and not self.protected():
            return True
        if waiting is not None and waiting.cancelled_by is None:
            waiting.cancelled_by = reason = partial(KeyboardInterrupt)  # like no other
            self.soon(partial(self.cancel_unless_ended, waiting, reason))
        elif waiting is None and not self.interrupt_noted:
            self.interrupt_noted = True
        elif self.interrupt_sent or self.in_user_code():
            self.interrupt_sent = True
            return True
        else:
            self.interrupt_sent = True
            self.soon(interrupt)
        return False

    def cancel_unless_ended(self, host: Host, reason: Callable[[], BaseException]) -> None:
        """Cancel the step for which this is the reason; if it has ended, what runs by now may be the cleanup."""
        if host.cancelled_by is reason and host.outcome is None:
            self.cancel(host, reason)

    # The end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the open generators, last opened first, then the loop; does nothing the second time.

        Raises:
            AsyncgenToolsError: it cannot be closed here, see `refusal`.
            BaseException: what the generators and the loop raised; several come as a group.
        """
        if self.state in {State.CLOSED, State.DISOWNED} and self.process == os.getpid():
            return
        if self.state is State.NEW:
            self.state = State.CLOSED
            return
        self.open()
        self.undisturbed(self.close_all)

    def close_all(self) -> None:
        """Close the open generators, then the loop."""
        errors: list[BaseException] = []
        for host in reversed(list(self.hosts)):
            if self.state is State.DISOWNED:
                break  # the loop has crashed meanwhile, and the rest with it
            face = host.face()
            collect(errors, partial(self.close_abandoned, host) if face is None else face.close)
            if host in self.hosts:  # it ignored GeneratorExit
                host.body.close()
                self.dismiss(host)
        collect(errors, self.shut)
        raise_all(errors, "errors while closing a runner")

    def shut(self) -> None:
        """Stop the event loop, unless it has crashed; nothing can be done with it afterwards."""
        if self.state is State.DISOWNED:
            return
        LIVE.discard(self)
        self.state = State.CLOSED
        self.budget = 0
        self.release()
        assert self.hook_seal is not None
        for watcher in observers.watchers:
            watcher.shutting_down(self.hook_seal.begun)
        try:
            self.stop()
        finally:
            remove_seal(self.seal[0])
            self.hook_seal.retire()

    def give_up(self, *, forked: bool) -> None:
        """Use this loop no more, without closing anything."""
        self.state = State.DISOWNED
        self.budget = 0
        self.release()
        assert self.hook_seal is not None
        self.hook_seal.finalizer = None
        remove_seal(self.seal[0])
        self.disown(forked=forked)

    def keep(self) -> None:
        """Have this thread keep the loop, because it has a host."""
        this_thread.own.busy.add(self)

    def release(self) -> None:
        """Have this loop's thread no longer keep it, because it has no host, or is used no more."""
        own = None if self.thread is None else self.thread()
        if own is not None:
            own.busy.discard(self)

    def __del__(self) -> None:
        # Its thread keeps a loop that has hosts: there are none, or the thread has ended and their faces tell of it.
        if self.state is State.OPEN and not self.hosts:
            self.give_up(forked=False)
