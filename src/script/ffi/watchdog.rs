//! Stops long calls without a cost for short ones.
//!
//! A count hook makes Lua check every instruction, which was a fifth of the cost of a small handler. So the Lua thread
//! that a call begins on runs without one. A timer on this thread's CPU time sends a signal every few milliseconds; a
//! signal that finds a call running sets the hook, which then checks the `budget` until the call ends. Until the hook
//! runs, each later signal sets it to fewer instructions: Lua may have lost it if the signal came within a step, and
//! where each instruction is long, few pass between two signals. Lua's own command line stops scripts like this: a
//! signal handler may call `lua_sethook` on the thread that runs the VM. Coroutines have a hook from the start
//! (`coroutines`), since the signal handler cannot know which one runs. If the system refuses the timer, the hook is
//! always set.

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering, compiler_fence};
use std::time::Duration;

use mlua::ffi;

use super::LuaState;
use super::calls::hook;
use super::observe::watch_lines;
use super::running;
use crate::script::budget;

/// CPU time between two signals: part of a call's budget, which therefore is not exceeded by much.
const PERIOD: Duration = Duration::from_millis(5);

/// The signal of CPU timers; nothing else in the program uses it.
const SIGNAL: c_int = libc::SIGVTALRM;

/// Shared by the signal handler and the code that it interrupts, always on the same thread.
struct SignalState {
    /// The Lua thread that the call which runs now began on, null between calls.
    running: AtomicPtr<ffi::lua_State>,
    /// The hook of that thread was changed in this call, or its line was noted.
    hooked: AtomicBool,
    /// Count of instructions for the hook that the next signal sets; 0: signals do not set it.
    next: AtomicI32,
    /// Signals that found this call running.
    signals: AtomicU32,
}

thread_local! {
    // No destructor and a constant initializer: safe to read at any time, in a signal handler too.
    static SIGNAL_STATE: SignalState = const {
        SignalState {
            running: AtomicPtr::new(std::ptr::null_mut()),
            hooked: AtomicBool::new(false),
            next: AtomicI32::new(budget::INSTRUCTIONS),
            signals: AtomicU32::new(0),
        }
    };
}

/// Watchdog of one VM.
pub(super) struct Watchdog {
    /// `None`: the hook is always set.
    timer: Option<Timer>,
}

impl Watchdog {
    /// For calls on this thread; sets the hook of these Lua threads between calls.
    pub(super) fn new(threads: [LuaState; 2]) -> Watchdog {
        let watchdog = Watchdog { timer: Timer::new() };
        threads.into_iter().for_each(|thread| watchdog.rest(thread));
        watchdog
    }

    /// Drops the timer, which counts only this thread's time.
    pub(super) fn leave_thread(&mut self) {
        self.timer = None;
    }

    /// Calls run on this thread from now on.
    pub(super) fn enter_thread(&mut self, threads: [LuaState; 2]) {
        self.timer = Timer::new();
        threads.into_iter().for_each(|thread| self.rest(thread));
    }

    /// Begins a call on this Lua thread. Each thread of the system makes one at a time.
    pub(super) fn begin(&self, thread: LuaState) {
        SIGNAL_STATE.with(|shared| shared.running.store(thread, Ordering::Relaxed));
        compiler_fence(Ordering::SeqCst);
    }

