//! The one type that owns secret bytes. It can't be cloned, compared, printed or serialised, and wipes
//! itself on drop. Reading is `expose`, so that one grep finds every place that looks inside.

use zeroize::Zeroizing;

/// Secret bytes: a private key, a passphrase, a session key, a plaintext that holds one of them.
///
/// There is deliberately no `Debug`, `Display`, `Clone`, `PartialEq` or `Serialize`.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over `bytes`. The vector must have been built in place: growing it may have left copies,
    /// which the zeroing allocator of the binary (`main.rs`) wipes as they are freed.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Shows the bytes. Every caller is a place that may leak: keep the borrow short.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}
