//! STUB to be replaced on merge.
use crate::model::{Digest, Fingerprint, Generation, HexId};
use crate::openpgp::{Certificate, SecretKeys};
use crate::secret::Secret;
pub struct Header {
    pub repo: HexId<32>,
    pub cluster: HexId<16>,
    pub name: String,
    pub generation: Generation,
}
pub enum KeyBody {
    Pkcs8(Secret),
    Symmetric { salt: [u8; 32], bytes: Secret },
}
pub struct SealedKey {
    pub name: String,
    pub body: KeyBody,
}
impl SealedKey {
    pub fn id(&self) -> Digest {
        todo!()
    }
}
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub enum OpenFault {
    X,
}
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub enum SealFault {
    X,
}
pub fn seal(_h: &Header, _keys: &[SealedKey], _r: &[(&Certificate, &Fingerprint)]) -> Result<Vec<u8>, SealFault> {
    todo!()
}
pub fn open(
    _k: &mut SecretKeys,
    _armored: &[u8],
    _c: &[(&Certificate, &Fingerprint)],
    _e: &Header,
    _ids: &[(String, Digest)],
) -> Result<Vec<SealedKey>, OpenFault> {
    todo!()
}
