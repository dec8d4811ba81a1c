//! The probe's place in the queue of its disk: behind everybody else. Heeded by the schedulers bfq and mq-deadline; a disk
//! without one (`none`) knows no priorities, which is why the host is watched, too.

use nix::libc;

/// ioprio_set(2): of this thread and those that it starts.
const WHO_PROCESS: libc::c_int = 1;
const CLASS_IDLE: libc::c_int = 3;
const CLASS_SHIFT: libc::c_int = 13;

/// This thread's I/O is done when nobody else has any.
pub(super) fn idle() {
    #[allow(unsafe_code, reason = "there is no safe wrapper of ioprio_set")]
    // SAFETY: three numbers; the kernel changes nothing but this thread's priority.
    let outcome = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE << CLASS_SHIFT) };
    if outcome != 0 {
        tracing::warn!(error = %std::io::Error::last_os_error(), "the probe has the usual I/O priority");
    }
}
