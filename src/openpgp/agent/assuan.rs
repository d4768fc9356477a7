//! The Assuan protocol, client side, as far as gpg-agent needs it: lines of at most 1000 octets, percent
//! escapes, data lines, and questions of the server in the middle of a command (libassuan's manual, chapter 2).
//!
//! The other end is the user's own agent, yet everything it sends is bounded: a mistaken socket must not fill
//! the memory or hang the program.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sequoia_openpgp::crypto::mem::Protected;
use zeroize::{Zeroize as _, Zeroizing};

use super::super::secret_keys::KeyError;

/// The longest line without its LF.
const LONGEST_LINE: usize = 1000;
/// The most data that one command may return.
const MOST_DATA: usize = 64 * 1024;
/// The most lines that one command may return.
const MOST_LINES: usize = 10_000;

/// A connection whose greeting was read.
pub(super) struct Connection {
    stream: UnixStream,
    unread: Zeroizing<Vec<u8>>,
}

/// How a command ended.
pub(super) enum Reply {
    /// Well.
    Done {
        /// What the data lines held.
        data: Protected,
        /// Whether decrypted data still has its padding; the server says where it has not.
        padded: bool,
    },
    /// With an error.
    Refused {
        /// libgpg-error's number.
        code: u32,
        /// The server's words.
        text: String,
    },
}

/// What to answer a question.
pub(super) enum Answer<'a> {
    /// These octets.
    Data(&'a [u8]),
    /// Nothing: give up the command.
    Cancel,
}

impl Connection {
    /// Takes over a fresh connection and reads the greeting.
    pub(super) fn open(stream: UnixStream) -> Result<Self, KeyError> {
        let mut connection = Self { stream, unread: Zeroizing::new(Vec::with_capacity(4096)) };
        connection.patience(Duration::from_secs(10))?;
        match connection.reply(&mut |_| Answer::Cancel)? {
            Reply::Done { .. } => Ok(connection),
            Reply::Refused { .. } => Err(KeyError::NoAgent),
        }
    }

    /// Sends a command that asks nothing back.
    pub(super) fn ask(&mut self, line: &str, patience: Duration) -> Result<Reply, KeyError> {
        self.converse(line, patience, &mut |_| Answer::Data(&[]))
    }

    /// Sends a command; `answer` is given the keyword of each question that comes back. `patience` is how long
    /// the server may be silent.
    pub(super) fn converse<'a>(
        &mut self,
        line: &str,
        patience: Duration,
        answer: &mut dyn FnMut(&str) -> Answer<'a>,
    ) -> Result<Reply, KeyError> {
        if line.len() > LONGEST_LINE || line.contains('\n') {
            return Err(KeyError::Failed("a question to gpg-agent is too long".to_owned()));
        }
        self.patience(patience)?;
        self.send(format!("{line}\n").as_bytes())?;
        self.reply(answer)
    }

    fn reply<'a>(&mut self, answer: &mut dyn FnMut(&str) -> Answer<'a>) -> Result<Reply, KeyError> {
        let mut data = Zeroizing::new(Vec::with_capacity(MOST_DATA));
        let mut padded = true;
        for _ in 0..MOST_LINES {
            let line = self.line()?;
            let (word, rest) =
                line.iter().position(|&c| c == b' ').map_or((&line[..], &[][..]), |at| (&line[..at], &line[at + 1..]));
            match word {
                b"OK" => return Ok(Reply::Done { data: Protected::from(&data[..]), padded }),
                b"ERR" => return Ok(refused(rest)),
                b"D" => unescape(rest, &mut data)?,
                b"S" if rest.starts_with(b"PADDING 0") => padded = false,
                b"INQUIRE" => {
                    let end = rest.iter().position(|&c| c == b' ').unwrap_or(rest.len());
                    let question = String::from_utf8_lossy(&rest[..end]).into_owned();
                    match answer(&question) {
                        Answer::Data(bytes) => self.send_data(bytes)?,
                        Answer::Cancel => self.send(b"CAN\n")?,
                    }
                }
                // Status and comment lines show that the server is alive, and no more.
                _ => {}
            }
        }
        Err(KeyError::Failed("gpg-agent does not come to an end".to_owned()))
    }

    fn send_data(&mut self, bytes: &[u8]) -> Result<(), KeyError> {
        let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE + 1));
        for &byte in bytes {
            if line.is_empty() {
                line.extend_from_slice(b"D ");
            }
            match byte {
                b'%' | b'\r' | b'\n' => {
                    let digits = b"0123456789ABCDEF";
                    line.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
                }
                _ => line.push(byte),
            }
            if line.len() + 3 > LONGEST_LINE {
                line.push(b'\n');
                self.send(&line)?;
                line.zeroize();
            }
        }
        if !line.is_empty() {
            line.push(b'\n');
            self.send(&line)?;
        }
        self.send(b"END\n")
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), KeyError> {
        self.stream.write_all(bytes).map_err(|error| broken(&error))
    }

    /// One line without its LF.
    fn line(&mut self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        loop {
            if let Some(end) = self.unread.iter().position(|&c| c == b'\n') {
                let line = Zeroizing::new(self.unread[..end].to_vec());
                let rest = Zeroizing::new(self.unread[end + 1..].to_vec());
                self.unread.zeroize();
                self.unread.extend_from_slice(&rest);
                return Ok(line);
            }
            if self.unread.len() > LONGEST_LINE {
                return Err(KeyError::Failed("gpg-agent sent a line that is too long".to_owned()));
            }
            let mut chunk = Zeroizing::new([0; 1024]);
            match self.stream.read(&mut chunk[..]) {
                Ok(0) => return Err(KeyError::Failed("gpg-agent hung up".to_owned())),
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }

    fn patience(&mut self, time: Duration) -> Result<(), KeyError> {
        let set = self.stream.set_read_timeout(Some(time)).and_then(|()| self.stream.set_write_timeout(Some(time)));
        set.map_err(|error| broken(&error))
    }
}

/// A text in the argument of a command: percent escapes, and plus for a space.
pub(super) fn percent_plus(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            b' ' => escaped.push('+'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'/' | b'_' => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
        escaped
    })
}

