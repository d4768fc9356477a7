//! What the process forbids itself before it sees a secret: core dumps, being traced, swap, network sockets.

use std::sync::{Mutex, OnceLock, PoisonError};

/// What the platform could not do, in words. It is there once this process was hardened at all.
static MISSING: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
/// Set once the filter is on, or was refused by the platform.
static NO_NETWORK: OnceLock<()> = OnceLock::new();

/// Turns off core dumps and tracing, and locks the memory where the system allows it. For `main` alone, before
/// anything else: a library that did this to the process of somebody else would surprise them. Never fails,
/// because who has to open a sealed file in an outage must be able to; `limits` says what the platform could not do.
///
/// Nothing of it harms a program that is started later: only the two limits are inherited, and gpg-agent
/// sets its own core limit to 0.
pub fn harden() {
    let missing = [no_core_dumps(), not_traceable(), locked_memory()].into_iter().filter_map(Result::err).collect();
    let _ = MISSING.set(Mutex::new(missing));
}

/// Forbids this process every socket but Unix ones (Linux), for good. Does nothing in a process that `main` did
/// not harden: tests run commands in process and need their network.
///
/// Where to call it is a choice. In `main` it would be earliest, but a gpg-agent that is started later inherits
/// the filter, and its smart-card daemon, which talks to its reader over netlink, would be broken for the whole
/// login. So: at once for a command that needs no agent (`verify` on a stranger's pull request is one), and for
/// the others when the agent was found or started, which is before the first secret is opened.
pub fn forbid_network() {
    let Some(missing) = MISSING.get() else { return };
    NO_NETWORK.get_or_init(|| {
        if let Err(why) = no_network() {
            missing.lock().unwrap_or_else(PoisonError::into_inner).push(why);
        }
    });
}

/// What the platform could not do, in words, for `doctor`; `None` where the process was not hardened.
pub fn limits() -> Option<Vec<String>> {
    let missing = MISSING.get()?.lock().unwrap_or_else(PoisonError::into_inner);
    Some(missing.clone())
}

fn no_core_dumps() -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(|error| format!("core dumps could not be turned off: {error}"))
}

/// Not dumpable: another process of the same user can neither attach nor read `/proc/PID/mem` and `environ`.
#[cfg(target_os = "linux")]
fn not_traceable() -> Result<(), String> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("tracing by other processes of this user could not be forbidden: {error}"))
}

#[cfg(not(target_os = "linux"))]
fn not_traceable() -> Result<(), String> {
    Err("tracing by other processes of this user can be forbidden only on Linux".to_owned())
}

/// Locks all pages, present and future, if the limit allows any amount. Under a limit it must not be tried:
/// the call succeeds while the process is small, and a later allocation, in the middle of a write,
/// fails.
#[cfg(target_os = "linux")]
fn locked_memory() -> Result<(), String> {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let unlimited = Rlimit { current: None, maximum: None };
    // Only a privileged process may raise it; for the others the limit stays what it is.
    let _ = setrlimit(Resource::Memlock, unlimited);
    match getrlimit(Resource::Memlock).current {
        None => mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
            .map_err(|error| format!("memory could not be locked: {error}; a key may reach the swap")),
        Some(limit) => Err(format!(
            "memory is not locked, because the limit is {} KiB (`ulimit -l`): a key may reach unencrypted swap",
            limit / 1024
        )),
    }
}

#[cfg(not(target_os = "linux"))]
fn locked_memory() -> Result<(), String> {
    Err("memory is locked only on Linux: a key may reach the swap".to_owned())
}

/// A seccomp filter for this and all later threads: `socket` gives EPERM for every family but AF_UNIX.
///
/// The attack: a hostile dependency, or a parser taken over by a file, sends keys away. Options were a
/// network namespace (needs privileges), Landlock (knows TCP only) and this. `io_uring_setup` is refused
/// too, because a ring opens sockets past the filter. What this does not stop: writing to a file, or asking
/// another process over a Unix socket.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
fn no_network() -> Result<(), String> {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    /// asm/unistd.h of each architecture.
    const SOCKET: i64 = if cfg!(target_arch = "x86_64") { 41 } else { 198 };
    const IO_URING_SETUP: i64 = 425;
    const AF_UNIX: u64 = 1;
    const EPERM: u32 = 1;

    let build = || -> Result<BpfProgram, seccompiler::BackendError> {
        let other_family = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, AF_UNIX)?;
        let rules = [(SOCKET, vec![SeccompRule::new(vec![other_family])?]), (IO_URING_SETUP, vec![])];
        let filter = SeccompFilter::new(
            rules.into_iter().collect(),
            SeccompAction::Allow,
            SeccompAction::Errno(EPERM),
            std::env::consts::ARCH.try_into()?,
        )?;
        filter.try_into()
    };
    let failed = |error: &dyn std::fmt::Display| format!("network sockets could not be forbidden: {error}");
    let program = build().map_err(|error| failed(&error))?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| failed(&error))
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))))]
fn no_network() -> Result<(), String> {
    Err("network sockets can't be forbidden on this platform".to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The limits hold for the whole process and can't be taken back, so a child process has them: this test's own
    /// program, running `inside_the_child` alone.
    #[test]
    fn a_hardened_process_has_no_network_and_no_core() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "env::harden::tests::inside_the_child", "--nocapture", "--test-threads=1"])
            .env("KLUIS_TEST_HARDEN", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("hardened and checked"), "{text}");
    }

    #[test]
    fn inside_the_child() {
        use std::io::Write as _;
        if std::env::var_os("KLUIS_TEST_HARDEN").is_none() {
            return;
        }
        forbid_network();
        assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_ok(), "nothing is forbidden to a process of others");
        assert_eq!(limits(), None);
        harden();
        forbid_network();
        let missing = limits().unwrap();
        assert!(missing.iter().all(|line| line.contains("memory")), "{missing:?}");
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let refused = std::net::TcpListener::bind(address).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
        }
        assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err());
        assert!(std::os::unix::net::UnixDatagram::unbound().is_ok());
        let core = rustix::process::getrlimit(rustix::process::Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), rustix::process::DumpableBehavior::NotDumpable);
        let started_later = std::thread::spawn(|| std::net::UdpSocket::bind("127.0.0.1:0").is_err());
        assert!(started_later.join().unwrap());
        writeln!(std::io::stdout(), "hardened and checked").unwrap();
    }
}
