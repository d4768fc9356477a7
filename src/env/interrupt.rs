//! Ctrl-C: ends the program between two steps, with exit 130 and a terminal that echoes again, and never within a
//! step that changes files.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether something was written already. Whoever holds it is writing.
static WRITTEN: Mutex<bool> = Mutex::new(false);

/// While this lives, Ctrl-C waits.
pub struct Uninterrupted(MutexGuard<'static, bool>);

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        *self.0 = true;
    }
}

/// Begins a step that Ctrl-C does not cut in two. A change set would survive that (the next command finishes it
/// or rolls it back), but the person would not know which; it takes milliseconds, so it is finished.
/// Must not be nested.
pub fn uninterrupted() -> Uninterrupted {
    Uninterrupted(WRITTEN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// From now on Ctrl-C ends the process with exit 130. For `main` alone.
///
/// The system's own way, death by the signal, would leave the terminal without echo when it comes while a
/// passphrase is typed, and could come in the middle of a write. Does nothing where the system refuses:
/// then its own way is what remains.
#[expect(clippy::disallowed_methods, reason = "main cannot return from here: it may be waiting for a passphrase")]
pub fn end_on_interrupt() {
    let Ok((mut reader, writer)) = UnixStream::pair() else { return };
    let echoing = std::io::stdin().is_terminal().then(|| rustix::termios::tcgetattr(std::io::stdin()).ok()).flatten();
    if signal_hook::low_level::pipe::register(signal_hook::consts::SIGINT, writer).is_err() {
        return;
    }
    let waiting = std::thread::Builder::new().name("interrupt".to_owned());
    let _ = waiting.spawn(move || {
        let mut byte = [0];
        if reader.read_exact(&mut byte).is_err() {
            return;
        }
        let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attributes) = &echoing {
            let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, attributes);
        }
        let what = if *written { "stopped; what was written stays" } else { "stopped before anything was changed" };
        let _ = writeln!(std::io::stderr(), "\nerror: {what}");
        // The lock is held: nothing begins to write any more.
        std::process::exit(130);
    });
}
