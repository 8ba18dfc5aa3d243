//! Watches calls without costing the short ones anything.
//!
//! While a count hook is set Lua looks at every instruction, which was a fifth of what a small handler took. So the
//! main thread of a VM runs without one. A timer on this thread's CPU time sends it a signal every few milliseconds
//! of work; one that finds a call running sets the hook, which then asks what `budget` says until the call ends.
//! While it is not heard, each later signal sets it to fewer instructions: Lua may have lost it, when the signal fell
//! between two steps of its own, and long C functions let few instructions pass between two signals.
//! Lua's own command line stops scripts like this: a signal's routine may call `lua_sethook` on the thread that runs
//! the VM. Coroutines have a hook of their own from the start (`library`), since the signal cannot know which one
//! runs. Where the system refuses the timer, the hook is always set.

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering, compiler_fence};
use std::time::Duration;

use mlua::ffi;

use super::State;
use super::calls::hook;
use crate::script::budget;

/// CPU time between two signals: part of what a call may take, so that it is not stopped much later than that.
const PERIOD: Duration = Duration::from_millis(5);

/// Made for timers of CPU time; nothing else in the program uses it.
const SIGNAL: c_int = libc::SIGVTALRM;

/// What the signal's routine and the code that it interrupts, always of the same thread, tell each other.
struct Shared {
    /// The main thread of the VM whose call runs now, null between calls.
    running: AtomicPtr<ffi::lua_State>,
    /// In this call the hook of that main thread was changed.
    hooked: AtomicBool,
    /// The instructions after which the hook looks, if the next signal sets it; 0: signals leave it alone.
    next: AtomicI32,
}

thread_local! {
    // Without a destructor and with a constant to begin with: reading it is safe at any time, in a signal too.
    static SHARED: Shared = const {
        Shared {
            running: AtomicPtr::new(std::ptr::null_mut()),
            hooked: AtomicBool::new(false),
            next: AtomicI32::new(budget::INSTRUCTIONS),
        }
    };
}

/// Watches the calls of one VM.
pub(super) struct Watchdog {
    main: State,
    /// None: the hook is always set.
    timer: Option<Timer>,
}

impl Watchdog {
    /// For calls that are made on this thread; `main` gets the hook that it has between calls.
    pub(super) fn new(main: State) -> Watchdog {
        let watchdog = Watchdog { main, timer: Timer::new() };
        watchdog.rest();
        watchdog
    }

    /// The timer counts this thread's time only.
    pub(super) fn leave_thread(&mut self) {
        self.timer = None;
    }

    /// Calls are made on this thread from now on.
    pub(super) fn enter_thread(&mut self) {
        self.timer = Timer::new();
        self.rest();
    }

