//! Random numbers: the one place that asks the operating system for them. No release build has a way to
//! seed them: a certificate authority with a test hook in its generator is a certificate authority lost.

use std::convert::Infallible;

use getrandom::rand_core::{TryCryptoRng, TryRng};

/// A source of random numbers: the operating system's. It implements the `Rng` and `CryptoRng` traits of
/// `rand_core` 0.10. Tests of this crate alone can make one that repeats itself.
#[derive(Default)]
pub struct Rng {
    #[cfg(test)]
    seeded: Option<Seeded>,
}

impl Rng {
    /// The operating system's generator.
    pub fn system() -> Self {
        Self::default()
    }

    /// `N` random octets.
    ///
    /// # Panics
    /// If the operating system has no random numbers to give (a kernel without `getrandom` and without
    /// `/dev/urandom`). There is no safe way on, and no key has been made then.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        #[cfg(test)]
        if let Some(seeded) = &mut self.seeded {
            return seeded.fill(bytes);
        }
        // A fallible generator would have every caller handle an error that no supported system returns
        // once it has booted; to go on with weak numbers is the one wrong answer. So: stop here.
        getrandom::fill(bytes).expect("the operating system gives random numbers once it has booted");
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

/// SHA-256 over a seed and a counter: the same numbers on every machine.
#[cfg(test)]
struct Seeded {
    seed: [u8; 32],
    counter: u64,
}

#[cfg(test)]
impl Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let block = crate::model::Digest::of_parts(&[&self.seed, &self.counter.to_le_bytes()]);
            chunk.copy_from_slice(&block.as_bytes()[..chunk.len()]);
            self.counter += 1;
        }
    }
}

#[cfg(test)]
impl Rng {
    /// A generator that gives the same numbers for the same seed, for golden dumps.
    pub fn seeded(seed: [u8; 32]) -> Self {
        Self { seeded: Some(Seeded { seed, counter: 0 }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_never_repeats_itself() {
        let mut rng = Rng::system();
        assert_ne!(rng.bytes::<32>(), rng.bytes::<32>());
        assert_ne!(Rng::system().bytes::<32>(), Rng::system().bytes::<32>());
    }

    #[test]
    fn a_seed_gives_the_same_numbers_again() {
        assert_eq!(Rng::seeded([7; 32]).bytes::<77>(), Rng::seeded([7; 32]).bytes::<77>());
        assert_ne!(Rng::seeded([7; 32]).bytes::<77>(), Rng::seeded([8; 32]).bytes::<77>());
    }
}
