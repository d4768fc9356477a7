//! A CSR that a person hands in: read, its key judged, its proof of possession checked. Whose it may be, and what else it may
//! say, is for whoever asked.

use std::path::Path;

use super::failure::Failure;
use crate::model::{Remedy, displayed};
use crate::pki::{self, CsrFacts};

/// The largest CSR that is read, in bytes: many times what RSA of 4096 bits needs.
const LARGEST: u64 = 64 << 10;

/// A CSR with a strong key that whoever made it has.
pub struct GivenCsr {
    /// The file's name, for messages.
    pub place: String,
    /// Its DER.
    pub der: Vec<u8>,
    /// What it says.
    pub facts: CsrFacts,
    /// How one is made.
    make: Remedy,
}

impl GivenCsr {
    /// Reads the file. `subject` is what openssl calls the subject that it should have, for the remedy; it is not checked
    /// here.
    pub fn read(path: &Path, subject: &str) -> Result<Self, Failure> {
        let place = displayed(&path.display().to_string());
        let make = Remedy::Run(format!("openssl req -new -key KEY -subj {subject} -out FILE"));
        let bytes = crate::disk::read_capped(path, LARGEST)?;
        let bytes = bytes.ok_or_else(|| Failure::usage(format!("{place} is not there")).help(make.clone()))?;
        let refuse = |why: String| Failure::refused(why).at(&place).help(make.clone());
        let der = pki::parse_given_csr(&bytes).map_err(|error| refuse(error.to_string()))?;
        let facts = pki::read_csr(&der).map_err(|error| refuse(error.to_string()))?;
        pki::spki_strength(&facts.spki).map_err(refuse)?;
        pki::check_csr_pop(&der).map_err(refuse)?;
        Ok(Self { place, der, facts, make })
    }

    /// A refusal that names the file, and how one is made that passes.
    pub fn refused(&self, why: impl Into<String>) -> Failure {
        Failure::refused(why).at(&self.place).help(self.make.clone())
    }
}
