//! Processes that the program starts.

use std::process::Child;

/// Asks a process to end in order, where the system knows how; else ends it.
pub fn terminate(child: &mut Child) {
    #[cfg(target_os = "linux")]
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended already; its number is its own until it is waited for.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        return;
    }
    let _ = child.kill();
}

/// This process is ended in order when `parent`, which started it, is gone, however that happened; on Linux alone. `false`: it is
/// gone already.
pub fn end_with_parent(parent: u32) -> bool {
    #[cfg(target_os = "linux")]
    {
        let term = Some(rustix::process::Signal::TERM);
        // Where the kernel does not do it, whoever started this has to.
        let _ = rustix::process::set_parent_process_death_signal(term);
        // It may have gone before that was said.
        let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        now == i32::try_from(parent).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = parent;
        true
    }
}
