//! The person at the terminal: questions, lines, passphrases. Prompts go to stderr; stdout is the answer of
//! the command alone.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use crate::model::displayed;
use crate::secret::Secret;

/// The longest passphrase that is read from a file descriptor, in bytes.
const LONGEST_PASSPHRASE: usize = 4096;

enum Source {
    System,
    Scripted(VecDeque<String>),
    Nobody,
}

/// Whom the program can ask.
pub struct Terminal(Source);

impl Terminal {
    /// The terminal that the process has, if it has one.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Nobody: every question is answered no.
    pub fn nobody() -> Self {
        Self(Source::Nobody)
    }

    /// Answers given beforehand, one a question: for commands that are run in process. No flag leads here.
    pub fn scripted<A: Into<String>>(answers: impl IntoIterator<Item = A>) -> Self {
        Self(Source::Scripted(answers.into_iter().map(Into::into).collect()))
    }

    /// Whether somebody can be asked: stdin and stderr are both terminals.
    pub fn is_interactive(&self) -> bool {
        match self.0 {
            Source::System => io::stdin().is_terminal() && io::stderr().is_terminal(),
            Source::Scripted(_) => true,
            Source::Nobody => false,
        }
    }

    /// Whether the answer of the command goes to a screen: stdout is a terminal.
    pub fn shows_answer(&self) -> bool {
        matches!(self.0, Source::System) && io::stdout().is_terminal()
    }

    /// Asks a question that `y` or `yes` answers with yes; everything else, and nobody there, is no.
    pub fn confirm(&mut self, question: &str) -> bool {
        let answer = self.read_line(&format!("{question} [y/N] "));
        answer.is_some_and(|answer| matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for a line, without its line end; `None` when nobody is there or the input ended.
    pub fn read_line(&mut self, prompt: &str) -> Option<String> {
        if !self.is_interactive() {
            return None;
        }
        if let Source::Scripted(answers) = &mut self.0 {
            return answers.pop_front();
        }
        show(prompt).ok()?;
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// Asks for a passphrase without echo; `None` when nobody is there or they gave up.
    pub fn passphrase(&mut self, prompt: &str) -> Option<Secret> {
        if !self.is_interactive() {
            return None;
        }
        if let Source::Scripted(answers) = &mut self.0 {
            return answers.pop_front().map(|answer| Secret::new(answer.into_bytes()));
        }
        let typed = rpassword::prompt_password(plain(prompt)).ok()?;
        Some(Secret::new(typed.into_bytes()))
    }
}

/// A prompt as it may be shown: names in it may come from a stranger's file (T78).
fn plain(prompt: &str) -> String {
    prompt.split('\n').map(displayed).collect::<Vec<_>>().join("\n")
}

fn show(prompt: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(plain(prompt).as_bytes())?;
    stderr.flush()
}

/// Reads a passphrase from the open file descriptor `fd`: the first line, without its line end, at most 4096 bytes.
#[expect(clippy::disallowed_methods, reason = "an open descriptor of the caller, read with a limit")]
pub fn passphrase_from_fd(fd: u32) -> io::Result<Secret> {
    let file = std::fs::File::open(format!("/dev/fd/{fd}"))?;
    // Read in place: a vector that grew would leave pieces of the passphrase behind.
    let mut bytes = Vec::with_capacity(LONGEST_PASSPHRASE + 1);
    file.take(LONGEST_PASSPHRASE as u64 + 1).read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let end = if bytes[..end].last() == Some(&b'\r') { end - 1 } else { end };
    let long = end > LONGEST_PASSPHRASE;
    let mut bytes = zeroize::Zeroizing::new(bytes);
    bytes[end..].fill(0);
    bytes.truncate(end);
    if long {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a passphrase has at most 4096 bytes"));
    }
    Ok(Secret::from(bytes))
}

/// Reads all of standard input, at most `most` bytes, and puts the terminal in its place: pinentry finds the
/// terminal by descriptor 0, and questions are asked on it. Where there is no terminal, it stays as it is.
pub fn read_input(most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {most} bytes")));
    }
    #[expect(clippy::disallowed_methods, reason = "the terminal is a device; nothing is written to a file")]
    if let Ok(terminal) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty") {
        rustix::stdio::dup2_stdin(&terminal)?;
    }
    Ok(bytes)
}

/// Standard input, for what is read in pieces.
pub fn input() -> impl io::Read {
    io::stdin().lock()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn only_yes_is_yes() {
        let mut terminal = Terminal::scripted(["y", "YES", "", "n", "yep"]);
        let answers: Vec<bool> = (0..6).map(|_| terminal.confirm("sure?")).collect();
        assert_eq!(answers, [true, true, false, false, false, false]);
    }

    #[test]
    fn nobody_says_no_and_has_no_passphrase() {
        let mut nobody = Terminal::nobody();
        assert!(!nobody.is_interactive());
        assert!(!nobody.confirm("sure?"));
        assert!(nobody.read_line("name: ").is_none());
        assert!(nobody.passphrase("passphrase: ").is_none());
    }

    #[test]
    fn a_prompt_keeps_its_lines_but_nothing_that_steers_the_terminal() {
        assert_eq!(plain("one\ntwo \u{1b}[2J"), "one\ntwo \\u{1b}[2J");
    }

    #[test]
    fn a_passphrase_is_the_first_line_of_its_descriptor() {
        let scratch = tempfile::tempdir().unwrap();
        let read = |content: &[u8]| {
            let path = scratch.path().join("p");
            std::fs::write(&path, content).unwrap();
            let file = std::fs::File::open(&path).unwrap();
            passphrase_from_fd(u32::try_from(file.as_raw_fd()).unwrap()).map(|secret| secret.expose().to_vec())
        };
        assert_eq!(read(b"correct horse\nbattery").unwrap(), b"correct horse");
        assert_eq!(read(b"windows\r\n").unwrap(), b"windows");
        assert_eq!(read(b"").unwrap(), b"");
        assert!(read(&[b'x'; LONGEST_PASSPHRASE]).is_ok());
        assert!(read(&[b'x'; LONGEST_PASSPHRASE + 1]).is_err());
    }
}
