//! Finds the user's gpg-agent, starts it if it doesn't run, and tells it about the terminal and display where a
//! pinentry can ask.
//!
//! The agent must be started before the process forbids itself network sockets: a started agent inherits the
//! filter, and its card daemon and graphical pinentries would be broken for the whole login.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::secret_keys::KeyError;

/// The largest file that stands where a socket should and names the real one.
const LARGEST_REDIRECT: usize = 4096;

/// Connects to the agent of `home` (or the user's own), after starting it where needed.
pub(super) fn connect(home: Option<&Path>) -> Result<UnixStream, KeyError> {
    if let Some(stream) = reach(home) {
        return Ok(stream);
    }
    start(home);
    reach(home).ok_or(KeyError::NoAgent)
}

fn reach(home: Option<&Path>) -> Option<UnixStream> {
    sockets(home).into_iter().find_map(|path| UnixStream::connect(redirected(&path)).ok())
}

/// Where the socket may be, the likeliest first. gpg's own rules know of socket directories and redirections, so
/// `gpgconf` is asked where it exists.
fn sockets(home: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = asked(home) {
        return vec![path];
    }
    let mut places = Vec::new();
    if let Some(home) = home.map(Path::to_owned).or_else(|| variable("GNUPGHOME").map(PathBuf::from)) {
        places.push(home.join("S.gpg-agent"));
    } else {
        let user = rustix::process::getuid().as_raw();
        places.push(PathBuf::from(format!("/run/user/{user}/gnupg/S.gpg-agent")));
        places.extend(variable("HOME").map(|home| Path::new(&home).join(".gnupg/S.gpg-agent")));
    }
    places
}

fn asked(home: Option<&Path>) -> Option<PathBuf> {
    let output = program("gpgconf", home).args(["--list-dirs", "agent-socket"]).stdout(Stdio::piped()).output().ok()?;
    let line = output.stdout.split(|&c| c == b'\n').next()?;
    (output.status.success() && !line.is_empty()).then(|| PathBuf::from(OsString::from_vec(unescaped(line))))
}

fn start(home: Option<&Path>) {
    let run = |mut command: Command| command.status().is_ok_and(|status| status.success());
    let mut launch = program("gpgconf", home);
    launch.args(["--launch", "gpg-agent"]);
    if !run(launch) {
        let mut daemon = program("gpg-agent", home);
        daemon.arg("--daemon");
        run(daemon);
    }
}

/// A program of GnuPG that says nothing and asks nothing.
#[expect(clippy::disallowed_methods, reason = "the one place that runs a program, and only GnuPG's")]
fn program(name: &str, home: Option<&Path>) -> Command {
    let mut command = Command::new(name);
    if let Some(home) = home {
        command.arg("--homedir").arg(home);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Follows a socket's stand-in on file systems that have no sockets: `%Assuan%`, LF, `socket=PATH`.
#[expect(
    clippy::disallowed_methods,
    reason = "a socket that may be a file: read with a limit, and believed no more than the socket"
)]
fn redirected(path: &Path) -> PathBuf {
    use std::io::Read as _;
    let is_file = std::fs::symlink_metadata(path).is_ok_and(|data| data.is_file());
    let mut text = Vec::new();
    if is_file
        && let Ok(file) = std::fs::File::open(path)
        && file.take(LARGEST_REDIRECT as u64).read_to_end(&mut text).is_ok()
        && let Some(rest) = text.strip_prefix(b"%Assuan%\nsocket=")
    {
        let line = rest.split(|&c| c == b'\n').next().unwrap_or(rest);
        return PathBuf::from(OsStr::from_bytes(line));
    }
    path.to_owned()
}

