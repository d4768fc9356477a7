//! Reading what a person named: a folder, a file or standard input, into memory alone.

use std::path::Path;

use super::super::super::failure::Failure;
use crate::disk::{Folder, Kind, Reading};
use crate::import::{File, Files, LARGEST, MOST_FILES};
use crate::model::{Distribution, displayed};
use crate::secret::Secret;

/// The largest file that is read in a folder: no certificate, key or document of a cluster comes near it.
const LARGEST_FILE: u64 = 1 << 20;

/// How many folders below the one that was named are looked into.
const DEEPEST: usize = 6;

/// The files. Fails where there are none, or too many.
pub(super) fn files(from: &Path, distribution: Distribution) -> Result<Files, Failure> {
    let shown = displayed(&from.display().to_string());
    let mut files = Files::default();
    if from == Path::new("-") {
        let bytes = crate::env::read_input(LARGEST as u64);
        let bytes = bytes.map_err(|error| Failure::usage(format!("standard input can't be read: {error}")))?;
        if bytes.is_empty() {
            return Err(Failure::usage("standard input is empty: the command in front of the pipe printed nothing"));
        }
        files.files.push(File { path: "stdin".to_owned(), bytes: Secret::new(bytes) });
        return Ok(files);
    }
    if !from.is_dir() {
        let bytes = crate::disk::read_capped(from, LARGEST as u64)?;
        let bytes = bytes.ok_or_else(|| Failure::usage(format!("{shown} is not there")))?;
        let name = from.file_name().map_or_else(|| shown.clone(), |name| displayed(&name.to_string_lossy()));
        files.files.push(File { path: name, bytes: Secret::new(bytes) });
        return Ok(files);
    }
    let mut sum = 0;
    enter(&Folder::open(from)?, "", 0, (&mut files, &mut sum)).map_err(|failure| failure.at(&shown))?;
    let is_k3s = matches!(distribution, Distribution::K3s | Distribution::Rke2);
    if is_k3s && from.file_name().is_some_and(|name| name == "tls") {
        let above = Folder::open(&from.join(".."))?;
        for name in ["token", "agent-token"] {
            // Both are links where one token is good for servers and agents.
            if let Ok(Reading::File { bytes, .. }) = above.read(name, LARGEST_FILE) {
                files.files.push(File { path: format!("../{name}"), bytes: Secret::new(bytes) });
            }
        }
    }
    if files.files.is_empty() {
        return Err(Failure::usage(format!("{shown} has no files")));
    }
    Ok(files)
}

fn enter(folder: &Folder, below: &str, depth: usize, into: (&mut Files, &mut u64)) -> Result<(), Failure> {
    let (files, sum) = into;
    for (name, kind) in folder.names()? {
        let shown = displayed(&name.to_string_lossy());
        let path = if below.is_empty() { shown } else { format!("{below}/{shown}") };
        if files.files.len() + files.others.len() >= MOST_FILES {
            return Err(Failure::usage(format!("it has more than {MOST_FILES} files: name the folder of the keys")));
        }
        match kind {
            Kind::Folder if depth < DEEPEST && name != ".git" => {
                enter(&folder.sub(&name)?, &path, depth + 1, (&mut *files, &mut *sum))?;
            }
            Kind::Folder => files.others.push((path, "a folder that is not looked into")),
            Kind::Other(what) => files.others.push((path, what)),
            Kind::File => match folder.read(&name, LARGEST_FILE)? {
                Reading::File { bytes, .. } => {
                    *sum += bytes.len() as u64;
                    if *sum > LARGEST as u64 {
                        let what =
                            format!("its files are more than {} MiB: name the folder of the keys", LARGEST >> 20);
                        return Err(Failure::usage(what));
                    }
                    files.files.push(File { path, bytes: Secret::new(bytes) });
                }
                Reading::TooLarge(_) => files.others.push((path, "larger than 1 MiB")),
                Reading::NotRegular(what) => files.others.push((path, what)),
            },
        }
    }
    Ok(())
}
