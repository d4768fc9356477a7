//! The strict armor of every OpenPGP file in the repository (FORMAT 1), reading and writing.
//!
//! One text, one meaning: programs differ in what they skip before, between and after armored blocks, and a
//! reviewer would see another thing than the program uses. So nothing is skipped here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest line of base64 that is read.
const LONGEST_LINE: usize = 76;
/// The length of the lines that are written, as gpg writes them.
const WRITTEN_LINE: usize = 64;

/// Why a text is not one strictly armored block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArmorFault {
    /// The block itself is not as it must be.
    #[error("{0}")]
    Bad(&'static str),
    /// The block is whole, and something follows it.
    #[error("something follows the END line of the armor")]
    Trailing,
}

/// Reads the one block with `label` (such as `PGP SIGNATURE`) that `text` is.
///
/// It begins at byte 0 and ends with the END line and LF; lines end with LF alone; headers are `Name: text`;
/// lines of base64 have at most 76 characters; the checksum may be missing, and is right if there.
///
/// # Errors
/// [`ArmorFault::Trailing`] if a whole block is followed by anything, else [`ArmorFault::Bad`].
pub(super) fn read(text: &[u8], label: &str) -> Result<Vec<u8>, ArmorFault> {
    let mut rest = text;
    let begin = format!("-----BEGIN {label}-----");
    if line(&mut rest)? != begin.as_bytes() {
        return Err(ArmorFault::Bad("the first line is not the BEGIN line that belongs here"));
    }
    loop {
        let header = line(&mut rest)?;
        if header.is_empty() {
            break;
        }
        if !is_header(header) {
            return Err(ArmorFault::Bad("an armor header is not of the form Name: text"));
        }
    }
    let end = format!("-----END {label}-----");
    let mut digits = Vec::with_capacity(rest.len());
    let mut checksum = None;
    loop {
        let line = line(&mut rest)?;
        if line == end.as_bytes() {
            break;
        }
        if checksum.is_some() || line.is_empty() || line.len() > LONGEST_LINE {
            return Err(ArmorFault::Bad("a line of the armor is empty, too long or out of place"));
        }
        match line.strip_prefix(b"=") {
            Some(sum) => checksum = Some(sum),
            None => digits.extend_from_slice(line),
        }
    }
    let bytes = STANDARD.decode(&digits).map_err(|_| ArmorFault::Bad("the base64 is not valid"))?;
    if bytes.is_empty() {
        return Err(ArmorFault::Bad("the armor is empty"));
    }
    if let Some(sum) = checksum {
        let sum = STANDARD.decode(sum).map_err(|_| ArmorFault::Bad("the checksum is not valid base64"))?;
        if sum != crc24(&bytes) {
            return Err(ArmorFault::Bad("the checksum is wrong"));
        }
    }
    if rest.is_empty() { Ok(bytes) } else { Err(ArmorFault::Trailing) }
}

/// Writes `bytes` as one armored block with `label`: no headers, 64 columns, LF, with the checksum that old
/// programs like to see (RFC 9580, 6.1).
pub(super) fn write(bytes: &[u8], label: &str) -> Vec<u8> {
    let digits = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n\n").into_bytes();
    for line in digits.as_bytes().chunks(WRITTEN_LINE) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("={}\n-----END {label}-----\n", STANDARD.encode(crc24(bytes))).as_bytes());
    text
}

/// Takes one line off `rest`, without its LF. A line that has no LF, or a CR, is refused.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], ArmorFault> {
    let end = rest.iter().position(|&c| c == b'\n').ok_or(ArmorFault::Bad("the last line does not end with LF"))?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    if line.contains(&b'\r') {
        return Err(ArmorFault::Bad("lines end with CR LF instead of LF"));
    }
    Ok(line)
}

fn is_header(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let Some((name, text)) = line.split_once(": ") else { return false };
    !name.is_empty()
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        && !text.chars().any(char::is_control)
}

/// CRC-24 of RFC 9580, 6.1.1.
fn crc24(bytes: &[u8]) -> [u8; 3] {
    let crc = bytes.iter().fold(0x00B7_04CE_u32, |crc, &byte| {
        (0..8).fold(crc ^ (u32::from(byte) << 16), |crc, _| {
            let shifted = crc << 1;
            if shifted & 0x0100_0000 == 0 { shifted } else { shifted ^ 0x0186_4CFB }
        })
    });
    let [_, a, b, c] = crc.to_be_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "PGP SIGNATURE";

    fn armored(change: impl Fn(&str) -> String) -> Result<Vec<u8>, ArmorFault> {
        let text = String::from_utf8(write(&[7; 100], LABEL)).unwrap();
        read(change(&text).as_bytes(), LABEL)
    }

    #[test]
    fn what_is_written_is_read() {
        for length in 1..200 {
            let bytes = vec![0xa5; length];
            assert_eq!(read(&write(&bytes, LABEL), LABEL).unwrap(), bytes);
        }
    }

    #[test]
    fn headers_and_a_missing_checksum_are_allowed() {
        assert!(armored(|t| t.replacen("\n\n", "\nComment: made by hand\nVersion: 2\n\n", 1)).is_ok());
        assert!(armored(|t| t.lines().filter(|l| !l.starts_with('=')).map(|l| format!("{l}\n")).collect()).is_ok());
    }

    #[test]
    fn everything_else_around_the_block_is_refused() {
        let bad: [fn(&str) -> String; 12] = [
            |t| format!("\n{t}"),
            |t| format!("\u{feff}{t}"),
            |t| t.replace('\n', "\r\n"),
            |t| t.trim_end().to_owned(),
            |t| t.replacen("\n\n", "\n", 1),
            |t| t.replacen("\n\n", "\n \n", 1),
            |t| t.replacen("\n\n", "\nno header\n\n", 1),
            |t| t.replacen("\n\n", "\n\n\n", 1),
            |t| t.replace("SIGNATURE", "MESSAGE"),
            |t| t.replacen("BwcH", "BwcG", 1),
            |t| t.replacen("BwcH", "Bw!H", 1),
            |t| {
                let joined: String = t.lines().filter(|l| l.starts_with("Bwc")).collect();
                format!("-----BEGIN PGP SIGNATURE-----\n\n{joined}\n-----END PGP SIGNATURE-----\n")
            },
        ];
        for (i, change) in bad.into_iter().enumerate() {
            assert!(matches!(armored(change), Err(ArmorFault::Bad(_))), "case {i}");
        }
        for tail in ["\n", " ", "-----BEGIN PGP SIGNATURE-----\n"] {
            assert_eq!(armored(|t| format!("{t}{tail}")), Err(ArmorFault::Trailing));
        }
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc24(b"123456789"), [0x21, 0xcf, 0x02]);
    }
}