/// The OPTION lines that tell the agent where its pinentry can ask, as gpg sends them.
pub(super) fn options() -> Vec<String> {
    let mut lines = Vec::new();
    let mut option = |name: &str, value: Option<String>| {
        // A value with a line break would be a second command.
        if let Some(value) =
            value.filter(|value| !value.is_empty() && !value.contains(['\n', '\r']) && value.len() < 900)
        {
            lines.push(format!("OPTION {name}={value}"));
        }
    };
    option("ttyname", terminal());
    option("ttytype", text("TERM"));
    option("display", text("DISPLAY"));
    option("xauthority", text("XAUTHORITY"));
    option("lc-ctype", text("LC_ALL").or_else(|| text("LC_CTYPE")).or_else(|| text("LANG")));
    option("lc-messages", text("LC_ALL").or_else(|| text("LC_MESSAGES")).or_else(|| text("LANG")));
    option("pinentry-user-data", text("PINENTRY_USER_DATA"));
    for name in [
        "WAYLAND_DISPLAY",
        "XDG_SESSION_TYPE",
        "DBUS_SESSION_BUS_ADDRESS",
        "GTK_IM_MODULE",
        "QT_IM_MODULE",
        "XMODIFIERS",
        "INSIDE_EMACS",
    ] {
        option("putenv", text(name).map(|value| format!("{name}={value}")));
    }
    lines
}

/// A display or terminal on which a pinentry can ask.
pub(super) fn asks_on() -> Option<String> {
    text("WAYLAND_DISPLAY").or_else(|| text("DISPLAY")).map(|display| format!("display {display}")).or_else(|| {
        // `/dev/tty` is what is tried last, whether or not there is a terminal behind it.
        terminal().filter(|name| name != "/dev/tty")
    })
}

/// The terminal to ask on: `GPG_TTY`, or that of a standard stream. Standard input may be a pipe
/// (`gpg --export alice | kluis init --pgp -`); then the controlling terminal, by its real name, since the
/// pinentry is a child of the agent, to which `/dev/tty` would be another terminal or none.
fn terminal() -> Option<String> {
    let said = text("GPG_TTY").filter(|name| name.starts_with('/'));
    let of = |name: rustix::io::Result<std::ffi::CString>| name.ok().and_then(|name| name.into_string().ok());
    said.or_else(|| of(rustix::termios::ttyname(std::io::stdin(), Vec::new())))
        .or_else(|| of(rustix::termios::ttyname(std::io::stderr(), Vec::new())))
        .or_else(|| of(rustix::termios::ttyname(std::io::stdout(), Vec::new())))
        .or_else(controlling)
        .or_else(|| Path::new("/dev/tty").exists().then(|| "/dev/tty".to_owned()))
}

/// The controlling terminal's name from its device number, the seventh field of Linux's `/proc/self/stat`.
#[expect(clippy::disallowed_methods, reason = "a file of the kernel about this process")]
fn controlling() -> Option<String> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    terminal_name(fields.split(' ').nth(4)?.parse().ok()?)
}

/// Majors 136 to 143 are pseudo-terminals, 4 the consoles (Linux, `admin-guide/devices.txt`).
fn terminal_name(device: u32) -> Option<String> {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        136..=143 => Some(format!("/dev/pts/{}", (major - 136) * 256 + minor)),
        4 if minor < 64 => Some(format!("/dev/tty{minor}")),
        _ => None,
    }
}

fn text(name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok())
}

/// The one place here that reads the environment: where the agent is and where it can ask, nothing that decides.
#[expect(
    clippy::disallowed_methods,
    reason = "where the agent is and can ask; a started agent wants it as the user has it"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// `gpgconf` percent-escapes what it lists.
fn unescaped(line: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|_| byte == b'%').and_then(|two| std::str::from_utf8(two).ok());
        if let Some(value) = escape.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            bytes.push(value);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_named_by_their_device() {
        assert_eq!(terminal_name(136 << 8 | 5).as_deref(), Some("/dev/pts/5"));
        assert_eq!(terminal_name(137 << 8 | 5).as_deref(), Some("/dev/pts/261"));
        assert_eq!(terminal_name(4 << 8 | 1).as_deref(), Some("/dev/tty1"));
        assert_eq!(terminal_name(0), None);
    }

    #[test]
    fn a_stand_in_for_a_socket_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("S.gpg-agent");
        std::fs::write(&path, "%Assuan%\nsocket=/elsewhere/S.gpg-agent\n").unwrap();
        assert_eq!(redirected(&path), Path::new("/elsewhere/S.gpg-agent"));
        std::fs::write(&path, "else").unwrap();
        assert_eq!(redirected(&path), path);
    }

    #[test]
    fn listed_directories_are_unescaped() {
        assert_eq!(unescaped(b"/a%3ab%2"), b"/a:b%2");
    }
}