    /// True if a signal found the call running.
    pub(super) fn end(&self) -> bool {
        compiler_fence(Ordering::SeqCst);
        SIGNAL_STATE.with(|shared| {
            let thread = shared.running.load(Ordering::Relaxed);
            shared.running.store(std::ptr::null_mut(), Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            let took_long = shared.hooked.load(Ordering::Relaxed);
            if took_long {
                shared.hooked.store(false, Ordering::Relaxed);
                shared.next.store(budget::INSTRUCTIONS, Ordering::Relaxed);
                shared.signals.store(0, Ordering::Relaxed);
                running::forget_line();
                if !thread.is_null() {
                    self.rest(thread);
                }
            }
            took_long
        })
    }

    /// Sets the hook of a thread that no call runs on.
    pub(super) fn rest(&self, thread: LuaState) {
        match self.timer {
            // SAFETY: the state lives, on this thread; setting a hook cannot raise.
            Some(_) => unsafe { ffi::lua_sethook(thread, None, 0, 0) },
            None => watch_closely(thread),
        }
    }

    /// Keeps the hook set, without a timer.
    pub(super) fn always(&mut self, threads: [LuaState; 2]) {
        self.timer = None;
        threads.into_iter().for_each(|thread| self.rest(thread));
    }
}

impl Drop for Watchdog {
    /// A call ended by a panic was not ended properly; its state may be dropped now.
    fn drop(&mut self) {
        self.end();
    }
}

/// Sets the hook of this Lua thread.
pub(super) fn watch_closely(thread: LuaState) {
    if !watch_lines(thread) {
        watch_each(thread, budget::INSTRUCTIONS);
    }
}

fn watch_each(thread: LuaState, instructions: c_int) {
    // SAFETY: callers have a thread of a state that lives, on this thread; setting a hook cannot raise.
    unsafe { ffi::lua_sethook(thread, Some(hook), ffi::LUA_MASKCOUNT, instructions) }
}

/// The caller sets that thread's hook itself: signals do not set it until the call ends.
pub(super) fn take_over() {
    SIGNAL_STATE.with(|shared| {
        shared.next.store(0, Ordering::Relaxed);
        shared.hooked.store(true, Ordering::Relaxed);
    });
    compiler_fence(Ordering::SeqCst);
}

/// CPU time that the running call has used at least.
pub(super) fn used_at_least() -> Duration {
    SIGNAL_STATE.with(|shared| PERIOD * shared.signals.load(Ordering::Relaxed).saturating_sub(1))
}

/// Something was noted about this call that has to be forgotten when it ends.
pub(super) fn mark() {
    SIGNAL_STATE.with(|shared| shared.hooked.store(true, Ordering::Relaxed));
}

/// The hook ran: later signals need not shorten its interval.
pub(super) fn hook_ran() {
    SIGNAL_STATE.with(|shared| {
        if shared.next.load(Ordering::Relaxed) > 0 {
            shared.next.store(budget::INSTRUCTIONS, Ordering::Relaxed);
        }
    });
}

/// The signal handler: sets the hook if a call runs, with an ever shorter interval until the hook runs.
extern "C" fn on_signal(_: c_int) {
    SIGNAL_STATE.with(|shared| {
        let thread = shared.running.load(Ordering::Relaxed);
        let instructions = shared.next.load(Ordering::Relaxed);
        if !thread.is_null() && instructions > 0 {
            shared.hooked.store(true, Ordering::Relaxed);
            shared.next.store((instructions / 100).max(1), Ordering::Relaxed);
            // Nothing else on this thread changes it meanwhile.
            shared.signals.store(shared.signals.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
            watch_each(thread, instructions);
        }
    });
}

/// A timer on the CPU time of the creating thread, which gets the signals.
struct Timer(libc::timer_t);

impl Timer {
    fn new() -> Option<Timer> {
        if !is_installed() {
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

/// Installs the signal handler for the whole process. Interrupted system calls are restarted, except those that wait
/// (`epoll_wait`).
fn is_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    // SAFETY: the struct is plain data for which zeros are fine; the routine does only what one may.
    *INSTALLED.get_or_init(|| unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(SIGNAL, &action, std::ptr::null_mut()) == 0
    })
}

/// The parent process may have blocked the signal.
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

    /// A VM whose timer is blocked: these tests raise the signal themselves.
    fn without_timer() -> Vm {
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
    fn the_hook_is_set_from_the_first_signal_until_the_call_ends() {
        let vm = without_timer();
        on_signal(SIGNAL);
        assert_eq!(count(&vm), 0, "no call runs");
        vm.machine.with_budget(Duration::from_millis(10), || {
            assert_eq!(count(&vm), 0);
            for instructions in [budget::INSTRUCTIONS, 100, 1, 1] {
                on_signal(SIGNAL);
                assert_eq!(count(&vm), instructions);
            }
            assert_eq!(used_at_least(), 3 * PERIOD);
        });
        assert_eq!((count(&vm), used_at_least()), (0, Duration::ZERO));
        vm.machine.with_budget(Duration::from_millis(10), || {
            on_signal(SIGNAL);
            assert_eq!(count(&vm), budget::INSTRUCTIONS, "each call anew");
        });
    }

    #[test]
    fn a_signal_gives_a_stopped_call_no_more_time() {
        let vm = without_timer();
        vm.machine.with_budget(Duration::from_millis(10), || {
            // SAFETY: the call state lives as long as the VM, and no call into Lua runs.
            unsafe { super::super::calls::note_exhausted(vm.machine.main, vm.machine.call_state) };
            on_signal(SIGNAL);
            assert_eq!(count(&vm), 1);
        });
        assert_eq!(count(&vm), 0);
    }

    #[test]
    fn a_signal_after_a_vm_was_dropped_within_a_call_does_nothing() {
        let vm = Vm::new().unwrap();
        vm.machine.watchdog.begin(vm.machine.main);
        on_signal(SIGNAL);
        drop(vm);
        SIGNAL_STATE.with(|shared| assert!(shared.running.load(Ordering::Relaxed).is_null()));
    }

    #[test]
    fn without_a_timer_the_hook_is_always_set() {
        let mut vm = without_timer();
        vm.machine.stop_timer();
        assert_eq!(count(&vm), budget::INSTRUCTIONS);
    }
}