    /// A call begins. A thread makes one at a time.
    pub(super) fn begin(&self) {
        SHARED.with(|shared| shared.running.store(self.main, Ordering::Relaxed));
        compiler_fence(Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        compiler_fence(Ordering::SeqCst);
        SHARED.with(|shared| {
            shared.running.store(std::ptr::null_mut(), Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            if shared.hooked.load(Ordering::Relaxed) {
                shared.hooked.store(false, Ordering::Relaxed);
                shared.next.store(budget::INSTRUCTIONS, Ordering::Relaxed);
                self.rest();
            }
        });
    }

    fn rest(&self) {
        match self.timer {
            // SAFETY: the state lives, on this thread; setting a hook cannot raise.
            Some(_) => unsafe { ffi::lua_sethook(self.main, None, 0, 0) },
            None => watch_closely(self.main),
        }
    }

    /// As if the system had refused the timer.
    #[cfg(test)]
    pub(super) fn stop(&mut self) {
        self.timer = None;
        self.rest();
    }
}

impl Drop for Watchdog {
    /// A call that a panic cut short has not ended; its state may go now.
    fn drop(&mut self) {
        self.end();
    }
}

/// From now on the hook looks at what runs in this Lua thread.
pub(super) fn watch_closely(thread: State) {
    watch_each(thread, budget::INSTRUCTIONS);
}

fn watch_each(thread: State, instructions: c_int) {
    // SAFETY: callers have a thread of a state that lives, on this thread; setting a hook cannot raise.
    unsafe { ffi::lua_sethook(thread, Some(hook), ffi::LUA_MASKCOUNT, instructions) }
}

/// The caller sets the main thread's hook itself: signals leave it alone until the call ends.
pub(super) fn take_over() {
    SHARED.with(|shared| {
        shared.next.store(0, Ordering::Relaxed);
        shared.hooked.store(true, Ordering::Relaxed);
    });
    compiler_fence(Ordering::SeqCst);
}

/// The hook was called: the next signal need not make it look sooner.
pub(super) fn heard() {
    SHARED.with(|shared| {
        if shared.next.load(Ordering::Relaxed) > 0 {
            shared.next.store(budget::INSTRUCTIONS, Ordering::Relaxed);
        }
    });
}

/// The signal's routine: sets the hook if a call runs, each time to look sooner until it does.
extern "C" fn ring(_: c_int) {
    SHARED.with(|shared| {
        let main = shared.running.load(Ordering::Relaxed);
        let instructions = shared.next.load(Ordering::Relaxed);
        if !main.is_null() && instructions > 0 {
            shared.hooked.store(true, Ordering::Relaxed);
            shared.next.store((instructions / 10).max(1), Ordering::Relaxed);
            watch_each(main, instructions);
        }
    });
}

/// A timer on the CPU time of the thread that made it, which gets the signals.
struct Timer(libc::timer_t);

impl Timer {
    fn new() -> Option<Timer> {
        if !is_caught() {
            return None;
        }
        let each = libc::timespec { tv_sec: 0, tv_nsec: PERIOD.subsec_nanos().into() };
        let periods = libc::itimerspec { it_interval: each, it_value: each };
        // SAFETY: the structs are plain data for which zeros are fine, and outlive the calls.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = SIGNAL;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer = std::ptr::null_mut();
            if libc::timer_create(libc::CLOCK_THREAD_CPUTIME_ID, &mut event, &mut timer) != 0 {
                return None;
            }
            let timer = Timer(timer);
            let is_set = libc::timer_settime(timer.0, 0, &periods, std::ptr::null_mut()) == 0;
            (is_set && unblock()).then_some(timer)
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer is this one's own. A signal that is under way finds no call running.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// The signal has its routine, for the whole process. System calls that it interrupts go on, those that wait
/// excepted (`epoll_wait`).
fn is_caught() -> bool {
    static CAUGHT: OnceLock<bool> = OnceLock::new();
    // SAFETY: the struct is plain data for which zeros are fine; the routine does only what one may.
    *CAUGHT.get_or_init(|| unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ring as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(SIGNAL, &action, std::ptr::null_mut()) == 0
    })
}

/// Who started the process may have blocked the signal.
fn unblock() -> bool {
    // SAFETY: the set is plain data, filled by `sigemptyset`, and outlives the calls.
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut signals);
        libc::sigaddset(&mut signals, SIGNAL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &signals, std::ptr::null_mut()) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::vm::Vm;

    /// A VM whose timer is not heard: in these tests the signal comes when they say so.
    fn unheard() -> Vm {
        let vm = Vm::new().unwrap();
        // SAFETY: the set is plain data, filled by `sigemptyset`, and outlives the calls.
        unsafe {
            let mut signals: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut signals);
            libc::sigaddset(&mut signals, SIGNAL);
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut()), 0);
        }
        vm
    }

    fn count(vm: &Vm) -> c_int {
        // SAFETY: the state lives as long as the VM.
        unsafe { ffi::lua_gethookcount(vm.machine.main) }
    }

    #[test]
    fn a_call_is_watched_closely_from_the_first_signal_until_it_ends() {
        let vm = unheard();
        ring(SIGNAL);
        assert_eq!(count(&vm), 0, "no call runs");
        vm.machine.with_budget(budget::CALL, || {
            assert_eq!(count(&vm), 0);
            for instructions in [budget::INSTRUCTIONS, 1000, 100, 10, 1, 1] {
                ring(SIGNAL);
                assert_eq!(count(&vm), instructions);
            }
        });
        assert_eq!(count(&vm), 0);
        vm.machine.with_budget(budget::CALL, || {
            ring(SIGNAL);
            assert_eq!(count(&vm), budget::INSTRUCTIONS, "each call anew");
        });
    }

    #[test]
    fn a_signal_gives_a_stopped_call_no_more_time() {
        let vm = unheard();
        vm.machine.with_budget(budget::CALL, || {
            // SAFETY: the cell lives as long as the VM, and no call into Lua runs.
            unsafe { super::super::calls::note_spent(vm.machine.main, vm.machine.cell) };
            ring(SIGNAL);
            assert_eq!(count(&vm), 1);
        });
        assert_eq!(count(&vm), 0);
    }

    #[test]
    fn a_signal_after_a_vm_is_gone_in_the_middle_of_a_call_finds_nothing() {
        let vm = Vm::new().unwrap();
        vm.machine.watchdog.begin();
        ring(SIGNAL);
        drop(vm);
        SHARED.with(|shared| assert!(shared.running.load(Ordering::Relaxed).is_null()));
    }

    #[test]
    fn without_a_timer_calls_are_always_watched() {
        let mut vm = unheard();
        vm.machine.stop_timer();
        assert_eq!(count(&vm), budget::INSTRUCTIONS);
    }
}