fn unescape(line: &[u8], data: &mut Vec<u8>) -> Result<(), KeyError> {
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        if data.len() >= MOST_DATA {
            return Err(KeyError::Failed("gpg-agent sent too much".to_owned()));
        }
        if byte == b'%' {
            let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
            let value = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
            data.push(value.ok_or_else(|| KeyError::Failed("gpg-agent sent a broken line".to_owned()))?);
            rest = &after[2..];
        } else {
            data.push(byte);
            rest = after;
        }
    }
    Ok(())
}

fn refused(rest: &[u8]) -> Reply {
    let rest = String::from_utf8_lossy(rest).into_owned();
    let (code, text) = rest.split_once(' ').unwrap_or((&rest, "an error"));
    Reply::Refused { code: code.parse().unwrap_or(0), text: text.to_owned() }
}

fn broken(error: &std::io::Error) -> KeyError {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => KeyError::Timeout,
        _ => KeyError::Failed(format!("the connection to gpg-agent broke: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    /// A server that sends `script`, and returns what it was sent.
    fn serve(script: &'static [u8]) -> (Connection, std::thread::JoinHandle<Vec<String>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            (&theirs).write_all(b"OK hello\n").unwrap();
            (&theirs).write_all(script).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let lines = BufReader::new(theirs).split(b'\n').map_while(Result::ok);
            lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
        });
        (Connection::open(ours).unwrap(), server)
    }

    #[test]
    fn data_and_questions_are_escaped_and_cut() {
        let (mut connection, server) = serve(b"S PROGRESS\nINQUIRE X 1\nD a%0Ab\nD %25\nS PADDING 0\nOK\n");
        let question = vec![b'%'; 700];
        let reply = connection.converse("GO", Duration::from_secs(5), &mut |word| {
            assert_eq!(word, "X");
            Answer::Data(&question)
        });
        let Ok(Reply::Done { data, padded }) = reply else { panic!("refused") };
        assert_eq!((&data[..], padded), (&b"a\nb%"[..], false));
        drop(connection);
        let sent = server.join().unwrap();
        assert!(sent.iter().all(|line| line.len() <= LONGEST_LINE));
        assert_eq!(sent[0], "GO");
        assert_eq!(sent.last().unwrap(), "END");
        let data: String = sent[1..sent.len() - 1].iter().map(|line| line.strip_prefix("D ").unwrap()).collect();
        assert_eq!(data, "%25".repeat(700));
    }

    #[test]
    fn errors_keep_their_number() {
        let (mut connection, server) = serve(b"ERR 67108881 No secret key <GPG Agent>\n");
        let Ok(Reply::Refused { code, .. }) = connection.ask("HAVEKEY", Duration::from_secs(5)) else { panic!("done") };
        assert_eq!(code & 0xffff, 17);
        drop(connection);
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_says_nothing_or_too_much_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let mut silent = Connection { stream: ours, unread: Zeroizing::new(Vec::new()) };
        assert!(matches!(silent.ask("X", Duration::from_millis(10)), Err(KeyError::Timeout)));
        let (mut connection, server) = serve(&[b'x'; 5000]);
        assert!(matches!(connection.ask("X", Duration::from_secs(5)), Err(KeyError::Failed(_))));
        drop(connection);
        server.join().unwrap();
        let (mut connection, server) = serve(b"D %4\nOK\n");
        assert!(matches!(connection.ask("X", Duration::from_secs(5)), Err(KeyError::Failed(_))));
        drop(connection);
        server.join().unwrap();
    }
}
